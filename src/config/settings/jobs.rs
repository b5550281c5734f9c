//! What makes silver and gold: schedules, the rules of time, how bars are made, candles to hold them against.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AUTO, DAY_S};
use crate::config::units::Span;

/// The range outside which a trade's time is taken for an error, and the trade set aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SilverSettings {
    /// First date, UTC, `YYYY-MM-DD`.
    pub earliest: String,
    /// How far a trade may lie after its own arrival.
    pub ts_ahead: Span,
}

impl Default for SilverSettings {
    fn default() -> Self {
        Self {
            earliest: "2009-01-01".to_owned(),
            ts_ahead: Span::seconds(DAY_S),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSettings {
    /// Each schedule is an interval ("1s") or a cron expression, in UTC ("*/5 * * * *") or a named zone ("TZ=America/New_York 0 17 * * *").
    pub silver: String,
    pub gold: String,
    pub checkpoint: String,
    /// Empty: the job does not run.
    pub optimize: String,
    /// `auto`: every day, every hour where `up` keeps its own lake.
    pub vacuum: String,
    /// Off until set: rows are kept for ever.
    pub retention: String,
    /// The statements of `sql/checks/`; empty: the job does not run.
    pub checks: String,
    /// Our bars against the candles that `[parity]` names; empty: the job does not run.
    pub parity: String,
    /// A due time is put off by a random part of this: many processes on one lake then do not start at once.
    pub jitter: Span,
    /// Job -> time after which a run is stopped and started afresh: `gold-1m = "10m"`. An hour, twelve for optimize, vacuum and retention.
    pub timeouts: BTreeMap<String, String>,
    /// A run that failed with what may pass is tried again after this, then after twice as long, and so on up to the second.
    pub retry_delay: Span,
    pub retry_delay_max: Span,
    /// A process that is not heard of for so long loses its jobs to another that runs on the same lake.
    pub lease: Span,
    /// How long `system.jobs` keeps what the jobs did.
    pub history: Span,
    /// Bars to keep: `gold.ohlcv_<interval>`, with s, m, h or d, any that divides a day.
    pub intervals: Vec<String>,
    /// Earlier states of bars that `gold.ohlcv_revisions` keeps: `closed` (corrections of closed bars), `all` or `none`.
    pub revisions: RevisionsSetting,
    /// A bar is closed once its venue's newest trade lies this far past its end.
    pub allowed_lateness: Span,
    /// Venue -> kind of trade that its bars are made of (`trade` where none is named, or `agg`): one kind a venue, for they repeat each other.
    pub kinds: BTreeMap<String, String>,
    /// Venue -> rule that says which of its trades set open, high, low and close (the others count for volume only): one of `sql/prices/`, the path of a
    /// `.sql` file, or `all`. A venue that is not named: all.
    pub prices: BTreeMap<String, String>,
    /// Venue -> session that its daily bars keep, `<zone> HH:MM-HH:MM`, or `utc`. What is traded outside of it is in no daily bar. A venue that is not
    /// named: days in UTC.
    pub sessions: BTreeMap<String, String>,
}

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            silver: "1s".to_owned(),
            gold: "1s".to_owned(),
            checkpoint: "1m".to_owned(),
            optimize: "10m".to_owned(),
            vacuum: AUTO.to_owned(),
            retention: String::new(),
            checks: "1d".to_owned(),
            parity: String::new(),
            jitter: Span::millis(0),
            timeouts: BTreeMap::new(),
            retry_delay: Span::millis(200),
            retry_delay_max: Span::seconds(30),
            lease: Span::seconds(30),
            history: Span::seconds(30 * DAY_S),
            intervals: vec!["1m".to_owned(), "5m".to_owned()],
            revisions: RevisionsSetting::Closed,
            allowed_lateness: Span::millis(0),
            kinds: BTreeMap::new(),
            prices: [("us-equities", "us-equities-vendor"), ("finnhub", "finnhub")]
                .map(|(venue, rule)| (venue.to_owned(), rule.to_owned()))
                .into(),
            sessions: [("us-equities".to_owned(), "America/New_York 09:30-16:00".to_owned())].into(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevisionsSetting {
    #[default]
    Closed,
    All,
    None,
}

/// What the job `parity` compares. Counts where `jobs.parity` is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParitySettings {
    /// `[[parity.candles]]`, one a series.
    pub candles: Vec<CandlesSettings>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CandlesSettings {
    /// A file or an http(s) address, read again at each run.
    pub source: String,
    pub venue: String,
    pub symbol: String,
    /// Width of the candles, as in the gold table's name.
    #[serde(default = "one_minute")]
    pub interval: String,
}

fn one_minute() -> String {
    "1m".to_owned()
}
