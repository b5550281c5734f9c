//! Silver and gold behind a merge of what they read: the lake and a backup of it are proved as they stand, and refreshed on.

use std::path::Path;

use serde_json::Value;
use ticklake_sql::TableName;

use crate::lake::LakeFolder;
use crate::made::{Made, Place, TRADES, trade};
use crate::tampered::LakeCopy;
use crate::verify::{named, without};

const MODES: [&str; 2] = ["full", "cheap"];

/// Merges what there is to merge, in bronze and in silver at least.
fn optimize(made: &Made) {
    let told = made.optimize();
    for table in ["bronze.trades: ", "silver.trades: "] {
        assert!(told.contains(table), "{told}");
    }
}

fn backup(made: &Made, name: &str) -> Place {
    let copy = made.place.at(&format!("{}-{name}", made.place.uri));
    made.place.stdout(made.folder.path(), &["backup", &copy.uri]);
    copy
}

/// The report of a proof that finds nothing, and how many of its notes say that something could not be proved.
#[track_caller]
fn clean(made: &Made, place: &Place, mode: &str) -> (Value, usize) {
    let (code, report) = made.verify_at(place, mode);
    assert_eq!(code, Some(0), "{mode} of {}: {report:#}", place.uri);
    let notes = report["notes"].as_array().unwrap();
    let untold = notes
        .iter()
        .filter(|note| note.as_str().unwrap().contains("cannot be read as it was"));
    let untold = untold.count();
    (report, untold)
}

/// A row of silver, and one of gold, taken out behind the back of a copy must be named by a proof of it.
fn lost_rows_are_named(made: &Made, place: &Place, of: &[(TableName, &str, &[&str])]) {
    for (table, check, modes) in of {
        let copy = LakeCopy::of(Path::new(&place.uri));
        let table = copy.table(table);
        let add = copy.adds(&table)[0].clone();
        copy.replace(&table, &add, without(&copy.rows(&table, &add), 1));
        for mode in *modes {
            let (code, report) = made.verify(copy.folder.path(), mode);
            assert_eq!(code, Some(3), "{mode}: {report:#}");
            named(&report, check, &[]);
        }
    }
}

#[test]
fn what_has_not_read_past_a_merge_is_proved_on_the_lake_and_on_a_copy() {
    let made = Made::new();
    optimize(&made);
    let copy = backup(&made, "copy");
    for place in [&made.place, &copy] {
        for mode in MODES {
            let (report, untold) = clean(&made, place, mode);
            let layers = &report["layers"];
            assert!(layers["behind"].as_u64() > Some(0), "{report:#}");
            assert_eq!(
                (&layers["bronze"], &layers["silver"], &layers["repeats"], untold),
                (&(TRADES + 5).into(), &TRADES.into(), &3.into(), 0),
                "{report:#}"
            );
            let bars = &report["bars"][0];
            assert!(mode == "cheap" || bars["behind"].as_u64() > Some(0), "{report:#}");
            assert!(mode == "cheap" || bars["fills"] == TRADES, "{report:#}");
        }
    }
    let (silver, gold) = (TableName::silver_trades(), TableName::gold_ohlcv("1m"));
    lost_rows_are_named(
        &made,
        &copy,
        &[(silver, "silver_missing", &MODES), (gold, "bar_missing", &["full"])],
    );
}

#[test]
fn a_copy_holds_what_is_still_to_be_read_and_is_refreshed_on() {
    let made = Made::new();
    let refresh = |place: &Place, layer: &str| place.stdout(made.folder.path(), &["refresh", layer]);
    // Silver takes a row out for a lesser equal one, and gold has still to read that.
    made.send(&[
        trade(5, "100.5").replace(r#""source":"sim""#, r#""source":"live""#),
        trade(TRADES, "7"),
    ]);
    made.ingest();
    refresh(&made.place, "silver");
    made.send(&[trade(TRADES + 1, "8"), trade(3, "100.5")]);
    made.ingest();
    let before = backup(&made, "before");
    // Rows that were read and rows that were not, merged into one file.
    optimize(&made);
    let after = backup(&made, "after");
    for (place, told) in [(&made.place, true), (&before, true), (&after, false)] {
        for mode in MODES {
            let (report, untold) = clean(&made, place, mode);
            assert_eq!(
                (&report["layers"]["silver"], &report["layers"]["repeats"]),
                (&(TRADES + 1).into(), &4.into()),
                "{mode} of {}: {report:#}",
                place.uri
            );
            // Both intervals of gold; silver is always told.
            let expected = if told || mode == "cheap" { 0 } else { 2 };
            assert_eq!(untold, expected, "{mode} of {}: {report:#}", place.uri);
        }
    }
    lost_rows_are_named(&made, &after, &[(TableName::silver_trades(), "silver_missing", &MODES)]);
    let held = |place: &Place| {
        let folder = LakeFolder(place.uri.clone().into());
        (
            folder.silver().len(),
            ["1m", "5m"].map(|interval| folder.bars(interval)),
        )
    };
    for place in [&made.place, &before, &after] {
        refresh(place, "silver");
        refresh(place, "gold");
        let (report, untold) = clean(&made, place, "full");
        let (layers, bars) = (&report["layers"], &report["bars"][0]);
        assert_eq!(
            (&layers["silver"], &layers["repeats"], &bars["fills"], untold),
            (&(TRADES + 2).into(), &5.into(), &(TRADES + 2).into(), 0),
            "{report:#}"
        );
        assert_eq!(held(place), held(&made.place), "{}", place.uri);
    }
}
