//! Where trades come from: one file or folder a venue, the simulator, recorded sessions.
//!
//! A feed pushes canonical trades into a `sink` until it ends or is told to stop. `gap` and `status` say what it missed.

use std::sync::Arc;

use ticklake_sql::Clock;
use tokio_util::sync::CancellationToken;

use crate::error::Result;

pub mod sink;

pub mod status;

pub mod gap;

pub mod frame;

pub mod symbols;

pub mod sim;

pub mod binance;

pub mod coinbase;

pub mod replay;

pub use binance::BinanceOptions;
pub use frame::{Arrival, FrameError};
pub use replay::ReplayOptions;
pub use sim::SimOptions;
pub use sink::Sink;
pub use status::FeedStatus;

/// Which feed, and how.
#[derive(Debug, Clone)]
pub enum FeedOptions {
    Sim(SimOptions),
    Binance(BinanceOptions),
    Replay(ReplayOptions),
}

impl Default for FeedOptions {
    fn default() -> Self {
        FeedOptions::Sim(SimOptions::default())
    }
}

impl FeedOptions {
    /// Refuses settings that cannot work, before anything is started.
    pub fn check(&self) -> Result<()> {
        match self {
            FeedOptions::Sim(options) => options.check(),
            FeedOptions::Binance(options) => options.check(),
            FeedOptions::Replay(options) => options.check(),
        }
    }
}

/// What every feed is given.
#[derive(Debug, Clone)]
pub struct FeedContext {
    pub clock: Clock,
    pub status: Arc<FeedStatus>,
    pub shutdown: CancellationToken,
}

/// Runs a feed to its end (a file, a limit) or to the shutdown. What was pushed has been flushed into the queue by then.
pub async fn run(options: FeedOptions, sink: Sink, context: FeedContext) -> Result<()> {
    let status = Arc::clone(&context.status);
    let result = match options {
        FeedOptions::Sim(options) => sim::run(options, sink, context).await,
        FeedOptions::Binance(options) => binance::run(options, sink, context).await,
        FeedOptions::Replay(options) => replay::run(options, sink, context).await,
    };
    status.set_state(status::FeedState::Ended);
    result
}
