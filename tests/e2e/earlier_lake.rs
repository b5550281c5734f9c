//! A lake that an earlier release has written (`tests/fixtures/earlier-lake`): this one opens it, proves it, and goes on with every job.

use std::path::Path;
use std::process::Command;

use crate::lake::{LakeFolder, assert_bars_equal_the_fold};
use crate::made::Place;
use crate::process::Running;

/// What its history file brought to silver.
const ARCHIVED: usize = 50;

#[test]
fn a_lake_of_an_earlier_release_is_proved_refreshed_and_optimized() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/earlier-lake/lake.tar.gz");
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(packed)
        .arg("-C")
        .arg(folder)
        .status();
    assert!(unpacked.unwrap().success());
    let lake = folder.join("lake");
    let place = Place::folder(&lake);
    let proved = |step: &str| {
        for mode in ["full", "cheap"] {
            let (code, report) = place.verify(folder, mode, &[]);
            assert_eq!(code, Some(0), "{mode} {step}: {report:#}");
        }
    };
    proved("as it was written");
    let trades = LakeFolder(lake.clone()).silver();
    assert!(trades.iter().filter(|trade| trade.venue == "archive").count() == ARCHIVED);
    assert!(trades.len() > ARCHIVED, "it holds what `up` has made");
    assert_bars_equal_the_fold(&lake, &trades);

    let more = "venue,symbol,trade_id,seq,price,qty,side,ts\n\
                archive,BTC-USDT,52,52,101,0.5,buy,1735689652000000\n\
                archive,BTC-USDT,5,5,100.5,0.5,buy,1735689605000000\n";
    std::fs::write(folder.join("more.csv"), more).unwrap();
    place.stdout(folder, &["backfill", "--format", "csv", "more.csv"]);
    let mut optimize = place.command(folder, &["optimize"]);
    let optimized = Running::start(optimize.env("TICKLAKE_OPTIMIZE__MIN_AGE", "1ms")).output();
    let said = String::from_utf8_lossy(&optimized.stdout).into_owned();
    assert!(optimized.status.success() && said.contains(" files became "), "{said}");
    proved("optimized");
    place.stdout(folder, &["rebuild", "--from", "2025-01-01", "--to", "2100-01-01"]);
    place.stdout(folder, &["refresh"]);
    place.stdout(folder, &["vacuum", "--full"]);
    proved("in the end");
    let silver = LakeFolder(lake.clone()).silver();
    assert_eq!(silver.len(), trades.len() + 1);
    assert_bars_equal_the_fold(&lake, &silver);
}
