//! `ticklake verify` on a lake that the roles have made: clean as it is, and each damage named with its coordinates and exit code 3.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type};
use deltalake::kernel::Add;
use serde_json::Value;
use ticklake_sql::{Table, TableName};

use crate::made::{Made, Place, TRADES};
use crate::process::stdout;
use crate::tampered::LakeCopy;

/// A check and the coordinates at which it must find something.
type Named = (&'static str, Vec<(&'static str, Value)>);

/// The one named difference of `check` (any of several) whose coordinates hold all of `at`.
#[track_caller]
pub fn named<'a>(report: &'a Value, check: &str, at: &[(&str, Value)]) -> &'a Value {
    report["named"]
        .as_array()
        .unwrap()
        .iter()
        .find(|difference| {
            difference["check"] == check && at.iter().all(|(key, value)| difference["at"][*key] == *value)
        })
        .unwrap_or_else(|| panic!("no {check} at {at:?} in {report:#}"))
}

pub fn without(rows: &RecordBatch, row: usize) -> RecordBatch {
    let keep: BooleanArray = (0..rows.num_rows()).map(|at| Some(at != row)).collect();
    filter_record_batch(rows, &keep).unwrap()
}

fn file_of(table: &Table, add: &Add) -> Value {
    format!("{}/{}", table.name().path(), add.path).into()
}

#[test]
fn a_whole_lake_is_clean_and_each_damage_is_named() {
    let made = Made::new();
    let lake = made.lake();
    for mode in ["full", "cheap"] {
        let (code, report) = made.verify(&lake, mode);
        assert_eq!(code, Some(0), "{mode}: {report:#}");
        let origin = &report["origins"][0];
        // 600 trades, the broken one, 4 repeats or contradictions, 2 dead letters.
        assert_eq!(origin["in_kafka"], TRADES + 7, "{report:#}");
        assert_eq!(
            (origin["bronze"].as_i64(), origin["dead_letters"].as_i64()),
            (Some(TRADES + 5), Some(2))
        );
        assert_eq!((&origin["holes"], &origin["missing"]), (&0.into(), &0.into()));
        let layers = &report["layers"];
        assert_eq!(layers["silver"], TRADES, "{report:#}");
        // The broken one and the contradiction; 3 and 5 again, and the contradiction again.
        assert_eq!(
            (&layers["quarantine"], &layers["repeats"]),
            (&2.into(), &3.into()),
            "{report:#}"
        );
        assert_eq!(layers["recorded_repeats"], 3, "{report:#}");
        assert_eq!(report["bars"].as_array().unwrap().len(), 2);
    }
    let (_, report) = made.verify(&lake, "full");
    assert_eq!(report["bars"][0]["fills"], TRADES);
    assert_eq!(report["bars"][0]["trade_count"], TRADES);
    let text = stdout(
        made.folder.path(),
        &[
            "verify",
            "--lake",
            lake.to_str().unwrap(),
            "--bootstrap-servers",
            &made.broker.addr,
            "--topic",
            &made.broker.topic,
        ],
    );
    assert!(text.ends_with("\nnothing missing\n"), "{text}");

    let bronze = TableName::bronze_trades();
    let dead_letters = TableName::bronze_dead_letters();
    let (silver, gold) = (TableName::silver_trades(), TableName::gold_ohlcv("1m"));
    // Each damage, the proofs that must see it, and what these must name.
    let damaged = |modes: &[&str], damage: &dyn Fn(&LakeCopy) -> Vec<Named>| {
        let copy = LakeCopy::of(&lake);
        let expected = damage(&copy);
        for mode in modes {
            let (code, report) = made.verify(copy.folder.path(), mode);
            assert_eq!(code, Some(3), "{mode} {expected:?}: {report:#}");
            for (check, at) in &expected {
                named(&report, check, at);
            }
        }
    };

    // A lost file: the file, and the records that were in it.
    damaged(&["full", "cheap"], &|copy| {
        let table = copy.table(&bronze);
        let add = copy.adds(&table)[1].clone();
        let offsets = copy.rows(&table, &add);
        let offsets = offsets.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
        let from = offsets.values().iter().min().copied().unwrap();
        std::fs::remove_file(copy.path(&table, &add)).unwrap();
        vec![
            ("file_missing", vec![("file", file_of(&table, &add))]),
            ("record_missing", vec![("partition", 0.into()), ("from", from.into())]),
        ]
    });
    // A doubled file.
    damaged(&["full", "cheap"], &|copy| {
        let table = copy.table(&bronze);
        let add = copy.adds(&table)[0].clone();
        let twin = Add {
            path: add.path.replace("part-", "part-twin-"),
            ..add.clone()
        };
        std::fs::copy(copy.path(&table, &add), copy.path(&table, &twin)).unwrap();
        copy.commit(&table, vec![twin], &[]);
        vec![("record_twice", vec![("partition", 0.into()), ("from", 0.into())])]
    });
    // A truncated file.
    damaged(&["full", "cheap"], &|copy| {
        let table = copy.table(&silver);
        let add = copy.adds(&table)[0].clone();
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(copy.path(&table, &add))
            .unwrap();
        file.set_len(u64::try_from(add.size).unwrap() / 2).unwrap();
        vec![("file_size", vec![("file", file_of(&table, &add))])]
    });
    // Statistics that lie, and a row count that does.
    damaged(&["full"], &|copy| {
        let table = copy.table(&silver);
        let add = copy.adds(&table)[0].clone();
        copy.forge(&table, &add, |stats| stats["maxValues"]["seq"] = 1.into());
        vec![(
            "statistics",
            vec![("file", file_of(&table, &add)), ("column", "seq".into())],
        )]
    });
    damaged(&["full", "cheap"], &|copy| {
        let table = copy.table(&bronze);
        let add = copy.adds(&table)[0].clone();
        copy.forge(&table, &add, |stats| stats["numRecords"] = 1.into());
        vec![("row_count", vec![("file", file_of(&table, &add))])]
    });
    // A lost row of silver, by its coordinates in bronze; a row that is there twice.
    damaged(&["full", "cheap"], &|copy| {
        let table = copy.table(&silver);
        let add = copy.adds(&table)[0].clone();
        let rows = copy.rows(&table, &add);
        let (partition, offset) = (
            rows.column_by_name("partition").unwrap(),
            rows.column_by_name("offset").unwrap(),
        );
        let at = vec![
            ("partition", partition.as_primitive::<Int32Type>().value(20).into()),
            ("offset", offset.as_primitive::<Int64Type>().value(20).into()),
        ];
        copy.replace(&table, &add, without(&rows, 20));
        vec![("silver_missing", at)]
    });
    damaged(&["full", "cheap"], &|copy| {
        let table = copy.table(&silver);
        let add = copy.adds(&table)[0].clone();
        let rows = copy.rows(&table, &add);
        let twice = arrow::compute::concat_batches(&rows.schema(), [&rows, &rows.slice(4, 1)]).unwrap();
        copy.replace(&table, &add, twice);
        vec![("silver_twice", vec![("partition", 0.into())])]
    });
    // A wrong bar, and a lost one.
    damaged(&["full"], &|copy| {
        let table = copy.table(&gold);
        let add = copy.adds(&table)[0].clone();
        let rows = copy.rows(&table, &add);
        let position = rows.schema().index_of("close").unwrap();
        let close = rows.column(position).as_primitive::<Decimal128Type>();
        let wrong: Decimal128Array = close
            .values()
            .iter()
            .enumerate()
            .map(|(row, value)| Some(value + i128::from(row == 1)))
            .collect();
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        columns[position] = std::sync::Arc::new(wrong.with_data_type(close.data_type().clone()));
        copy.replace(&table, &add, RecordBatch::try_new(rows.schema(), columns).unwrap());
        let at = vec![
            ("venue", "sim".into()),
            ("symbol", "BTC-USDT".into()),
            ("window_start", "2025-01-01T00:01:00.000000Z".into()),
        ];
        vec![("bar_wrong", at)]
    });
    damaged(&["full"], &|copy| {
        let table = copy.table(&gold);
        let add = copy.adds(&table)[0].clone();
        copy.replace(&table, &add, without(&copy.rows(&table, &add), 2));
        vec![
            (
                "bar_missing",
                vec![("window_start", "2025-01-01T00:02:00.000000Z".into())],
            ),
            ("fills", vec![]),
        ]
    });
    // A dropped dead letter: Kafka still holds it.
    damaged(&["full", "cheap"], &|copy| {
        let table = copy.table(&dead_letters);
        let add = copy.adds(&table)[0].clone();
        copy.commit(&table, Vec::new(), &[add]);
        vec![(
            "record_missing",
            vec![("partition", 0.into()), ("from", (TRADES / 2 + 1).into())],
        )]
    });
}

#[test]
fn a_file_is_proved_like_a_partition() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let text = lake.to_str().unwrap();
    let line = |id: i64| format!("sim,BTC-USDT,1,2,{},{id}\n", 1_735_689_600_000_000 + id * 1_000_000);
    // A header, a bad line and an empty one among 50 trades.
    let lines: String = (0..30)
        .map(line)
        .chain(["sim,BTC-USDT,1\n".into(), "\n".into()])
        .chain((30..50).map(line))
        .collect();
    std::fs::write(
        folder.path().join("trades.csv"),
        format!("venue,symbol,price,qty,ts,trade_id\n{lines}"),
    )
    .unwrap();
    let loaded = stdout(
        folder.path(),
        &[
            "backfill",
            "--format",
            "csv",
            "trades.csv",
            "--max-bad-rows",
            "5",
            "--lake",
            text,
        ],
    );
    assert!(loaded.contains("50 rows, 1 bad"), "{loaded}");
    let verify = |lake: &Path, mode: &str| Place::folder(lake).verify(folder.path(), mode, &[]);
    for mode in ["full", "cheap"] {
        let (code, report) = verify(&lake, mode);
        assert_eq!(code, Some(0), "{report:#}");
        let origin = &report["origins"][0];
        assert_eq!(
            (&origin["bronze"], &origin["dead_letters"], &origin["holes"]),
            (&50.into(), &1.into(), &1.into()),
            "{report:#}"
        );
    }
    for table in [TableName::bronze_trades(), TableName::bronze_dead_letters()] {
        let copy = LakeCopy::of(&lake);
        let table = copy.table(&table);
        copy.commit(&table, Vec::new(), &copy.adds(&table));
        for mode in ["full", "cheap"] {
            let (code, report) = verify(copy.folder.path(), mode);
            assert_eq!(code, Some(3), "{report:#}");
            named(&report, "file_records", &[]);
        }
    }
}
