//! Changed hours become data files, one an hour and partition; what is written and what it replaces waits for the commit.

use std::collections::{BTreeMap, BTreeSet};

use deltalake::kernel::{Add, Remove};
use ticklake_sql::commit::removal;
use ticklake_sql::data_file::{self, FileOptions};

use super::bar::{Bar, Key};
use super::columns::encode;
use super::hours::{Hour, Hours};
use super::interval::date_text;
use super::neighbours::{Outline, outline};
use crate::Result;
use crate::error::Step;

/// Files of one commit.
#[derive(Debug, Default)]
pub struct Written {
    pub adds: Vec<Add>,
    pub removes: Vec<Remove>,
}

impl Hours {
    /// Writes the changed hours before `until` into files and drops them from memory: nothing before it changes any more in this refresh.
    pub async fn write_before(&mut self, until: i64) -> Result<()> {
        let before: Vec<i64> = self.loaded.range(..until).map(|(start, _)| *start).collect();
        for start in before {
            let Some(mut hour) = self.loaded.remove(&start) else {
                continue;
            };
            if hour.is_changed {
                self.write(&mut hour).await?;
            }
            if hour.is_written {
                self.written.insert(start);
            }
            self.outlines.insert(
                start,
                Outline {
                    series: outline(hour.bars.iter()),
                    paths: hour.paths,
                },
            );
        }
        Ok(())
    }

    /// Writes one hour; it comes from the new files then.
    async fn write(&mut self, hour: &mut Hour) -> Result<()> {
        let mut partitions: BTreeMap<BTreeMap<String, String>, Vec<(&Key, &Bar)>> = BTreeMap::new();
        for (key, bar) in &hour.bars {
            partitions.entry(self.partition(key)).or_default().push((key, bar));
        }
        let mut paths = BTreeSet::new();
        for (partition, mut bars) in partitions {
            bars.sort_by(|(a, _), (b, _)| {
                (&a.series.symbol, a.start, &a.series.venue).cmp(&(&b.series.symbol, b.start, &b.series.venue))
            });
            let batch = encode(&bars, &self.calendar, &self.table.spec().file_schema())?;
            let options = FileOptions {
                zstd_level: self.zstd_level,
                ..FileOptions::default()
            };
            let add = data_file::write(&self.table, partition, vec![batch], options)
                .await
                .step("write bars")?;
            paths.insert(add.path.clone());
            self.adds.push(add);
        }
        self.removed.extend(std::mem::replace(&mut hour.paths, paths));
        (hour.is_changed, hour.is_written) = (false, true);
        Ok(())
    }

    fn partition(&self, key: &Key) -> BTreeMap<String, String> {
        let value = |column: &String| match column.as_str() {
            "symbol" => key.series.symbol.to_string(),
            "venue" => key.series.venue.to_string(),
            _ => date_text(key.start),
        };
        self.table
            .spec()
            .partition_columns
            .iter()
            .map(|column| (column.clone(), value(column)))
            .collect()
    }

    /// Writes what is changed still; returns all that this refresh has written.
    pub async fn finish(&mut self) -> Result<Written> {
        let mut loaded = std::mem::take(&mut self.loaded);
        for hour in loaded.values_mut().filter(|hour| hour.is_changed) {
            self.write(hour).await?;
        }
        self.loaded = loaded;
        self.written.clear();
        let now = self.table.lake().clock().now();
        let removed = std::mem::take(&mut self.removed);
        // An hour that was written and changed again leaves files that no commit needs.
        self.adds.retain(|add| !removed.contains(&add.path));
        let removes = removed
            .iter()
            .filter_map(|path| self.files.get(path))
            .map(|file| removal(&file.add, now, true))
            .collect();
        Ok(Written {
            adds: std::mem::take(&mut self.adds),
            removes,
        })
    }
}
