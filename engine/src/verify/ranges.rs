//! Bronze by its tags: the same count as `bronze` makes, without reading a row. What does not add up is left to it.

use std::collections::{BTreeMap, HashMap};

use deltalake::kernel::Add;
use ticklake_sql::offset_ranges::{self, OffsetRange};

use super::bronze::Tally;
use super::origins::{Number, Origins};
use super::snapshot::rows;

/// What the tags tell of each origin, where they leave no question: no two files of a table overlap, and there are as many rows as offsets.
#[derive(Debug, Default)]
pub struct Told {
    pub tallies: HashMap<Number, Tally>,
    /// Topic id and partition whose files must be read.
    pub open: Vec<(String, i32)>,
    /// Some file has no tag that counts its rows: every file must be read.
    pub untagged: bool,
}

/// Rows of one table in one origin.
#[derive(Debug, Default)]
struct Side {
    ranges: Vec<(i64, i64)>,
    rows: u64,
}

pub fn told(trades: &[Add], dead_letters: &[Add], origins: &mut Origins) -> Told {
    let mut told = Told::default();
    let mut by_origin: BTreeMap<(String, i32), [Side; 2]> = BTreeMap::new();
    for (side, adds) in [trades, dead_letters].into_iter().enumerate() {
        for add in adds {
            let Some(ranges) = offset_ranges::read(add).filter(|ranges| all_rows(ranges, add)) else {
                told.untagged = true;
                return told;
            };
            for range in ranges {
                let known = &mut by_origin.entry((range.topic_id, range.partition)).or_default()[side];
                known.ranges.push((range.from, range.to));
                known.rows += range.rows;
            }
        }
    }
    for ((topic_id, partition), sides) in by_origin {
        let number = origins.of_id(&topic_id, partition);
        let (position, records) = origins
            .get(number)
            .map_or((None, None), |origin| (origin.position, origin.records));
        match tally(sides, position, records) {
            Some(tally) => {
                told.tallies.insert(number, tally);
            }
            None => told.open.push((topic_id, partition)),
        }
    }
    told
}

/// The tag speaks of every row of the file.
fn all_rows(ranges: &[OffsetRange], add: &Add) -> bool {
    Some(ranges.iter().map(|range| range.rows).sum()) == rows(add)
}

fn tally([trades, dead_letters]: [Side; 2], position: Option<i64>, records: Option<u64>) -> Option<Tally> {
    if ![&trades, &dead_letters].iter().all(|side| is_disjoint(&side.ranges)) {
        return None;
    }
    let covered = covered(trades.ranges.iter().chain(&dead_letters.ranges).copied().collect());
    let offsets: u64 = covered
        .iter()
        .map(|(from, to)| u64::try_from(to - from).unwrap_or(0))
        .sum();
    let (from, to) = (covered.first()?.0, covered.last()?.1);
    // Of a file it is known how many lines are records. The side table may be ahead of the position: which of its rows count takes reading.
    let rows = trades.rows + dead_letters.rows;
    if (offsets != rows && records != Some(rows)) || position.is_some_and(|position| to > position) {
        return None;
    }
    Some(Tally {
        from,
        to: position.unwrap_or(to),
        covered,
        bronze: trades.rows,
        dead_letters: dead_letters.rows,
    })
}

fn is_disjoint(ranges: &[(i64, i64)]) -> bool {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0].1 <= pair[1].0)
}

/// The union in runs, in order.
fn covered(mut ranges: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    ranges.sort_unstable();
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for (from, to) in ranges {
        match runs.last_mut() {
            Some((_, end)) if from <= *end => *end = (*end).max(to),
            _ => runs.push((from, to)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(ranges: &[(i64, i64)], rows: u64) -> Side {
        Side {
            ranges: ranges.to_vec(),
            rows,
        }
    }

    #[test]
    fn ranges_without_a_question_are_counted() {
        // A dead letter inside, one between two files, and a hole that no file spans.
        let told = tally(
            [side(&[(0, 5), (6, 8), (9, 10)], 7), side(&[(2, 6)], 2)],
            Some(12),
            None,
        )
        .unwrap();
        assert_eq!(told.covered, [(0, 8), (9, 10)]);
        assert_eq!((told.from, told.to, told.bronze, told.dead_letters), (0, 12, 7, 2));
    }

    #[test]
    fn lines_of_a_file_that_are_no_records_are_known_by_their_count() {
        let sides = || [side(&[(2, 9)], 5), side(&[(12, 13)], 1)];
        assert!(tally(sides(), Some(15), None).is_none());
        let told = tally(sides(), Some(15), Some(6)).unwrap();
        assert_eq!((told.from, told.to, told.bronze, told.dead_letters), (2, 15, 5, 1));
    }

    #[test]
    fn what_does_not_add_up_is_read() {
        assert!(
            tally([side(&[(0, 5)], 4), side(&[], 0)], Some(5), None).is_none(),
            "an offset without a row"
        );
        assert!(
            tally([side(&[(0, 5), (4, 8)], 8), side(&[], 0)], Some(8), None).is_none(),
            "a row twice"
        );
        assert!(
            tally([side(&[(0, 5)], 5), side(&[(7, 9)], 2)], Some(5), None).is_none(),
            "ahead of the position"
        );
    }
}
