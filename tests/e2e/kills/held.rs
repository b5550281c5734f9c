//! What a lake holds in the end, without what says only when it was computed.

use std::collections::BTreeMap;

use super::job::Job;
use super::start::Replica;
use crate::lake::{Bar, BarKey, Trade};

#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    bronze: BTreeMap<i32, Vec<i64>>,
    silver: Vec<Trade>,
    quarantine: usize,
    bars: [BTreeMap<BarKey, Bar>; 2],
}

impl Held {
    pub fn of(lake: &Replica, job: &Job) -> Self {
        let folder = lake.downloaded(&job.result(lake));
        let mut silver = folder.silver();
        silver.sort_by(|a, b| (&a.symbol, a.ts_us, a.seq).cmp(&(&b.symbol, b.ts_us, b.seq)));
        Self {
            bronze: folder.bronze_offsets(),
            silver,
            quarantine: folder.count("silver.quarantine", "offset"),
            bars: ["1m", "5m"].map(|interval| folder.bars(interval)),
        }
    }
}
