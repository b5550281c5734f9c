//! Which files are rewritten together: of one date, bars of one hour, and as many as make a file of the target size.

use std::collections::BTreeMap;
use std::sync::Arc;

use ticklake_sql::TableName;

use crate::gold::Interval;
use crate::maintenance::optimize::plan::{hour, in_time, packed};
use crate::scan::DataFile;

/// What all rows of a rewritten file share, whatever it is partitioned by: its date, and the hour of bars.
type Group = (BTreeMap<String, Option<String>>, Option<i64>);

/// A file larger than `target_bytes` is rewritten alone. `dates`: the partition columns that stay.
pub fn plan(
    table: &TableName,
    files: impl Iterator<Item = Arc<DataFile>>,
    dates: &[String],
    target_bytes: u64,
) -> Vec<Vec<Arc<DataFile>>> {
    let interval = table.ohlcv_interval().and_then(|text| Interval::parse(text).ok());
    let mut groups: BTreeMap<Group, Vec<Arc<DataFile>>> = BTreeMap::new();
    let mut wide = Vec::new();
    for file in files {
        let values = file
            .add
            .partition_values
            .iter()
            .filter(|(column, _)| dates.contains(column));
        let date = values.map(|(column, value)| (column.clone(), value.clone())).collect();
        match interval.map(|interval| hour(&file, interval)) {
            // Bars of several hours: nothing may be put beside them.
            Some(None) => wide.push(vec![file]),
            Some(hour) => groups.entry((date, hour)).or_default().push(file),
            None => groups.entry((date, None)).or_default().push(file),
        }
    }
    let mut planned = wide;
    for mut files in groups.into_values() {
        // Symbols side by side, and in each the trades in their time.
        let symbol = |file: &DataFile| file.add.partition_values.get("symbol").cloned().flatten();
        files.sort_by(|a, b| (symbol(a), in_time(a)).cmp(&(symbol(b), in_time(b))));
        planned.extend(packed(files, target_bytes));
    }
    planned
}

#[cfg(test)]
mod tests {
    use deltalake::kernel::Add;

    use super::*;

    fn file(name: &str, size: i64, symbol: &str, date: &str) -> Arc<DataFile> {
        let spec = ticklake_sql::tables::spec(&TableName::silver_trades()).unwrap();
        let values = [("symbol", symbol), ("date", date)];
        let add = Add {
            path: name.to_owned(),
            size,
            partition_values: values
                .map(|(column, value)| (column.to_owned(), Some(value.to_owned())))
                .into(),
            ..Add::default()
        };
        Arc::new(DataFile::new(add, &spec))
    }

    #[test]
    fn files_of_a_date_are_rewritten_together_up_to_the_target() {
        let files = [
            file("a", 40, "B", "2025-01-01"),
            file("b", 40, "A", "2025-01-01"),
            file("c", 30, "A", "2025-01-02"),
            file("d", 30, "C", "2025-01-01"),
            file("large", 500, "D", "2025-01-01"),
        ];
        let planned = plan(
            &TableName::silver_trades(),
            files.into_iter(),
            &["date".to_owned()],
            100,
        );
        let paths: Vec<Vec<&str>> = planned
            .iter()
            .map(|files| files.iter().map(|file| file.add.path.as_str()).collect())
            .collect();
        assert_eq!(paths, [vec!["b", "a"], vec!["d"], vec!["large"], vec!["c"]]);
    }
}
