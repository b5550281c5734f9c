//! `ticklake backup` and `ticklake restore`: a copy is a lake, copied back it goes on, and a table goes back to a version.

use std::path::Path;

use crate::made::{Made, TRADES, trade};
use crate::process::{output, stdout};

#[test]
fn a_backup_is_a_lake_and_a_table_goes_back() {
    let made = Made::new();
    let folder = made.folder.path();
    let (lake, copy, other) = (made.lake(), folder.join("copy"), folder.join("other"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let backup = || stdout(folder, &["backup", &text(&copy), "--lake", &text(&lake)]);
    assert!(backup().contains("bronze.trades: version "));
    assert_eq!(made.verify(&copy, "full").0, Some(0));
    let again = backup();
    assert!(
        again
            .lines()
            .all(|line| line.ends_with("; 0 files of 0 bytes were new")),
        "{again}"
    );
    made.send(&[trade(TRADES, "7")]);
    made.round();
    let older = stdout(folder, &["restore", "--from", &text(&copy), "--lake", &text(&other)]);
    assert!(older.contains("silver.trades"), "{older}");
    let (code, report) = made.verify(&other, "full");
    // One record of Kafka that the backup had not read.
    assert_eq!(
        (code, &report["origins"][0]["behind"]),
        (Some(0), &1.into()),
        "{report:#}"
    );
    assert!(backup().contains("; 1 files of "));
    let refused = output(folder, &["backup", &text(&copy), "--lake", &text(&other)]);
    assert_eq!(
        refused.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );

    let set_back = stdout(
        folder,
        &[
            "restore",
            "--tables",
            "silver.trades",
            "--version",
            "1",
            "--lake",
            &text(&copy),
        ],
    );
    assert!(set_back.contains("holds what version 1 held"), "{set_back}");
    let (code, report) = made.verify(&copy, "full");
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["layers"]["silver"], TRADES / 2);
    stdout(folder, &["refresh", "--lake", &text(&copy)]);
    let (code, report) = made.verify(&copy, "full");
    assert_eq!(
        (code, &report["layers"]["silver"]),
        (Some(0), &(TRADES + 1).into()),
        "{report:#}"
    );
}
