//! A run with an end: the end offsets seen when each partition was taken up, reached by position, so that control markers and holes count.

use std::collections::BTreeSet;

use super::positions::Positions;

#[derive(Debug, Default)]
pub struct Ends {
    ends: Positions,
    /// Partitions whose end the consumer announced since they were assigned: nothing below it is outstanding,
    /// even where the last offsets are holes that no position passes (compacted or empty batches).
    announced: BTreeSet<i32>,
}

impl Ends {
    /// The first sight of a partition decides; but a log that ends before it was cut off or made again, and then its own end counts:
    /// an announcement says nothing about offsets that this log never had.
    pub fn see(&mut self, partition: i32, end: i64) {
        let seen = self.ends.entry(partition).or_insert(end);
        *seen = (*seen).min(end);
    }

    pub fn announce(&mut self, partition: i32) {
        self.announced.insert(partition);
    }

    /// The partition is read from a recorded position again.
    pub fn forget_announcement(&mut self, partition: i32) {
        self.announced.remove(&partition);
    }

    /// Where an announced end lets the position move to.
    pub fn announced_end(&self, partition: i32) -> Option<i64> {
        self.announced
            .contains(&partition)
            .then(|| self.ends.get(&partition).copied())
            .flatten()
    }

    /// True where every partition of `next` stands at its end or beyond.
    pub fn reached(&self, next: &Positions) -> bool {
        next.iter().all(|(partition, offset)| {
            self.announced.contains(partition) || self.ends.get(partition).is_some_and(|end| offset >= end)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_reached_by_position_or_announcement() {
        let mut ends = Ends::default();
        ends.see(0, 10);
        ends.see(1, 5);
        ends.see(0, 99);
        let at = |a, b| Positions::from([(0, a), (1, b)]);
        assert!(!ends.reached(&at(9, 5)));
        assert!(ends.reached(&at(10, 5)));
        assert!(
            !ends.reached(&Positions::from([(7, 0)])),
            "an end that was never seen is not reached"
        );
        ends.announce(0);
        assert!(ends.reached(&at(9, 5)));
        assert_eq!(ends.announced_end(0), Some(10));
        assert_eq!(ends.announced_end(1), None);
        ends.forget_announcement(0);
        assert!(!ends.reached(&at(9, 5)));
    }

    #[test]
    fn a_log_that_became_shorter_ends_where_it_ends() {
        let mut ends = Ends::default();
        ends.see(0, 100);
        ends.announce(0);
        assert_eq!(ends.announced_end(0), Some(100));
        // Made again under the same number, with ten records.
        ends.forget_announcement(0);
        ends.see(0, 10);
        ends.announce(0);
        assert_eq!(ends.announced_end(0), Some(10), "offsets 10 to 99 are still to come");
    }
}
