//! What the people who run this do every week, command by command, on a lake that the roles have made: history from files, refresh, optimize, vacuum, the
//! proof, a rebuild, what was set aside, a backup and back. The same on local disk, on S3 and on Azure, down to a copy from the one to the other.

use std::io::Write;
use std::path::Path;

use crate::lake::{LakeFolder, assert_bars_equal_the_fold};
use crate::layout;
use crate::made::{Made, Place, TRADES, trade_at};
use crate::process::Running;
use crate::tampered::Tampered;

/// Trades of another day, in two files.
const HISTORY: i64 = 3_000;

#[test]
fn the_weekly_round_on_local_disk() {
    let made = Made::new();
    let archive = made.folder.path().join("archive");
    std::fs::create_dir(&archive).unwrap();
    for (name, bytes) in history() {
        std::fs::write(archive.join(name), bytes).unwrap();
    }
    weekly_round(&made, archive.join("*.csv.gz").to_str().unwrap());
}

#[cfg(feature = "services")]
#[test]
fn the_weekly_round_on_s3() {
    weekly_round_in_a_bucket(Place::s3);
}

#[cfg(feature = "services")]
#[test]
fn the_weekly_round_on_azure() {
    weekly_round_in_a_bucket(Place::azure);
}

#[cfg(feature = "services")]
fn weekly_round_in_a_bucket(place: fn(&str) -> Place) {
    let prefix = format!("weekly-{}", uuid::Uuid::new_v4().simple());
    let made = Made::at(tempfile::tempdir().unwrap(), place(&format!("{prefix}/lake")));
    let archive = place(&format!("{prefix}/archive"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = archive.lake().object_store();
    for (name, bytes) in history() {
        let path = object_store::path::Path::from(name);
        let put = object_store::ObjectStoreExt::put(&store, &path, bytes.into());
        runtime.block_on(put).unwrap();
    }
    weekly_round(&made, &format!("{}/*.csv.gz", archive.uri));
}

/// Two gzipped files, in the second a line that is none.
fn history() -> [(&'static str, Vec<u8>); 2] {
    let zipped = |ids: std::ops::Range<i64>, more: &str| {
        let mut text = "venue,symbol,price,qty,side,ts,trade_id\n".to_owned();
        for id in ids {
            let ts = 1_736_000_000_000_000 + id * 250_000;
            text += &format!("sim,ETH-USDT,{}.25,0.5,sell,{ts},{id}\n", 100 + id % 9);
        }
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all((text + more).as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    [
        ("a.csv.gz", zipped(0..HISTORY / 2, "")),
        ("b.csv.gz", zipped(HISTORY / 2..HISTORY, "sim,ETH-USDT,1\n")),
    ]
}

fn weekly_round(made: &Made, archive: &str) {
    let (folder, place) = (made.folder.path(), &made.place);
    let run = |args: &[&str]| place.stdout(folder, args);
    let proved = |place: &Place, step: &str| {
        for mode in ["full", "cheap"] {
            let (code, report) = made.verify_at(place, mode);
            assert_eq!(code, Some(0), "{mode} after {step}: {report:#}");
        }
    };

    // Two trades that the rules of the day set aside, beside what the roles have made.
    made.send(&[trade_at(701, "5", -100), trade_at(702, "5", -90)]);
    made.ingest();
    made.refresh_strictly();

    let load = ["backfill", "--format", "csv", archive];
    assert!(run(&load).contains(&format!("2 files, {HISTORY} rows, 1 bad")));
    let again = run(&load);
    assert!(
        again.contains("already loaded") && again.contains("2 files, 0 rows"),
        "{again}"
    );
    proved(place, "backfill");

    assert!(
        run(&["refresh"]).contains("silver.trades: 0 rows in"),
        "backfill has refreshed"
    );
    let optimize = |more: &[&str]| {
        let mut command = place.command(folder, &[&["optimize"], more].concat());
        let output = Running::start(command.env("TICKLAKE_OPTIMIZE__MIN_AGE", "1ms")).output();
        String::from_utf8(output.stdout).unwrap()
    };
    let merged = optimize(&[]);
    for table in [
        "bronze.trades",
        "bronze.dead_letters",
        "silver.trades",
        "silver.quarantine",
    ] {
        let line = merged.lines().find(|line| line.starts_with(&format!("{table}: ")));
        assert!(line.is_some_and(|line| line.contains(" files became ")), "{merged}");
    }
    let again = optimize(&["--dry-run"]);
    assert!(again.lines().all(|line| line.ends_with("nothing to do")), "{again}");
    proved(place, "optimize");
    // All that was merged can still be travelled back to.
    assert!(run(&["vacuum", "--full", "--dry-run"]).contains("bronze.trades: nothing to delete"));
    run(&["vacuum", "--full"]);
    proved(place, "vacuum");

    run(&["rebuild", "--from", "2025-01-01", "--to", "2025-01-02"]);
    proved(place, "rebuild");
    layout::partition_by_symbol(folder, place);
    proved(place, "optimize --cluster");
    set_aside(made, &run);
    proved(place, "what was set aside");
    let (code, report) = made.verify_at(place, "full");
    let rows = (code, report["layers"]["silver"].as_i64());
    // Those of the roles, the released ones, the one that was a dead letter, and history.
    assert_eq!(rows, (Some(0), Some(TRADES + 3 + HISTORY)), "{report:#}");

    let backup = place.at(&format!("{}-backup", place.uri));
    assert!(run(&["backup", &backup.uri]).contains("silver.trades: version "));
    assert!(
        run(&["backup", &backup.uri])
            .lines()
            .all(|line| line.ends_with("; 0 files of 0 bytes were new"))
    );
    proved(&backup, "backup");
    let restored = place.at(&format!("{}-restored", place.uri));
    restored.stdout(folder, &["restore", "--from", &backup.uri]);
    proved(&restored, "restore");
    // The two lakes say the same, in a folder of this machine.
    let [ours, theirs] = [place, &restored].map(|lake| downloaded(folder, lake));
    assert_eq!(ours.bars("1m"), theirs.bars("1m"));
    let silver = ours.silver();
    assert_eq!(silver.len(), theirs.silver().len());
    assert_bars_equal_the_fold(&ours.0, &silver);
}

/// A dead letter that decodes now, one that is dropped, and the trades that only the rules of that day set aside.
fn set_aside(made: &Made, run: &dyn Fn(&[&str]) -> String) {
    Tampered::at(&made.place).mend_a_dead_letter();
    assert!(run(&["dlq", "list"]).contains("not_json"));
    assert_eq!(
        run(&["dlq", "retry", "--all"]),
        "1 of 3 dead letters decode now and moved to bronze.trades\n"
    );
    assert_eq!(
        run(&["dlq", "retry", "--all"]),
        "0 of 2 dead letters decode now and moved to bronze.trades\n"
    );
    assert_eq!(
        run(&["dlq", "drop", "--class", "empty_value"]),
        "1 dead letters dropped\n"
    );
    assert!(run(&["quarantine", "list"]).contains("ts_too_early"));
    assert!(run(&["quarantine", "release"]).starts_with("2 of "));
    assert!(run(&["quarantine", "release"]).starts_with("0 of "));
    run(&["refresh"]);
}

fn downloaded(folder: &Path, lake: &Place) -> LakeFolder {
    let to = folder.join(format!("downloaded-{}", uuid::Uuid::new_v4().simple()));
    lake.at(to.to_str().unwrap())
        .stdout(folder, &["restore", "--from", &lake.uri]);
    LakeFolder(to)
}
