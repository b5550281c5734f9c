//! Replay of recorded files: sessions go through the very decoder of their live feed, normalised trades through one of their own.
//!
//! The shape and the venue are found from the file itself. As fast as the producer takes them, or at the recorded pace.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::gap::GapWatch;
use super::sink::Closed;
use super::status::FeedState;
use super::{FeedContext, Sink};
use crate::error::{Error, Result};
use crate::trade::{Trade, Venue};

mod lines;

mod session;

mod normalised;

use lines::Lines;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayOptions {
    /// JSON lines, plain, `.zst` or `.gz`.
    pub path: PathBuf,
    /// Only these symbols; all where empty.
    pub symbols: Vec<String>,
    /// Keep the recorded distances in time.
    pub real_time: bool,
    /// Keep the exact text of each trade, where the file has it.
    pub keep_raw: bool,
    /// What a file that numbers its instruments numbers.
    pub instruments: Vec<String>,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            symbols: Vec::new(),
            real_time: false,
            keep_raw: true,
            instruments: ["BTC-USDT", "ETH-USDT", "SOL-USDT"].map(str::to_owned).to_vec(),
        }
    }
}

impl ReplayOptions {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    pub fn check(&self) -> Result<()> {
        Reader::open(self).map(|_| ())
    }
}

/// Runs to the end of the file or to the shutdown.
pub async fn run(options: ReplayOptions, sink: Sink, context: FeedContext) -> Result<()> {
    let replay = tokio::task::spawn_blocking(move || replay(&options, sink, &context));
    replay
        .await
        .map_err(|error| Error::Internal(format!("the replay thread ended abruptly: {error}")))?
}

fn replay(options: &ReplayOptions, sink: Sink, context: &FeedContext) -> Result<()> {
    let mut reader = Reader::open(options)?;
    let mut pace = Pace::default();
    let mut out = Out {
        sink,
        gaps: GapWatch::default(),
        symbols: &options.symbols,
        context,
    };
    context.status.set_state(FeedState::Running);
    while !context.shutdown.is_cancelled() {
        if options.real_time
            && let Some(received_at) = reader.peek_time()?
        {
            // what was read so far should not wait for what comes later
            if pace.is_ahead(received_at) && out.sink.flush_blocking() == Err(Closed) {
                return Ok(());
            }
            pace.wait_for(received_at, context);
        }
        if !reader.read(&mut out)? {
            break;
        }
        if out.sink.is_full() && out.sink.flush_blocking() == Err(Closed) {
            return Ok(());
        }
    }
    let _ = out.sink.flush_blocking();
    Ok(())
}

/// Where decoded trades go: past the watch for gaps and the choice of symbols, into the sink.
struct Out<'a> {
    sink: Sink,
    gaps: GapWatch,
    symbols: &'a [String],
    context: &'a FeedContext,
}

impl Out<'_> {
    fn trade(&mut self, trade: &Trade<'_>) {
        if !self.symbols.is_empty() && !self.symbols.iter().any(|name| named(name, trade.symbol.as_str())) {
            return;
        }
        self.gaps.see(trade, &self.context.status);
        self.sink.push(trade);
    }

    fn frame(&self) {
        self.context.status.frames.fetch_add(1, Ordering::Relaxed);
    }

    fn broken(&mut self, venue: &Venue, text: &str, error: &super::FrameError) {
        tracing::warn!(%error, "frame set aside as undecoded");
        self.context
            .status
            .set_error(format!("frame set aside: {error}"), self.context.clock.now_us());
        self.sink.push_undecoded(venue, text);
    }
}

fn named(name: &str, symbol: &str) -> bool {
    name.eq_ignore_ascii_case(symbol) || name.eq_ignore_ascii_case(&super::symbols::joined(symbol))
}

/// A file of a known shape.
enum Reader {
    Session(session::Session),
    Normalised(normalised::Normalised),
}

impl Reader {
    fn open(options: &ReplayOptions) -> Result<Self> {
        let mut lines = Lines::open(&options.path)?;
        let first = lines.peek()?.unwrap_or_default().to_owned();
        if session::is_header(&first) {
            Ok(Reader::Session(session::Session::open(lines, options.keep_raw)?))
        } else if normalised::is_item(&first) {
            Ok(Reader::Normalised(normalised::Normalised::new(
                lines,
                &options.instruments,
            )))
        } else {
            let message = "neither a recorded session (its first line would be a header) nor normalised trades; give another file";
            Err(lines.error(message))
        }
    }

    /// Receive time of the next line, microseconds since the epoch.
    fn peek_time(&mut self) -> Result<Option<i64>> {
        match self {
            Reader::Session(session) => session.peek_time(),
            Reader::Normalised(normalised) => normalised.peek_time(),
        }
    }

    /// Reads one line; false at the end.
    fn read(&mut self, out: &mut Out<'_>) -> Result<bool> {
        match self {
            Reader::Session(session) => session.read(out),
            Reader::Normalised(normalised) => normalised.read(out),
        }
    }
}

/// Holds lines back to their recorded distance from the first one.
#[derive(Debug, Default)]
struct Pace {
    first: Option<(i64, std::time::Instant)>,
}

impl Pace {
    fn ahead(&mut self, received_at: i64) -> Duration {
        let (first_us, started) = *self
            .first
            .get_or_insert_with(|| (received_at, std::time::Instant::now()));
        let due = Duration::from_micros(u64::try_from(received_at - first_us).unwrap_or(0));
        due.saturating_sub(started.elapsed())
    }

    fn is_ahead(&mut self, received_at: i64) -> bool {
        !self.ahead(received_at).is_zero()
    }

    fn wait_for(&mut self, received_at: i64, context: &FeedContext) {
        const STEP: Duration = Duration::from_millis(50);
        while !context.shutdown.is_cancelled() {
            let ahead = self.ahead(received_at);
            if ahead.is_zero() {
                return;
            }
            std::thread::sleep(ahead.min(STEP));
        }
    }
}

#[cfg(test)]
mod tests;
