//! Repeats of a trade: which row survives, which ones contradict it, which ones say nothing new.
//!
//! Rows of one key fall into classes of equal (price, qty, side, ts). Of a class only the least row by (source rank, topic, partition,
//! offset) is kept; the least of those survives in silver, the others are conflicting repeats. Keeping the least row of a class is
//! associative, commutative and idempotent, so rows may come in any order, in any split and twice: what is kept is the same.
//! That is why a refresh needs nothing but the rows kept so far.

use std::cmp::Ordering;

use arrow::array::{Decimal128Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;

use super::columns::{decimals, ints, long, longs, micros, strings, text};
use super::key::Key;
use super::rules::{PRICE, QTY, plain, utc};
use crate::Result;

/// Columns of silver trades that decide about repeats.
pub struct Trades<'a> {
    seq: &'a Int64Array,
    ts: &'a TimestampMicrosecondArray,
    price: &'a Decimal128Array,
    qty: &'a Decimal128Array,
    side: &'a StringArray,
    received_at: &'a TimestampMicrosecondArray,
    source: &'a StringArray,
    ref_trade_id: &'a StringArray,
    count: &'a Int64Array,
    first_id: &'a Int64Array,
    last_id: &'a Int64Array,
    origin: &'a StringArray,
    topic: &'a StringArray,
    partition: &'a Int32Array,
    offset: &'a Int64Array,
    ingested_at: &'a TimestampMicrosecondArray,
}

/// What becomes of the rows, as row numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// One row a key.
    pub survivors: Vec<u32>,
    /// The least row of each class that differs from its survivor: (row, survivor).
    pub conflicts: Vec<(u32, u32)>,
    /// Rows equal to one that is kept.
    pub repeats: Vec<u32>,
}

/// `live` before `repair` before `replay` before `sim` before `import`; what a later version adds comes last.
fn source_rank(source: &str) -> u8 {
    match source {
        "live" => 0,
        "repair" => 1,
        "replay" => 2,
        "sim" => 3,
        "import" => 4,
        _ => 5,
    }
}

impl<'a> Trades<'a> {
    pub fn new(rows: &'a RecordBatch) -> Result<Self> {
        Ok(Self {
            seq: longs(rows, "seq")?,
            ts: micros(rows, "ts")?,
            price: decimals(rows, "price")?,
            qty: decimals(rows, "qty")?,
            side: strings(rows, "side")?,
            received_at: micros(rows, "received_at")?,
            source: strings(rows, "source")?,
            ref_trade_id: strings(rows, "ref_trade_id")?,
            count: longs(rows, "count")?,
            first_id: longs(rows, "first_id")?,
            last_id: longs(rows, "last_id")?,
            origin: strings(rows, "origin")?,
            topic: strings(rows, "topic")?,
            partition: ints(rows, "partition")?,
            offset: longs(rows, "offset")?,
            ingested_at: micros(rows, "ingested_at")?,
        })
    }

    /// `keys` has one entry a row. Of two rows equal in every column the earlier row number wins: put what is stored first.
    pub fn resolve(&self, keys: &[Key]) -> Resolution {
        let mut rows: Vec<u32> = (0..u32::try_from(keys.len()).unwrap_or(u32::MAX)).collect();
        rows.sort_unstable_by(|a, b| {
            let (i, j) = (*a as usize, *b as usize);
            keys[i].cmp(&keys[j]).then_with(|| self.precedence(i, j)).then(a.cmp(b))
        });
        let mut resolution = Resolution::default();
        for repeats in rows.chunk_by(|a, b| keys[*a as usize] == keys[*b as usize]) {
            let survivor = repeats[0];
            resolution.survivors.push(survivor);
            let first_conflict = resolution.conflicts.len();
            for row in &repeats[1..] {
                let known = |kept: u32| self.same_trade(kept as usize, *row as usize);
                if known(survivor)
                    || resolution.conflicts[first_conflict..]
                        .iter()
                        .any(|(kept, _)| known(*kept))
                {
                    resolution.repeats.push(*row);
                } else {
                    resolution.conflicts.push((*row, survivor));
                }
            }
        }
        resolution
    }

    /// The order in which repeats survive. Beyond the coordinates it only matters for records that share them (a topic made again).
    fn precedence(&self, i: usize, j: usize) -> Ordering {
        source_rank(self.source.value(i))
            .cmp(&source_rank(self.source.value(j)))
            .then_with(|| self.topic.value(i).cmp(self.topic.value(j)))
            .then_with(|| self.partition.value(i).cmp(&self.partition.value(j)))
            .then_with(|| self.offset.value(i).cmp(&self.offset.value(j)))
            .then_with(|| self.ingested_at.value(i).cmp(&self.ingested_at.value(j)))
            .then_with(|| self.content(i, j))
    }

    fn content(&self, i: usize, j: usize) -> Ordering {
        self.ts
            .value(i)
            .cmp(&self.ts.value(j))
            .then_with(|| self.seq.value(i).cmp(&self.seq.value(j)))
            .then_with(|| self.price.value(i).cmp(&self.price.value(j)))
            .then_with(|| self.qty.value(i).cmp(&self.qty.value(j)))
            .then_with(|| text(self.side, i).cmp(&text(self.side, j)))
            .then_with(|| self.received_at.value(i).cmp(&self.received_at.value(j)))
            .then_with(|| self.source.value(i).cmp(self.source.value(j)))
            .then_with(|| self.origin.value(i).cmp(self.origin.value(j)))
            .then_with(|| text(self.ref_trade_id, i).cmp(&text(self.ref_trade_id, j)))
            .then_with(|| self.count.value(i).cmp(&self.count.value(j)))
            .then_with(|| long(self.first_id, i).cmp(&long(self.first_id, j)))
            .then_with(|| long(self.last_id, i).cmp(&long(self.last_id, j)))
    }

    fn same_trade(&self, i: usize, j: usize) -> bool {
        self.price.value(i) == self.price.value(j)
            && self.qty.value(i) == self.qty.value(j)
            && self.ts.value(i) == self.ts.value(j)
            && text(self.side, i) == text(self.side, j)
    }

    /// `differs from the trade kept: price 101, kept 100; side sell, kept buy`.
    pub fn difference(&self, row: u32, survivor: u32) -> String {
        let (i, j) = (row as usize, survivor as usize);
        let side = |row| text(self.side, row).unwrap_or("unknown").to_owned();
        let values = |row: usize| {
            [
                ("price", plain(self.price.value(row), PRICE.1)),
                ("qty", plain(self.qty.value(row), QTY.1)),
                ("side", side(row)),
                ("ts", utc(self.ts.value(row))),
            ]
        };
        let differences: Vec<String> = values(i)
            .into_iter()
            .zip(values(j))
            .filter(|((_, own), (_, kept))| own != kept)
            .map(|((name, own), (_, kept))| format!("{name} {own}, kept {kept}"))
            .collect();
        format!("differs from the trade kept: {}", differences.join("; "))
    }
}
