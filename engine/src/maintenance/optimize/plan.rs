//! Which files become one: small ones of one partition that lie next to each other in time, up to the target size together.
//!
//! The plan depends on nothing but the files and the time, and every merge leaves fewer files: planned again and again it comes to an end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use ticklake_sql::TableName;

use super::OptimizeOptions;
use super::tags::ranges;
use crate::gold::Interval;
use crate::scan::DataFile;
use crate::silver::key::Group;
use crate::silver::ranges::MAX_TAG_GROUPS;

/// Files of one merge at most: bounds the size of a commit and the levels of a merge.
const MAX_FILES: usize = 4096;
/// In a partition that grows, a file takes part once the smaller ones together are this part of it.
const WORTH: u64 = 2;

/// Column -> value, as the Adds have it.
pub type Partition = BTreeMap<String, Option<String>>;

/// Files that become one.
#[derive(Debug, Clone)]
pub struct Bin {
    pub partition: Partition,
    pub files: Vec<Arc<DataFile>>,
}

impl Bin {
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| size(file)).sum()
    }
}

/// What to merge now, partition by partition.
pub fn plan<'a>(
    table: &TableName,
    files: impl Iterator<Item = &'a Arc<DataFile>>,
    options: &OptimizeOptions,
    now: DateTime<Utc>,
) -> Vec<Bin> {
    let mut groups: BTreeMap<(Partition, Option<i64>), Vec<Arc<DataFile>>> = BTreeMap::new();
    let interval = table.ohlcv_interval().and_then(|text| Interval::parse(text).ok());
    for file in files {
        let partition = file.add.partition_values.clone().into_iter().collect();
        // Bars are read and replaced by the hour: a file never spans two.
        let hour = match interval {
            Some(interval) => match hour(file, interval) {
                Some(hour) => Some(hour),
                None => continue,
            },
            None => None,
        };
        groups.entry((partition, hour)).or_default().push(file.clone());
    }
    groups
        .into_iter()
        .flat_map(|((partition, _), files)| bins(&partition, files, options, now))
        .collect()
}

/// The one hour of windows that a file of bars holds.
pub fn hour(file: &DataFile, interval: Interval) -> Option<i64> {
    let (first, last) = file.micros("window_start");
    (first != i64::MIN && interval.hour_of(first) == interval.hour_of(last)).then(|| interval.hour_of(first))
}

pub fn size(file: &DataFile) -> u64 {
    u64::try_from(file.add.size).unwrap_or(0)
}

fn is_older(file: &DataFile, age: std::time::Duration, now: DateTime<Utc>) -> bool {
    let age_ms = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX).num_milliseconds();
    now.timestamp_millis().saturating_sub(file.add.modification_time) >= age_ms
}

fn bins(partition: &Partition, files: Vec<Arc<DataFile>>, options: &OptimizeOptions, now: DateTime<Utc>) -> Vec<Bin> {
    let is_settled = options.thorough || files.iter().all(|file| is_older(file, options.settled_after, now));
    let mut small: Vec<Arc<DataFile>> = files
        .into_iter()
        .filter(|file| {
            size(file) < options.target_bytes / 2
                && is_older(file, options.min_age, now)
                && file.add.deletion_vector.is_none()
        })
        .collect();
    if !is_settled {
        small = worth_it(small);
    }
    small.sort_by(|a, b| in_time(a).cmp(&in_time(b)));
    let packed = packed(small, options.target_bytes).into_iter();
    // One file is as good as it gets.
    let worth = packed.filter(|files| files.len() > 1);
    let bin = |files| Bin {
        partition: partition.clone(),
        files,
    };
    worth.map(bin).collect()
}

/// Files that follow one another, as many together as make the target size; one that is larger stands alone.
pub fn packed(files: Vec<Arc<DataFile>>, target_bytes: u64) -> Vec<Vec<Arc<DataFile>>> {
    let mut packed = Vec::new();
    let mut bin = OpenBin::default();
    for file in files {
        if !bin.takes(&file, target_bytes) {
            packed.push(std::mem::take(&mut bin).files);
        }
        bin.push(file);
    }
    if !bin.files.is_empty() {
        packed.push(bin.files);
    }
    packed
}

/// The smallest files, as far as each is worth rewriting for the sake of those before it.
fn worth_it(mut files: Vec<Arc<DataFile>>) -> Vec<Arc<DataFile>> {
    files.sort_by(|a, b| (size(a), &a.add.path).cmp(&(size(b), &b.add.path)));
    let mut before = 0;
    let kept = files
        .iter()
        .take_while(|file| {
            let worth = before == 0 || size(file) <= before * WORTH;
            before += size(file);
            worth
        })
        .count();
    files.truncate(kept);
    files
}

/// Trades by their time, bars by their windows, the rest by its writing.
pub fn in_time(file: &DataFile) -> ((i64, i64), (i64, i64), i64, &str) {
    (
        file.micros("ts"),
        file.micros("window_start"),
        file.add.modification_time,
        &file.add.path,
    )
}

#[derive(Default)]
struct OpenBin {
    files: Vec<Arc<DataFile>>,
    bytes: u64,
    groups: BTreeSet<Group>,
}

impl OpenBin {
    /// One more fits: by size, by number, and by what the tag of the merged file can hold.
    fn takes(&self, file: &DataFile, target_bytes: u64) -> bool {
        let fits = self.bytes + size(file) <= target_bytes && self.files.len() < MAX_FILES;
        if !fits || self.files.is_empty() {
            return fits || self.files.is_empty();
        }
        let groups = ranges(&file.add).and_then(|ranges| ranges.groups).unwrap_or_default();
        let new = groups.keys().filter(|group| !self.groups.contains(*group)).count();
        self.groups.len() + new <= MAX_TAG_GROUPS
    }

    fn push(&mut self, file: Arc<DataFile>) {
        self.bytes += size(&file);
        let groups = ranges(&file.add).and_then(|ranges| ranges.groups).unwrap_or_default();
        self.groups.extend(groups.into_keys());
        self.files.push(file);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use deltalake::kernel::Add;

    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn file(name: &str, size: i64, minutes: i64) -> Arc<DataFile> {
        let spec = ticklake_sql::tables::spec(&TableName::silver_trades()).unwrap();
        let add = Add {
            path: name.to_owned(),
            size,
            modification_time: minutes * MINUTE_MS,
            partition_values: [("date".to_owned(), Some("2025-01-01".to_owned()))].into(),
            ..Add::default()
        };
        Arc::new(DataFile::new(add, &spec))
    }

    #[track_caller]
    fn check(files: &[Arc<DataFile>], now_minutes: i64, thorough: bool, expected: &[&[&str]]) {
        let options = OptimizeOptions {
            target_bytes: 100,
            min_age: Duration::from_secs(600),
            settled_after: Duration::from_secs(3600),
            thorough,
            ..OptimizeOptions::default()
        };
        let now = DateTime::from_timestamp_millis(now_minutes * MINUTE_MS).unwrap();
        let bins = plan(&TableName::silver_trades(), files.iter(), &options, now);
        let paths: Vec<Vec<&str>> = bins
            .iter()
            .map(|bin| bin.files.iter().map(|file| file.add.path.as_str()).collect())
            .collect();
        assert_eq!(paths, expected);
    }

    #[test]
    fn neighbours_are_merged_up_to_the_target() {
        let files = [
            file("a", 40, 0),
            file("b", 40, 1),
            file("c", 40, 2),
            file("large", 60, 3),
            file("d", 30, 4),
            file("e", 49, 5),
        ];
        check(&files, 100, false, &[&["a", "b"], &["c", "d"]]);
        check(&files[4..5], 100, false, &[]);
        check(&files[3..5], 100, false, &[]);
    }

    #[test]
    fn young_files_are_left_alone() {
        let files = [file("a", 4, 0), file("b", 4, 1), file("c", 4, 2)];
        check(&files, 11, false, &[&["a", "b"]]);
        check(&files, 10, false, &[]);
    }

    #[test]
    fn in_a_growing_partition_a_file_waits_for_its_like() {
        let files = [file("merged", 40, 0), file("a", 4, 1), file("b", 4, 2), file("c", 6, 3)];
        check(&files, 20, false, &[&["a", "b", "c"]]);
        check(&files, 20, true, &[&["merged", "a", "b", "c"]]);
        check(&files, 70, false, &[&["merged", "a", "b", "c"]]);
    }
}
