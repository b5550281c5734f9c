//! From what the clients saw to figures: the freshness of every trade received in the measured time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::figures::{self, quantile, rounded};
use crate::probe::{MINUTE_US, Probe, SeenBar, SeenTrade};

pub struct Seen {
    /// Trades received in [from, until) count.
    pub from_us: i64,
    pub until_us: i64,
    /// When the clients stopped asking.
    pub ended_us: i64,
    pub bronze: Probe<SeenTrade>,
    pub gold: Probe<SeenBar>,
}

/// What the roles took of the machine.
pub struct Load {
    pub cores: f64,
    pub peaks: Value,
}

/// Freshness of each trade, milliseconds. What was never seen counts as seen when the clients stopped, and is told apart.
#[derive(Default)]
struct Freshness {
    ms: Vec<f64>,
    unseen: u64,
}

pub fn report(mode: &str, rate: u32, rows: u64, seen: &Seen, load: &Load) {
    let about = json!({
        "bench": "freshness", "mode": mode, "trades_per_s": rate, "rows_on_the_date": rows,
        "seconds": rounded((seen.until_us - seen.from_us) as f64 / 1e6),
    });
    table(&about, "bronze.trades", in_bronze(seen), &seen.bronze.query_ms);
    table(&about, "gold.ohlcv_1m", in_gold(seen), &seen.gold.query_ms);
    let offsets = Offsets::of(seen);
    let machine = json!({
        "figure": "machine", "cores_used_by_roles": rounded(load.cores), "peak_rss_mb": load.peaks,
        "offsets_missing": offsets.missing, "offsets_twice": offsets.twice, "partitions_behind": offsets.behind,
    });
    figures::print(joined(&about, machine));
}

fn table(about: &Value, name: &str, mut freshness: Freshness, query_ms: &[f64]) {
    let mut query_ms = query_ms.to_vec();
    let mut at = |share| quantile(&mut freshness.ms, share).map(rounded);
    let mut query_at = |share| quantile(&mut query_ms, share).map(rounded);
    let line = json!({
        "figure": name, "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "worst_ms": at(1.0),
        "query_p50_ms": query_at(0.5), "query_p99_ms": query_at(0.99), "queries": query_ms.len(),
        "trades": freshness.ms.len(), "unseen": freshness.unseen,
    });
    figures::print(joined(about, line));
}

fn joined(about: &Value, mut line: Value) -> Value {
    if let (Some(about), Some(line)) = (about.as_object(), line.as_object_mut()) {
        line.extend(about.clone());
    }
    line
}

fn measured(seen: &Seen) -> impl Iterator<Item = &SeenTrade> {
    let window = seen.from_us..seen.until_us;
    seen.bronze
        .seen
        .iter()
        .filter(move |trade| window.contains(&trade.received_at_us))
}

fn in_bronze(seen: &Seen) -> Freshness {
    let ms = measured(seen).map(|trade| (trade.seen_us - trade.received_at_us) as f64 / 1e3);
    Freshness {
        ms: ms.collect(),
        unseen: 0,
    }
}

fn in_gold(seen: &Seen) -> Freshness {
    let mut steps: HashMap<(Arc<str>, i64), Vec<&SeenBar>> = HashMap::new();
    for bar in &seen.gold.seen {
        steps.entry((bar.symbol.clone(), bar.window_us)).or_default().push(bar);
    }
    let mut freshness = Freshness::default();
    for trade in measured(seen) {
        let window_us = trade.ts_us - trade.ts_us.rem_euclid(MINUTE_US);
        let steps = steps.get(&(trade.symbol.clone(), window_us));
        // Steps of a bar are kept in the order of their growing last_seq.
        let first = steps.and_then(|steps| steps.get(steps.partition_point(|bar| bar.last_seq < trade.seq)));
        let seen_us = first.map_or(seen.ended_us, |bar| bar.seen_us);
        freshness.unseen += u64::from(first.is_none());
        freshness.ms.push((seen_us - trade.received_at_us) as f64 / 1e3);
    }
    freshness
}

/// What the answers held of the topic, partition by partition, from the first offset seen to the last.
#[derive(Default)]
struct Offsets {
    /// In no answer.
    missing: u64,
    /// In more than one.
    twice: u64,
    /// Partitions that ended before the measured time did: their last trades are in none of the figures.
    behind: u64,
}

impl Offsets {
    fn of(seen: &Seen) -> Self {
        let mut partitions: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
        for trade in &seen.bronze.seen {
            let partition = partitions.entry(trade.partition).or_default();
            partition.push((trade.offset, trade.received_at_us));
        }
        let mut offsets = Self::default();
        for partition in partitions.values_mut() {
            partition.sort_unstable();
            for pair in partition.windows(2) {
                match pair[1].0 - pair[0].0 {
                    0 => offsets.twice += 1,
                    step => offsets.missing += step.unsigned_abs() - 1,
                }
            }
            let last = partition.last().map_or(0, |(_, received_at_us)| *received_at_us);
            offsets.behind += u64::from(last < seen.until_us);
        }
        offsets
    }
}
