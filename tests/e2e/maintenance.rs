//! `ticklake optimize` and `ticklake vacuum`, by hand and by schedule beside `up`: fewer files, the same rows, the same bars.

use std::path::Path;
use std::time::Duration;

use crate::process::{eventually, output, stdout};
use crate::up::{assert_exact, start};

const EAGER: &str = "[jobs]\noptimize = '1s'\n[optimize]\nmin_age = '1s'\n";

/// The entries of a table's log that can be read now, without order.
fn entries(lake: &Path, table: &str) -> Vec<String> {
    let log = lake.join(table).join("_delta_log");
    let Ok(entries) = std::fs::read_dir(log) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| std::fs::read_to_string(path).unwrap_or_default())
        .collect()
}

/// Commits to `table` with this operation.
fn commits(lake: &Path, table: &str, operation: &str) -> usize {
    let wanted = format!("\"operation\":\"{operation}\"");
    entries(lake, table)
        .iter()
        .filter(|entry| entry.contains(&wanted))
        .count()
}

/// Files that came to `table`, and those of them that are in it now.
fn files(lake: &Path, table: &str) -> (usize, usize) {
    let actions = |entry: &str, action: &str| entry.lines().filter(|line| line.starts_with(action)).count();
    let (mut adds, mut removes) = (0, 0);
    for entry in entries(lake, table) {
        adds += actions(&entry, "{\"add\"");
        removes += actions(&entry, "{\"remove\"");
    }
    (adds, adds - removes)
}

#[test]
fn tables_are_optimized_while_they_grow_and_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("ticklake.toml"), EAGER).unwrap();
    let lake = folder.join("data/lake");
    let uri = lake.to_str().unwrap();

    let up = start(folder, &[]);
    for table in ["bronze/trades", "silver/trades"] {
        eventually(
            &format!("optimized {table}\n{}", up.process.said()),
            Duration::from_secs(60),
            || (commits(&lake, table, "OPTIMIZE") >= 3).then_some(()),
        );
    }
    for table in ["bronze/trades", "silver/trades"] {
        let what = format!("many commits and few files in {table}\n{}", up.process.said());
        eventually(&what, Duration::from_secs(120), || {
            let (came, are) = files(&lake, table);
            (came > 60 && are * 4 < came).then_some(())
        });
    }
    let seen = up.trades(folder);
    up.wait_for_trades(folder, seen, Duration::from_secs(20));
    up.process.terminate();
    assert_exact(folder);

    let args = |command: &'static str, more: &'static [&'static str]| -> Vec<&str> {
        [&[command, "--lake", uri], more].concat()
    };
    // The last files are a moment old.
    eventually("files of an age to be merged", Duration::from_secs(20), || {
        let said = stdout(folder, &args("optimize", &[]));
        said.contains("silver.trades: nothing to do").then_some(())
    });
    let again = stdout(folder, &args("optimize", &["--dry-run"]));
    assert!(again.lines().all(|line| line.ends_with("nothing to do")), "{again}");
    assert_exact(folder);

    let dry = stdout(folder, &args("vacuum", &["--dry-run", "--full"]));
    assert!(dry.contains("bronze.trades: nothing to delete (full listing)"), "{dry}");
    let refused = output(folder, &args("vacuum", &["--time-travel", "1m"]));
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("vacuum.time_travel"),
        "{refused:?}"
    );
    stdout(folder, &args("vacuum", &["bronze.trades", "--format", "json"]));
    assert_exact(folder);
}
