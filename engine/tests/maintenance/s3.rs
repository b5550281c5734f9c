//! The maintenance jobs and the leases on a real S3 server: conditional puts, multipart uploads, listings and deletes as a store of its own does them.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use arrow::json::ReaderBuilder;
use chrono::TimeDelta;
use ticklake_engine::EngineStatus;
use ticklake_engine::maintenance::{OptimizeOptions, RetentionOptions, VacuumOptions, optimize, retain, vacuum};
use ticklake_engine::schedule::{self, Every, JobOptions, ScheduleOptions};
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Clock, Lake, LakeOptions, Table, TableName};
use tokio_util::sync::CancellationToken;

/// Its clock is `ahead` of the store's.
fn lake(prefix: &str, ahead: TimeDelta) -> Lake {
    let endpoint = std::env::var("TICKLAKE_TEST_S3_ENDPOINT").expect("TICKLAKE_TEST_S3_ENDPOINT names an S3 server");
    let storage = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_access_key_id", "ticklake"),
        ("aws_secret_access_key", "ticklake-secret"),
        ("aws_region", "us-east-1"),
        ("aws_allow_http", "true"),
    ];
    let storage: BTreeMap<_, _> = storage.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let options = LakeOptions {
        storage: storage.into(),
        ..LakeOptions::default()
    };
    let system = Clock::system();
    let clock = Clock::from_fn(move || system.now() + ahead);
    Lake::open(&format!("s3://ticklake/{prefix}"), options, clock).unwrap()
}

fn prefix(test: &str) -> String {
    format!("maintenance-{test}-{:016x}", rand::random::<u64>())
}

async fn land(bronze: &Table, commits: std::ops::Range<i64>) {
    let mut committer = Committer::open(bronze).await.unwrap();
    for commit in commits {
        let rows: String = (commit * 10..commit * 10 + 10)
            .map(|id| format!("{}\n", json(id)))
            .collect();
        let mut reader = ReaderBuilder::new(bronze.spec().file_schema())
            .build(Cursor::new(rows))
            .unwrap();
        let partition = BTreeMap::from([("ingest_date".to_owned(), "2026-01-01".to_owned())]);
        let batch = reader.next().unwrap().unwrap();
        let add = data_file::write(bronze, partition, vec![batch], FileOptions::default())
            .await
            .unwrap();
        let landed = committer
            .commit(Commit {
                operation: "WRITE".into(),
                txns: vec![Txn {
                    app_id: "ingest".into(),
                    version: commit + 1,
                }],
                adds: vec![add],
                ..Commit::default()
            })
            .await
            .unwrap();
        assert!(matches!(landed, Outcome::Committed { .. }));
    }
}

fn json(id: i64) -> serde_json::Value {
    serde_json::json!({
        "origin": "kafka", "topic": "trades", "partition": 0, "offset": id, "payload": "7b7d", "venue": "binance-spot",
        "symbol": "BTC-USDT", "kind": "trade", "trade_id": id.to_string(), "seq": id, "price": "7.25", "qty": "1", "side": "buy",
        "ts": "2026-01-01T00:00:00Z", "received_at": "2026-01-01T00:00:01Z", "source": "live", "count": 1,
        "ingested_at": "2026-01-01T00:00:02Z",
    })
}

/// Rows and files of the newest version, by the log.
async fn held(table: &Table) -> (u64, usize) {
    let snapshot = table.load(None).await.unwrap();
    let files = snapshot.snapshot().unwrap().log_data();
    let rows = files.iter().map(|file| file.num_records().unwrap() as u64).sum();
    (rows, files.iter().count())
}

async fn objects(table: &Table) -> usize {
    use futures::TryStreamExt;
    let listed: Vec<_> = table
        .log_store()
        .object_store(None)
        .list(None)
        .try_collect()
        .await
        .unwrap();
    listed
        .iter()
        .filter(|object| !object.location.as_ref().starts_with("_delta_log"))
        .count()
}

fn eager() -> OptimizeOptions {
    OptimizeOptions {
        min_age: Duration::ZERO,
        thorough: true,
        ..OptimizeOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_optimizes_double_nothing() {
    let lake = lake(&prefix("race"), TimeDelta::zero());
    let bronze = lake.create_table(&TableName::bronze_trades()).await.unwrap();
    land(&bronze, 0..12).await;
    let options = eager();
    let (one, other) = tokio::join!(optimize(&bronze, &options), optimize(&bronze, &options));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.commits + other.commits >= 1, "{one:?} {other:?}");
    assert_eq!(held(&bronze).await, (120, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn optimize_then_vacuum_leaves_the_rows_and_one_object() {
    let prefix = prefix("vacuum");
    let now = lake(&prefix, TimeDelta::zero());
    let bronze = now.create_table(&TableName::bronze_trades()).await.unwrap();
    land(&bronze, 0..12).await;
    let mut silver = Silver::open(now.clone(), SilverOptions::default()).await.unwrap();
    silver.refresh().await.unwrap();
    optimize(&bronze, &eager()).await.unwrap();
    land(&bronze, 12..13).await;
    silver.refresh().await.unwrap();
    assert_eq!(objects(&bronze).await, 14);

    // Six days on. Silver's position is as young as its last commit, so it commits once more.
    let later = lake(&prefix, TimeDelta::days(6));
    let bronze = later.table(&TableName::bronze_trades()).await.unwrap();
    land(&bronze, 13..14).await;
    Silver::open(later.clone(), SilverOptions::default())
        .await
        .unwrap()
        .refresh()
        .await
        .unwrap();
    let tables = later.tables().await.unwrap();
    for full in [false, true] {
        let options = VacuumOptions {
            full,
            full_every: None,
            ..VacuumOptions::default()
        };
        let report = vacuum(&bronze, &tables, &options).await.unwrap();
        assert_eq!(report.files, if full { 0 } else { 12 }, "{report:?}");
    }
    assert_eq!(objects(&bronze).await, 3);
    assert_eq!(held(&bronze).await, (140, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_takes_out_a_date() {
    let prefix = prefix("retention");
    let lake = lake(&prefix, TimeDelta::zero());
    let bronze = lake.create_table(&TableName::bronze_trades()).await.unwrap();
    land(&bronze, 0..3).await;
    Silver::open(lake.clone(), SilverOptions::default())
        .await
        .unwrap()
        .refresh()
        .await
        .unwrap();
    let tables = lake.tables().await.unwrap();
    let options = RetentionOptions {
        keep: Duration::from_secs(30 * 24 * 3600),
        dry_run: false,
    };
    let report = retain(&bronze, &tables, options).await.unwrap();
    assert_eq!((report.files, report.rows), (3, 30));
    assert_eq!(held(&bronze).await, (0, 0));
}

/// One whose clock is a year ahead is judged by the store's.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_killed_scheduler_goes_to_another_by_the_store_s_time() {
    let prefix = prefix("lease");
    let lake = lake(&prefix, TimeDelta::zero());
    let bronze = lake.create_table(&TableName::bronze_trades()).await.unwrap();
    let start = |ahead| {
        let (status, shutdown) = (Arc::<EngineStatus>::default(), CancellationToken::new());
        let options = ScheduleOptions {
            lease: Duration::from_secs(2),
            ..ScheduleOptions::default()
        };
        let every = Every::parse("100ms").unwrap();
        let jobs = vec![JobOptions::silver(SilverOptions::default(), every)];
        let running = schedule::run(
            self::lake(&prefix, ahead),
            jobs,
            options,
            status.clone(),
            shutdown.clone(),
        );
        (tokio::spawn(running), status, shutdown)
    };
    let until = async |what: &str, is_so: &dyn Fn() -> bool| {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while !is_so() {
            assert!(tokio::time::Instant::now() < deadline, "no {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let of = |status: &EngineStatus, key: &str| status.snapshot()["jobs"]["silver"][key].clone();
    let (killed, first, _) = start(TimeDelta::zero());
    land(&bronze, 0..1).await;
    until("rows", &|| of(&first, "rows_out") == 10).await;
    let (running, next, shutdown) = start(TimeDelta::days(365));
    until("standby", &|| of(&next, "held_by").is_string()).await;
    land(&bronze, 1..2).await;
    until("rows of the one that holds", &|| of(&first, "rows_out") == 20).await;
    assert_eq!(of(&next, "runs"), 0);
    killed.abort();
    land(&bronze, 2..3).await;
    until("rows of the one that follows", &|| of(&next, "rows_out") == 10).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    let silver = lake.table(&TableName::silver_trades()).await.unwrap();
    let (_, positions) = silver.positions().await.unwrap();
    assert_eq!(positions["lease/silver"], 2);
    assert_eq!(held(&silver).await.0, 30);
}
