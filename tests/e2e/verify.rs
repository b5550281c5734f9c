//! `ticklake verify` on a lake that the roles have made: clean as it is, and each damage named with its coordinates and exit code 3.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type};
use deltalake::kernel::Add;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn, removal};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Clock, Durability, Lake, LakeOptions, Table, TableName};

use crate::broker::Broker;
use crate::process::{output, stdout};

/// Trades of BTC-USDT, a second apart.
const TRADES: i64 = 600;

struct Made {
    folder: tempfile::TempDir,
    broker: Broker,
}

impl Made {
    /// Records in two rounds, each ingested and refreshed: repeats within a round and across, a broken trade, dead letters.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(folder.path());
        create_topic(&broker);
        let made = Self { folder, broker };
        let plain = |id: i64| trade(id, "100.5");
        let mut first: Vec<String> = (0..TRADES / 2).map(plain).collect();
        first.extend([plain(3), "no json".to_owned(), trade(TRADES + 7, "-1")]);
        made.send(&first);
        made.round();
        let mut second: Vec<String> = (TRADES / 2..TRADES).map(plain).collect();
        // Repeats of stored rows, a contradiction, its repeat, and an empty record.
        second.extend([plain(5), trade(6, "101"), trade(6, "101"), String::new()]);
        made.send(&second);
        made.round();
        made
    }

    fn send(&self, payloads: &[String]) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.broker.addr)
            .create()
            .unwrap();
        for payload in payloads {
            producer
                .send(
                    BaseRecord::to(&self.broker.topic)
                        .partition(0)
                        .key("sim:BTC-USDT")
                        .payload(payload),
                )
                .unwrap();
        }
        producer.flush(Duration::from_secs(20)).unwrap();
    }

    fn round(&self) {
        let kafka = ["--bootstrap-servers", &self.broker.addr, "--topic", &self.broker.topic];
        let lake = self.lake();
        let lake = ["--lake", lake.to_str().unwrap()];
        let ingest = [&["ingest", "--until-latest", "--commit-rows", "100"][..], &kafka, &lake].concat();
        stdout(self.folder.path(), &ingest);
        stdout(self.folder.path(), &[&["refresh"][..], &lake].concat());
    }

    fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    /// Exit code and report of a proof of `lake`.
    fn verify(&self, lake: &Path, mode: &str) -> (Option<i32>, Value) {
        let args = [
            "verify",
            "--mode",
            mode,
            "--format",
            "json",
            "--lake",
            lake.to_str().unwrap(),
            "--bootstrap-servers",
            &self.broker.addr,
            "--topic",
            &self.broker.topic,
        ];
        let output = output(self.folder.path(), &args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        (output.status.code(), report)
    }
}

/// Of one partition.
fn create_topic(broker: &Broker) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &broker.addr)
        .create()
        .unwrap();
    let topic = NewTopic::new(&broker.topic, 1, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let created = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()));
    created.unwrap().pop().unwrap().unwrap();
}

fn trade(id: i64, price: &str) -> String {
    let ts = 1_735_689_600_000_000 + id * 1_000_000;
    format!(
        r#"{{"venue":"sim","symbol":"BTC-USDT","kind":"trade","trade_id":"{id}","seq":{id},"price":"{price}","qty":"0.5","side":"buy","ts":{ts},"received_at":{ts},"source":"sim"}}"#
    )
}

/// A check and the coordinates at which it must find something.
type Named = (&'static str, Vec<(&'static str, Value)>);

/// A copy of the lake to damage.
struct LakeCopy {
    folder: tempfile::TempDir,
    lake: Lake,
    runtime: tokio::runtime::Runtime,
}

impl LakeCopy {
    fn of(lake: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(lake, folder.path());
        let options = LakeOptions {
            durability: Durability::Os,
            ..LakeOptions::default()
        };
        let lake = Lake::open(folder.path().to_str().unwrap(), options, Clock::system()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self { folder, lake, runtime }
    }

    fn table(&self, name: &TableName) -> Table {
        self.runtime.block_on(self.lake.table(name)).unwrap()
    }

    fn adds(&self, table: &Table) -> Vec<Add> {
        let loaded = self.runtime.block_on(table.load(None)).unwrap();
        #[allow(deprecated)]
        let mut adds: Vec<Add> = loaded
            .snapshot()
            .unwrap()
            .log_data()
            .iter()
            .map(|file| file.add_action())
            .collect();
        adds.sort_by_key(|add| add.modification_time);
        adds
    }

    fn path(&self, table: &Table, add: &Add) -> PathBuf {
        self.folder.path().join(table.name().path()).join(&add.path)
    }

    fn rows(&self, table: &Table, add: &Add) -> RecordBatch {
        let file = std::fs::File::open(self.path(table, add)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    /// One commit that nobody who reads rows would take for a change.
    fn commit(&self, table: &Table, adds: Vec<Add>, removes: &[Add]) {
        self.runtime.block_on(async {
            let mut committer = Committer::open(table).await.unwrap();
            let app_id = format!("ticklake/{}/writer", table.name());
            let version = committer.positions().get(&app_id).copied().unwrap_or(0) + 1;
            let now = Clock::system().now();
            let commit = Commit {
                operation: "DAMAGE".into(),
                txns: vec![Txn { app_id, version }],
                adds: adds
                    .into_iter()
                    .map(|add| Add {
                        data_change: false,
                        ..add
                    })
                    .collect(),
                removes: removes.iter().map(|add| removal(add, now, false)).collect(),
                ..Commit::default()
            };
            let outcome = committer.commit(commit).await.unwrap();
            assert!(matches!(outcome, Outcome::Committed { .. }));
        });
    }

    /// Puts `rows` in the place of a file.
    fn replace(&self, table: &Table, add: &Add, rows: RecordBatch) {
        let partition: BTreeMap<String, String> = add
            .partition_values
            .iter()
            .map(|(column, value)| (column.clone(), value.clone().unwrap()))
            .collect();
        let written = data_file::write(table, partition, vec![rows], FileOptions::default());
        let mut written = self.runtime.block_on(written).unwrap();
        written.tags = add.tags.clone();
        self.commit(table, vec![written], std::slice::from_ref(add));
    }

    /// Changes the statistics of a file where the log holds them.
    fn forge(&self, table: &Table, add: &Add, forge: impl Fn(&mut Value)) {
        let log = self.folder.path().join(table.name().path()).join("_delta_log");
        for entry in std::fs::read_dir(log).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let line = |line: &str| {
                let mut action: Value = serde_json::from_str(line).unwrap();
                if action["add"]["path"] == add.path.as_str() {
                    let mut stats: Value = serde_json::from_str(action["add"]["stats"].as_str().unwrap()).unwrap();
                    forge(&mut stats);
                    action["add"]["stats"] = stats.to_string().into();
                }
                action.to_string() + "\n"
            };
            std::fs::write(&path, text.lines().map(line).collect::<String>()).unwrap();
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The one named difference of `check` (any of several) whose coordinates hold all of `at`.
#[track_caller]
fn named<'a>(report: &'a Value, check: &str, at: &[(&str, Value)]) -> &'a Value {
    report["named"]
        .as_array()
        .unwrap()
        .iter()
        .find(|difference| {
            difference["check"] == check && at.iter().all(|(key, value)| difference["at"][*key] == *value)
        })
        .unwrap_or_else(|| panic!("no {check} at {at:?} in {report:#}"))
}

fn without(rows: &RecordBatch, row: usize) -> RecordBatch {
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
    let verify = |lake: &Path, mode: &str| {
        let args = [
            "verify",
            "--mode",
            mode,
            "--format",
            "json",
            "--lake",
            lake.to_str().unwrap(),
        ];
        let output = output(folder.path(), &args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        (output.status.code(), report)
    };
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

#[test]
fn a_dropped_dead_letter_is_not_missing() {
    let made = Made::new();
    let lake = made.lake();
    let lake = ["--lake", lake.to_str().unwrap()];
    let run = |args: &[&str]| stdout(made.folder.path(), &[args, &lake].concat());
    let shown = run(&[
        "dlq",
        "show",
        "--partition",
        "0",
        "--offset",
        &(TRADES / 2 + 1).to_string(),
    ]);
    assert!(shown.contains("no json") && shown.contains("not_json"), "{shown}");
    assert_eq!(
        run(&["dlq", "retry", "--all"]),
        "0 of 2 dead letters decode now and moved to bronze.trades\n"
    );
    assert_eq!(run(&["dlq", "drop", "--class", "not_json"]), "1 dead letters dropped\n");
    assert_eq!(run(&["dlq", "drop", "--class", "not_json"]), "0 dead letters dropped\n");
    let left = run(&["dlq", "list", "--format", "json"]);
    assert!(left.contains("empty_value") && !left.contains("not_json"), "{left}");
    assert!(run(&["dlq", "list", "--class", "dropped"]).contains("not_json: "));
    let broken = run(&["quarantine", "list", "--rule", "price_not_positive", "--format", "json"]);
    assert_eq!(broken.lines().count(), 1, "{broken}");
    for mode in ["full", "cheap"] {
        let (code, report) = made.verify(&made.lake(), mode);
        assert_eq!(code, Some(0), "{report:#}");
    }
    let neither = output(made.folder.path(), &[&["dlq", "drop"][..], &lake].concat());
    assert_eq!(neither.status.code(), Some(2), "all of them takes --all");
}

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

#[test]
fn bars_are_held_against_candles() {
    let made = Made::new();
    let folder = made.folder.path();
    let decimal = |value: i128, scale: usize| {
        let digits = format!("{value:0>width$}", width = scale + 1);
        format!(
            "{}.{}",
            &digits[..digits.len() - scale],
            &digits[digits.len() - scale..]
        )
    };
    let bars = crate::lake::LakeFolder(made.lake()).bars("1m");
    let candle = |((_, _, start), bar): (&crate::lake::BarKey, &crate::lake::Bar)| {
        let price = |value| decimal(value, 12);
        [
            start.to_string(),
            price(bar.open),
            price(bar.high),
            price(bar.low),
            price(bar.close),
            decimal(bar.volume, 10),
            (bar.window_end_us - 1).to_string(),
            decimal(bar.quote_volume, 22),
            bar.trade_count.to_string(),
            decimal(bar.taker_buy_volume, 10),
            decimal(bar.taker_buy_quote_volume, 22),
            "0".to_owned(),
        ]
        .join(",")
    };
    let mut lines: Vec<String> = bars.iter().map(candle).collect();
    let parity = |lines: &[String]| {
        std::fs::write(folder.join("candles.csv"), lines.join("\n")).unwrap();
        let lake = made.lake();
        let market = ["--venue", "sim", "--symbol", "BTC-USDT", "--format", "json"];
        let args = ["parity", "--candles", "candles.csv", "--lake", lake.to_str().unwrap()];
        let output = output(folder, &[&args[..], &market].concat());
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), report)
    };
    let (code, report) = parity(&lines);
    assert_eq!(
        (code, &report["candles"]),
        (Some(0), &(TRADES / 60).into()),
        "{report:#}"
    );
    lines[2] = lines[2].replace(",60,", ",61,");
    lines.remove(1);
    let (code, report) = parity(&lines);
    assert_eq!(code, Some(3));
    assert_eq!(
        report["by_field"],
        serde_json::json!({ "bar": 1, "trade_count": 1 }),
        "{report:#}"
    );
    // The same from where a venue would publish it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/candles.csv", listener.local_addr().unwrap());
    let body = std::fs::read_to_string(folder.join("candles.csv")).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = BufReader::new(stream.try_clone().unwrap()).lines();
        assert!(
            request.map(Result::unwrap).any(|line| line.is_empty()),
            "the request ends"
        );
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
    });
    let lake = made.lake();
    let args = ["parity", "--candles", &url, "--lake", lake.to_str().unwrap()];
    let output = output(
        folder,
        &[&args[..], &["--venue", "sim", "--symbol", "BTC-USDT"]].concat(),
    );
    answering.join().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("bar: 1 differ") && text.contains("trade_count: 1 differ"),
        "{text}"
    );
}
