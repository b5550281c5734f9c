//! Settings of one gold table's refresh.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::prices::PriceRule;
use super::revisions::KeepRevisions;
use super::session::Session;

#[derive(Debug, Clone)]
pub struct GoldOptions {
    /// Width of the windows, as in the table's name: `1m`, `5m`, `1h`.
    pub interval: String,
    /// The kind of trade that bars are made of, where `kinds` does not name the venue.
    pub kind: String,
    /// Venue -> kind. One kind a venue: aggregates repeat what trades say.
    pub kinds: BTreeMap<String, String>,
    /// Venue -> which of its trades set prices; of a venue without a rule all do.
    pub prices: BTreeMap<String, PriceRule>,
    /// Venue -> session that its daily bars keep; of a venue without one they are days in UTC.
    pub sessions: BTreeMap<String, Session>,
    /// Venues whose seq grows by one from trade to trade, kind by kind: only their bars can be told complete.
    pub contiguous: BTreeSet<String>,
    /// Earlier states of bars that gold.ohlcv_revisions keeps.
    pub revisions: KeepRevisions,
    /// A refresh elsewhere that has recorded the states it supersedes may take this long to commit to gold before this one takes over.
    pub take_over_after: Duration,
    /// A bar is closed once its venue's watermark has passed its end by this much.
    pub allowed_lateness: Duration,
    /// Where only the position moves, it is committed at most this often.
    pub position_interval: Duration,
    /// Lost races against other writers before a refresh gives up.
    pub attempts: u32,
    pub zstd_level: i32,
    /// Threads that a query over silver uses.
    pub target_partitions: usize,
    /// Memory of those queries; what does not fit is spilled.
    pub memory_bytes: usize,
}

impl Default for GoldOptions {
    fn default() -> Self {
        Self {
            interval: "1m".into(),
            kind: "trade".into(),
            kinds: BTreeMap::new(),
            prices: BTreeMap::new(),
            sessions: BTreeMap::new(),
            contiguous: ["sim", "binance-spot", "coinbase", "kraken"].map(str::to_owned).into(),
            revisions: KeepRevisions::default(),
            take_over_after: Duration::from_secs(2),
            allowed_lateness: Duration::ZERO,
            position_interval: Duration::from_secs(60),
            attempts: 10,
            zstd_level: 1,
            target_partitions: std::thread::available_parallelism().map_or(2, usize::from).min(8),
            memory_bytes: 512 << 20,
        }
    }
}
