//! One step of silver: rows already held and new rows of the same keys go in, what to insert and to delete comes out. Pure.

use std::collections::HashMap;

use arrow::record_batch::RecordBatch;

use super::key::Key;
use super::repeats::Trades;
use crate::Result;

/// Where a row stands before the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Silver,
    /// In quarantine as a conflicting repeat, with this detail.
    Quarantine(String),
    New,
}

/// Row numbers of the settled batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Rows that enter silver.
    pub enter: Vec<u32>,
    /// Rows of silver that leave it for a lesser repeat.
    pub superseded: Vec<u32>,
    /// Rows that enter quarantine, with their detail.
    pub set_aside: Vec<(u32, String)>,
    /// Rows of quarantine that leave it: a lesser equal row took their place, or their detail changed.
    pub released: Vec<u32>,
    /// New rows that say nothing new.
    pub repeats: u64,
    /// Rows of either table that a lesser equal row has taken the place of, and how many of them left silver.
    pub displaced: u64,
    pub displaced_in_silver: u64,
}

/// `rows` in silver's columns, stored rows before new ones; `keys` and `places` have one entry a row.
pub fn settle(rows: &RecordBatch, keys: &[Key], places: &[Place]) -> Result<Settled> {
    let trades = Trades::new(rows)?;
    let resolution = trades.resolve(keys);
    let mut settled = Settled::default();

    for row in &resolution.survivors {
        match &places[*row as usize] {
            Place::Silver => {}
            Place::Quarantine(_) => {
                settled.enter.push(*row);
                settled.released.push(*row);
            }
            Place::New => settled.enter.push(*row),
        }
    }
    let details: HashMap<u32, String> = resolution
        .conflicts
        .iter()
        .map(|(row, survivor)| (*row, trades.difference(*row, *survivor)))
        .collect();
    for (row, _) in &resolution.conflicts {
        let detail = &details[row];
        match &places[*row as usize] {
            Place::Quarantine(known) if known == detail => continue,
            Place::Quarantine(_) => settled.released.push(*row),
            Place::Silver => settled.superseded.push(*row),
            Place::New => {}
        }
        settled.set_aside.push((*row, detail.clone()));
    }
    for row in &resolution.repeats {
        match &places[*row as usize] {
            Place::Silver => {
                settled.superseded.push(*row);
                settled.displaced_in_silver += 1;
            }
            Place::Quarantine(_) => settled.released.push(*row),
            Place::New => settled.repeats += 1,
        }
    }
    settled.displaced = resolution.repeats.len() as u64 - settled.repeats;
    Ok(settled)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, Decimal128Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray, new_null_array,
    };
    use proptest::prelude::*;
    use ticklake_sql::{TableName, tables};

    use super::*;

    /// A row of one market; (topic, partition, offset) is (trades, partition, offset).
    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
    struct Row {
        id: u64,
        source: &'static str,
        partition: i32,
        offset: i64,
        price: i128,
        ts: i64,
    }

    const LIVE: &str = "live";

    fn batch(rows: &[Row]) -> RecordBatch {
        let schema = tables::spec(&TableName::silver_trades()).unwrap().row_schema();
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            let texts = |text: &dyn Fn(&Row) -> String| {
                Arc::new(StringArray::from_iter_values(rows.iter().map(text))) as ArrayRef
            };
            let longs =
                |long: &dyn Fn(&Row) -> i64| Arc::new(Int64Array::from_iter_values(rows.iter().map(long))) as ArrayRef;
            let times = |time: &dyn Fn(&Row) -> i64| {
                Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(time)).with_timezone("UTC"))
                    as ArrayRef
            };
            let decimals = |precision, scale, value: &dyn Fn(&Row) -> i128| {
                Arc::new(
                    Decimal128Array::from_iter_values(rows.iter().map(value))
                        .with_precision_and_scale(precision, scale)
                        .unwrap(),
                ) as ArrayRef
            };
            match field.name().as_str() {
                "trade_id" => texts(&|row| row.id.to_string()),
                "source" => texts(&|row| row.source.to_owned()),
                "venue" | "symbol" | "kind" | "topic" | "origin" => texts(&|_| "x".to_owned()),
                "partition" => Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.partition))),
                "offset" => longs(&|row| row.offset),
                "seq" | "count" => longs(&|_| 1),
                "ts" => times(&|row| row.ts),
                "received_at" | "ingested_at" => times(&|_| 5),
                "price" => decimals(28, 12, &|row| row.price * 10i128.pow(12)),
                "qty" => decimals(28, 10, &|_| 10i128.pow(10)),
                "quote_qty" => decimals(38, 22, &|row| row.price * 10i128.pow(22)),
                _ => new_null_array(field.data_type(), rows.len()),
            }
        });
        RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
    }

    /// What the tables hold: rows of silver, and rows of quarantine with their detail.
    #[derive(Debug, Default, Clone, PartialEq, Eq)]
    struct Tables {
        silver: BTreeSet<Row>,
        quarantine: BTreeMap<Row, String>,
    }

    impl Tables {
        /// As a refresh does it: stored rows of the chunk's keys first, then the chunk.
        fn refresh(&mut self, chunk: &[Row]) -> Settled {
            let ids: BTreeSet<u64> = chunk.iter().map(|row| row.id).collect();
            let (mut rows, mut places) = (Vec::new(), Vec::new());
            for row in self.silver.iter().filter(|row| ids.contains(&row.id)) {
                rows.push(row.clone());
                places.push(Place::Silver);
            }
            for (row, detail) in self.quarantine.iter().filter(|(row, _)| ids.contains(&row.id)) {
                rows.push(row.clone());
                places.push(Place::Quarantine(detail.clone()));
            }
            rows.extend(chunk.iter().cloned());
            places.resize(rows.len(), Place::New);
            let keys: Vec<Key> = rows.iter().map(|row| Key { group: 0, id: row.id }).collect();
            let settled = settle(&batch(&rows), &keys, &places).unwrap();
            let before = self.silver.len() + self.quarantine.len() + chunk.len();
            for row in &settled.superseded {
                assert!(self.silver.remove(&rows[*row as usize]));
            }
            for row in &settled.released {
                assert!(self.quarantine.remove(&rows[*row as usize]).is_some());
            }
            for row in &settled.enter {
                assert!(self.silver.insert(rows[*row as usize].clone()));
            }
            for (row, detail) in &settled.set_aside {
                assert_eq!(
                    self.quarantine.insert(rows[*row as usize].clone(), detail.clone()),
                    None
                );
            }
            let dropped = settled.repeats + settled.displaced;
            assert_eq!(before, self.silver.len() + self.quarantine.len() + dropped as usize);
            settled
        }
    }

    /// The definition, over everything at once: the least row of each class; the least of those survives.
    fn expected(input: &[Row]) -> Tables {
        let rank = |row: &Row| {
            (
                ["live", "repair", "replay", "sim", "import"]
                    .iter()
                    .position(|source| *source == row.source),
                row.partition,
                row.offset,
            )
        };
        let mut classes: BTreeMap<(u64, i128, i64), Row> = BTreeMap::new();
        for row in input {
            let least = classes
                .entry((row.id, row.price, row.ts))
                .or_insert_with(|| row.clone());
            if rank(row) < rank(least) {
                *least = row.clone();
            }
        }
        let mut tables = Tables::default();
        for row in classes.values() {
            let survivor = classes
                .values()
                .filter(|other| other.id == row.id)
                .min_by_key(|other| rank(other))
                .unwrap();
            if row == survivor {
                tables.silver.insert(row.clone());
                continue;
            }
            let mut differences = Vec::new();
            if row.price != survivor.price {
                differences.push(format!("price {}, kept {}", row.price, survivor.price));
            }
            if row.ts != survivor.ts {
                let utc = super::super::rules::utc;
                differences.push(format!("ts {}, kept {}", utc(row.ts), utc(survivor.ts)));
            }
            tables.quarantine.insert(
                row.clone(),
                format!("differs from the trade kept: {}", differences.join("; ")),
            );
        }
        tables
    }

    fn row(id: u64, partition: i32, offset: i64, price: i128) -> Row {
        Row {
            id,
            source: LIVE,
            partition,
            offset,
            price,
            ts: 100,
        }
    }

    #[test]
    fn the_least_survives_even_if_it_comes_later() {
        let mut tables = Tables::default();
        tables.refresh(&[row(1, 1, 7, 100)]);
        let settled = tables.refresh(&[row(1, 0, 9, 100)]);
        assert_eq!(
            (settled.superseded.len(), settled.set_aside.len(), settled.repeats),
            (1, 0, 0)
        );
        assert_eq!(tables.silver, BTreeSet::from([row(1, 0, 9, 100)]));
        let settled = tables.refresh(&[row(1, 1, 7, 100)]);
        assert_eq!(
            settled,
            Settled {
                repeats: 1,
                ..Settled::default()
            }
        );
    }

    #[test]
    fn a_lesser_contradiction_moves_the_former_survivor_aside() {
        let mut tables = Tables::default();
        tables.refresh(&[row(1, 0, 5, 100)]);
        tables.refresh(&[row(1, 0, 6, 101)]);
        assert_eq!(tables.quarantine.keys().collect::<Vec<_>>(), [&row(1, 0, 6, 101)]);
        // 101 again, and before both: it survives, 100 goes aside, the quarantined 101 says nothing new any more.
        tables.refresh(&[row(1, 0, 4, 101)]);
        assert_eq!(tables.silver, BTreeSet::from([row(1, 0, 4, 101)]));
        assert_eq!(tables.quarantine.keys().collect::<Vec<_>>(), [&row(1, 0, 5, 100)]);
    }

    #[test]
    fn reading_the_same_rows_again_changes_nothing() {
        let chunk = [row(1, 0, 5, 100), row(1, 0, 6, 101), row(2, 0, 7, 100)];
        let mut tables = Tables::default();
        tables.refresh(&chunk);
        assert_eq!(
            tables.refresh(&chunk),
            Settled {
                repeats: 3,
                ..Settled::default()
            }
        );
    }

    fn universe() -> impl Strategy<Value = Vec<Row>> {
        let row = (
            0u64..3,
            prop::sample::select(&["live", "repair", "import"][..]),
            0i32..2,
            1i128..4,
            prop::sample::select(&[100i64, 86_400_000_100][..]),
        );
        prop::collection::vec(row, 1..12).prop_map(|rows| {
            let number = |(offset, (id, source, partition, price, ts))| Row {
                id,
                source,
                partition,
                offset: offset as i64,
                price,
                ts,
            };
            rows.into_iter().enumerate().map(number).collect()
        })
    }

    proptest! {
        /// Any permutation, split and duplication of the input ends in the same tables.
        #[test]
        fn tables_are_a_function_of_their_input(
            input in universe(),
            order in prop::collection::vec(any::<prop::sample::Index>(), 24),
            cuts in prop::collection::vec(1usize..6, 24),
            seed in any::<u64>(),
        ) {
            // Every row once, in an order of its own, and then some again.
            let mut delivered: Vec<Row> = input.clone();
            delivered.sort_by_key(|row| (row.offset as u64).wrapping_mul(seed | 1) % 1021);
            delivered.extend(order.iter().take(input.len() / 2).map(|index| index.get(&input).clone()));
            let mut tables = Tables::default();
            let mut rest = delivered.as_slice();
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                if !chunk.is_empty() {
                    tables.refresh(chunk);
                }
                rest = after;
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(tables, expected(&input));
        }
    }
}
