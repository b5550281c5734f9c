//! `ticklake optimize --cluster`: the setting is changed, a writer says so, the command rewrites the tables, and everything goes on.

use std::path::Path;
use std::time::Duration;

use crate::made::Place;
use crate::process::{Running, stdout};
use crate::up::{assert_exact, start};

/// Settings that differ from what the tables were made with.
pub const BY_SYMBOL: &str =
    "[lake.partition_columns]\n\"silver.trades\" = \"symbol,date\"\n\"gold.ohlcv_1m\" = \"symbol,date\"\n";
const TABLES: [&str; 2] = ["silver.trades", "gold.ohlcv_1m"];

/// Partitions silver and the bars of a minute by symbol and date, as a user does it.
pub fn partition_by_symbol(folder: &Path, place: &Place) {
    let config = folder.join("by-symbol.toml");
    std::fs::write(&config, BY_SYMBOL).unwrap();
    let config = config.to_str().unwrap();
    let said = Running::start(&mut place.command(folder, &["refresh", "--config", config])).output();
    let said = String::from_utf8(said.stderr).unwrap();
    for table in TABLES {
        let sentence = format!(
            "{table} is partitioned by date and lake.partition_columns says symbol, date: `ticklake optimize --cluster {table}` rewrites it"
        );
        assert!(said.contains(&sentence), "{said}");
    }
    let cluster = |more: &[&str]| {
        let args = [&["optimize", "--cluster", "--config", config], more].concat();
        place.stdout(folder, &args)
    };
    let plan = cluster(&["--dry-run"]);
    let did = cluster(&[]);
    for table in TABLES {
        let says = |text: &str, what: &str| text.contains(&format!("{table}: {what} by symbol, date instead of date"));
        assert!(says(&plan, "would be partitioned"), "{plan}");
        assert!(says(&did, "partitioned"), "{did}");
    }
    let again = cluster(&[]);
    assert!(!again.contains("partitioned"), "{again}");
    let silent = Running::start(&mut place.command(folder, &["refresh", "--config", config])).output();
    assert!(!String::from_utf8(silent.stderr).unwrap().contains("is partitioned by"));
}

#[test]
fn tables_are_partitioned_otherwise_while_up_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let uri = folder.join("data/lake");
    let up = start(folder, &[]);
    let first = up.wait_for_trades(folder, 0, Duration::from_secs(60));
    std::fs::write(folder.join("by-symbol.toml"), BY_SYMBOL).unwrap();
    let cluster = [
        "optimize",
        "--cluster",
        "--config",
        "by-symbol.toml",
        "--lake",
        uri.to_str().unwrap(),
    ];
    let did = stdout(folder, &[&cluster[..], &TABLES].concat());
    for table in TABLES {
        assert!(
            did.contains(&format!("{table}: partitioned by symbol, date instead of date")),
            "{did}"
        );
    }
    // Silver and gold go on, and the server answers from what they have become.
    let then = up.wait_for_trades(folder, first, Duration::from_secs(30));
    up.wait_for_trades(folder, then, Duration::from_secs(30));
    up.process.terminate();
    assert_exact(folder);
    let (code, report) = Place::folder(&uri).verify(folder, "full", &[]);
    assert_eq!(code, Some(0), "{report:#}");
}
