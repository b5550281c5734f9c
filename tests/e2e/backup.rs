//! `ticklake backup` and `ticklake restore`: a copy is a lake, copied back it goes on, and a table goes back to a version.

use std::path::Path;

use crate::made::{Made, Place, TRADES, trade};
use crate::process::{Running, output, stdout};

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

    // Bars are closed by what their refresh knew, not by what came later.
    let args = [
        "restore",
        "--tables",
        "gold.ohlcv_1m",
        "--version",
        "1",
        "--lake",
        &text(&lake),
    ];
    assert!(stdout(folder, &args).contains("holds what version 1 held"));
    let (code, report) = made.verify(&lake, "full");
    assert_eq!(code, Some(0), "{report:#}");
}

#[test]
fn a_table_goes_back_to_before_its_first_vacuum_and_to_no_version_whose_files_are_gone() {
    let made = Made::new();
    let (folder, place) = (made.folder.path(), &made.place);
    let copy = place.at(&format!("{}-copy", place.uri));
    place.stdout(folder, &["vacuum", "--full"]);
    let back = |version: &str| ["restore", "--tables", "silver.trades", "--version", version].map(str::to_owned);
    let set_back = |place: &Place, version: &str| {
        let args = back(version);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Running::start(&mut place.command(folder, &args)).output()
    };
    let told = String::from_utf8(set_back(place, "1").stdout).unwrap();
    assert!(told.contains("holds what version 1 held"), "{told}");
    place.stdout(folder, &["refresh"]);
    assert_eq!(made.verify_at(place, "full").0, Some(0));

    // What was merged before a backup is not in it.
    assert!(made.optimize().contains("silver.trades: "));
    // A proof counts what is derived up to where it was read: past the merge, as the next refresh with a row in it comes.
    made.send(&[trade(TRADES, "7")]);
    made.round();
    place.stdout(folder, &["backup", &copy.uri]);
    let refused = set_back(&copy, "1");
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("silver.trades cannot go back to version 1: "), "{told}");
    // `versions 0, 6 can be restored`: the newest is the one that the backup was made of.
    let left = told
        .split_once(" can be restored")
        .and_then(|(before, _)| before.rsplit(' ').next());
    let left = left.unwrap_or_else(|| panic!("no version in {told}"));
    assert!(told.contains("; versions 0, "), "version 1 is named: {told}");
    assert!(set_back(&copy, left).status.success(), "{left}");
    assert_eq!(made.verify_at(&copy, "full").0, Some(0));
}
