//! The checks under `sql/checks/`: one statement a file that returns the rows that offend; none is the good answer.

/// A rule that always holds, as a statement that looks for its breach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// The file's name.
    pub name: &'static str,
    pub sql: &'static str,
    /// Tables that it reads; `gold.ohlcv` is each interval in turn.
    pub tables: &'static [&'static str],
}

/// In data-flow order.
pub const ALL: [Check; 5] = [
    Check {
        name: "silver_key_once",
        sql: include_str!("../checks/silver_key_once.sql"),
        tables: &["silver.trades"],
    },
    Check {
        name: "silver_values",
        sql: include_str!("../checks/silver_values.sql"),
        tables: &["silver.trades"],
    },
    Check {
        name: "gold_bar_once",
        sql: include_str!("../checks/gold_bar_once.sql"),
        tables: &["gold.ohlcv"],
    },
    Check {
        name: "gold_bar_shape",
        sql: include_str!("../checks/gold_bar_shape.sql"),
        tables: &["gold.ohlcv"],
    },
    Check {
        name: "gold_closed",
        sql: include_str!("../checks/gold_closed.sql"),
        tables: &["gold.ohlcv"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_check_and_reads_what_it_says() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/checks");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
        let mut files: Vec<String> = files.map(|name| name.into_string().unwrap()).collect();
        files.sort();
        let mut names: Vec<String> = ALL.iter().map(|check| format!("{}.sql", check.name)).collect();
        names.sort();
        assert_eq!(files, names);
        for check in ALL {
            assert!(
                check.sql.contains("-- returns:") && check.sql.contains("-- inputs:"),
                "{}",
                check.name
            );
            assert!(
                check.tables.iter().all(|table| check.sql.contains(table)),
                "{}",
                check.name
            );
        }
    }
}
