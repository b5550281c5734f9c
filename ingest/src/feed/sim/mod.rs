//! The simulator: many symbols, a steady rate from 1 to 1,000,000 trades a second, trade times paced to the clock.
//!
//! It waits where the producer's queue is full; after a pause it goes on at the present time instead of in a burst.

use std::time::Duration;

use ticklake_sql::Clock;
use tokio::time::Instant;

use super::sink::Closed;
use super::status::FeedState;
use super::{FeedContext, Sink};
use crate::error::{Error, Result};
use crate::trade::Venue;

pub mod instruments;

pub mod market;

pub use market::Market;

/// Trades become due in steps of this length: short beside any commit age, long beside a timer's cost.
const TICK: Duration = Duration::from_millis(5);
/// A market that is further than this from the clock, after a wait or a step of the clock, goes on from the clock.
const MAX_DRIFT_US: i64 = 2_000_000;
/// One trade a microsecond: ids rely on it.
pub const MAX_RATE: u32 = 1_000_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimOptions {
    pub seed: u64,
    /// Trades a second over all symbols, 1 to 1,000,000.
    pub rate: u32,
    /// How many symbols, where `symbols` is empty.
    pub symbol_count: usize,
    /// Names of the symbols to trade.
    pub symbols: Vec<String>,
    /// Ends after so many trades.
    pub limit: Option<u64>,
    pub venue: String,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            rate: 1_000,
            symbol_count: 50,
            symbols: Vec::new(),
            limit: None,
            venue: "sim".to_owned(),
        }
    }
}

impl SimOptions {
    pub fn check(&self) -> Result<()> {
        if !(1..=MAX_RATE).contains(&self.rate) {
            return Err(Error::Invalid(format!(
                "the simulator's rate is 1 to {MAX_RATE} trades a second, not {}",
                self.rate
            )));
        }
        if self.venue.is_empty() || self.venue.contains(':') {
            return Err(Error::Invalid(format!(
                "`{}` cannot name the simulator's venue; use letters, digits and `-`",
                self.venue
            )));
        }
        instruments::choose(self.symbol_count, &self.symbols).map(|_| ())
    }
}

/// Runs until the limit or the shutdown.
pub async fn run(options: SimOptions, mut sink: Sink, context: FeedContext) -> Result<()> {
    options.check()?;
    let FeedContext {
        clock,
        status,
        shutdown,
    } = context;
    let instruments = instruments::choose(options.symbol_count, &options.symbols)?;
    let mut pace = Pace::start(&clock, options.rate);
    let mut market = Market::new(Venue::new(&options.venue), &instruments, options.seed, pace.base_us);
    let mut left = options.limit.unwrap_or(u64::MAX);
    status.set_state(FeedState::Running);
    while left > 0 {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep_until(pace.next_due()) => {}
        }
        pace.follow(&clock);
        let received_at = clock.now_us();
        while left > 0 && !shutdown.is_cancelled() {
            let Some(ts) = pace.next_ts() else { break };
            sink.push(&market.next_trade(ts, received_at.max(ts)));
            left -= 1;
            if sink.is_full() && sink.flush().await == Err(Closed) {
                return Ok(());
            }
        }
        // also after a shutdown: the producer takes what was made until its drain deadline, and closes the queue then
        if sink.flush().await == Err(Closed) {
            return Ok(());
        }
    }
    Ok(())
}

/// When trades are due: trade n of a stretch lies n / rate after its base.
#[derive(Debug)]
struct Pace {
    rate: i64,
    base: Instant,
    base_us: i64,
    made: i64,
}

impl Pace {
    fn start(clock: &Clock, rate: u32) -> Self {
        Self {
            rate: i64::from(rate),
            base: Instant::now(),
            base_us: clock.now_us(),
            made: 0,
        }
    }

    fn offset_us(&self) -> i64 {
        (i128::from(self.made) * 1_000_000 / i128::from(self.rate)) as i64
    }

    fn elapsed_us(&self) -> i64 {
        i64::try_from(self.base.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// When to look again: at the next trade, or a tick from now where trades come faster.
    fn next_due(&self) -> Instant {
        (self.base + Duration::from_micros(self.offset_us().unsigned_abs())).max(Instant::now() + TICK)
    }

    /// Time of the next trade if it is due.
    fn next_ts(&mut self) -> Option<i64> {
        let offset = self.offset_us();
        if offset > self.elapsed_us() {
            return None;
        }
        self.made += 1;
        Some(self.base_us + offset)
    }

    fn follow(&mut self, clock: &Clock) {
        let now_us = clock.now_us();
        let behind_us = self.elapsed_us() - self.offset_us();
        let drift_us = now_us - (self.base_us + self.elapsed_us());
        if behind_us > MAX_DRIFT_US || drift_us.abs() > MAX_DRIFT_US {
            *self = Self {
                rate: self.rate,
                base: Instant::now(),
                base_us: now_us,
                made: 0,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use tokio_util::sync::CancellationToken;

    use super::super::FeedStatus;
    use super::*;

    fn context() -> FeedContext {
        FeedContext {
            clock: Clock::system(),
            status: Arc::new(FeedStatus::default()),
            shutdown: CancellationToken::new(),
        }
    }

    #[test]
    fn unusable_settings_are_refused() {
        let refused = [
            SimOptions {
                rate: 0,
                ..SimOptions::default()
            },
            SimOptions {
                rate: 1_000_001,
                ..SimOptions::default()
            },
            SimOptions {
                symbol_count: 0,
                ..SimOptions::default()
            },
            SimOptions {
                symbols: vec!["BTC-USDT".to_owned(), "BTCUSDT".to_owned()],
                ..SimOptions::default()
            },
            SimOptions {
                venue: "a:b".to_owned(),
                ..SimOptions::default()
            },
        ];
        for options in refused {
            assert_eq!(
                options.check().unwrap_err().kind(),
                crate::ErrorKind::Invalid,
                "{options:?}"
            );
        }
    }

    #[tokio::test]
    async fn it_keeps_its_rate_and_its_times_grow_with_the_clock() {
        let context = context();
        let (sink, mut batches) = Sink::new(Arc::clone(&context.status));
        let before_us = context.clock.now_us();
        let started = Instant::now();
        let options = SimOptions {
            rate: 20_000,
            limit: Some(4_001),
            ..SimOptions::default()
        };
        let feed = tokio::spawn(run(options, sink, context.clone()));
        let mut times = Vec::new();
        while let Some(batch) = batches.recv().await {
            for (key, value) in batch.records() {
                let trade: serde_json::Value = serde_json::from_slice(value).unwrap();
                assert_eq!(key, format!("sim:{}", trade["symbol"].as_str().unwrap()).as_bytes());
                times.push(trade["ts"].as_i64().unwrap());
            }
        }
        feed.await.unwrap().unwrap();
        assert_eq!(times.len(), 4_001);
        assert_eq!(context.status.trades.load(Ordering::Relaxed), 4_001);
        assert!(times.is_sorted());
        assert!(
            started.elapsed() >= Duration::from_millis(200),
            "4,000 steps of 50 us take 200 ms"
        );
        assert!(
            times[0] >= before_us && times[4_000] <= context.clock.now_us(),
            "no time is ahead of the clock"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_long_wait_it_goes_on_at_the_present() {
        let start = Instant::now();
        let clock = Clock::from_fn(move || {
            chrono::DateTime::from_timestamp_micros(1_700_000_000_000_000 + start.elapsed().as_micros() as i64).unwrap()
        });
        let mut pace = Pace::start(&clock, 1_000);
        tokio::time::advance(Duration::from_secs(600)).await;
        pace.follow(&clock);
        assert_eq!(pace.next_ts(), Some(1_700_000_600_000_000));
        assert_eq!(pace.next_ts(), None, "no burst of ten minutes");
    }

    #[tokio::test]
    async fn a_full_queue_holds_it_and_a_shutdown_ends_it() {
        let context = context();
        let (sink, mut batches) = Sink::new(Arc::clone(&context.status));
        let feed = tokio::spawn(run(
            SimOptions {
                rate: MAX_RATE,
                ..SimOptions::default()
            },
            sink,
            context.clone(),
        ));
        let settled = async {
            let mut last = 0;
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let made = context.status.trades.load(Ordering::Relaxed);
                if made > 0 && made == last {
                    break made;
                }
                last = made;
            }
        };
        let made = tokio::time::timeout(Duration::from_secs(20), settled).await.unwrap();
        assert!(made < 20_000, "the queue is bounded: {made}");
        context.shutdown.cancel();
        let mut taken = 0;
        while let Some(batch) = batches.recv().await {
            taken += batch.len() as u64;
        }
        feed.await.unwrap().unwrap();
        assert_eq!(
            (taken, context.status.trades.load(Ordering::Relaxed)),
            (made, made),
            "made, taken, and no more"
        );
    }
}
