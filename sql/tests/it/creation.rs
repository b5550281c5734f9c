//! Opening and creating: races end with one table, a table that differs is refused by name, a lake out of reach is one sentence.

use std::collections::BTreeMap;
use std::time::Duration;

use deltalake::table::config::TablePropertiesExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn};
use ticklake_sql::{Durability, Error, ErrorKind, History, Lake, LakeOptions, TableName, tables};

use crate::faulty_store::FaultyStore;
use crate::rows::{clock, local_lake};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_creators_end_with_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let lake = local_lake(&folder);
    let name = TableName::gold_ohlcv("5m");
    let creators: Vec<_> = (0..16)
        .map(|_| {
            let (lake, name) = (lake.clone(), name.clone());
            tokio::spawn(async move { lake.create_table(&name).await.unwrap().load(None).await.unwrap() })
        })
        .collect();
    let mut ids = Vec::new();
    for creator in creators {
        let loaded = creator.await.unwrap();
        assert_eq!(loaded.version(), Some(0));
        ids.push(loaded.snapshot().unwrap().metadata().id().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_lake_s_history_is_that_of_the_tables_made_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let kept = |hours: u64| Duration::from_secs(hours * 3600);
    let (older, newer) = (TableName::bronze_trades(), TableName::silver_trades());
    local_lake(&folder).create_table(&older).await.unwrap();
    let options = LakeOptions {
        history: Some(History {
            removed_files: kept(2),
            log: kept(4),
        }),
        ..LakeOptions::default()
    };
    let lake = Lake::open(folder.path().to_str().unwrap(), options, clock()).unwrap();
    for (name, removed_files, log) in [(older, kept(7 * 24), kept(7 * 24)), (newer, kept(2), kept(4))] {
        let loaded = lake.create_table(&name).await.unwrap().load(None).await.unwrap();
        let config = loaded.snapshot().unwrap().table_config();
        assert_eq!(config.deleted_file_retention_duration(), removed_files, "{name}");
        assert_eq!(config.log_retention_duration(), log, "{name}");
    }
}

#[tokio::test]
async fn the_definition_stands_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let lake = local_lake(&folder);
    for name in tables::fixed() {
        let table = lake.create_table(&name).await.unwrap();
        let loaded = table.load(None).await.unwrap();
        let snapshot = loaded.snapshot().unwrap();
        assert_eq!(snapshot.metadata().name(), Some(name.to_string().as_str()));
        assert_eq!(snapshot.metadata().partition_columns(), table.spec().partition_columns);
        assert_eq!(snapshot.protocol().min_reader_version(), 1);
        let properties: BTreeMap<_, _> = snapshot.metadata().configuration().clone().into_iter().collect();
        assert_eq!(properties, table.spec().properties);
        for field in table.spec().schema.fields() {
            let stored = snapshot.schema();
            let stored = stored.field(field.name()).unwrap();
            assert_eq!(stored.is_nullable(), field.is_nullable());
            assert_eq!(
                stored.metadata()["comment"].to_string(),
                field.metadata()["comment"],
                "{}",
                field.name()
            );
        }
    }
}

#[tokio::test]
async fn a_missing_table_says_what_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let error = local_lake(&folder)
        .table(&TableName::bronze_trades())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error
            .to_string()
            .contains("bronze.trades does not exist in the lake at /"),
        "{error}"
    );
    assert!(local_lake(&folder).tables().await.unwrap().is_empty());
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "looking makes nothing"
    );
}

async fn check_differs(change: impl Fn(String) -> String, expected: &str) {
    let store = FaultyStore::new();
    let (lake, name) = (store.lake(clock()), TableName::silver_trades());
    lake.create_table(&name).await.unwrap();
    let entry = Path::from("lake/silver/trades/_delta_log/00000000000000000000.json");
    let text = store.get(&entry).await.unwrap().bytes().await.unwrap();
    let changed = change(String::from_utf8(text.to_vec()).unwrap());
    assert_ne!(changed.as_bytes(), text);
    store.put(&entry, changed.into()).await.unwrap();
    let error = lake.create_table(&name).await.unwrap_err();
    assert!(matches!(error, Error::Data { .. }));
    assert!(error.to_string().contains(expected), "{error}");
}

#[tokio::test]
async fn a_table_that_differs_is_refused_by_column() {
    check_differs(
        |text| text.replace(r#"\"name\":\"seq\""#, r#"\"name\":\"sequence\""#),
        "column seq is missing",
    )
    .await;
    check_differs(
        |text| text.replace("decimal(28,12)", "decimal(28,8)"),
        "column price is Decimal128(28, 8), the definition says Decimal128(28, 12)",
    )
    .await;
    check_differs(
        |text| text.replacen(r#"\"nullable\":false"#, r#"\"nullable\":true"#, 1),
        "column venue is nullable",
    )
    .await;
    check_differs(
        |text| text.replace(r#""minWriterVersion":2"#, r#""minWriterVersion":4"#),
        "writer version 4",
    )
    .await;
    check_differs(
        |text| {
            text.replace(
                r#""configuration":{"#,
                r#""configuration":{"delta.setTransactionRetentionDuration":"interval 1 day","#,
            )
        },
        "expires recorded positions",
    )
    .await;
}

#[tokio::test]
async fn a_table_made_before_a_column_could_be_null_is_read_as_it_is_and_loosened_by_its_writers() {
    let store = FaultyStore::new();
    let (lake, name) = (store.lake(clock()), TableName::gold_ohlcv("1m"));
    lake.create_table(&name).await.unwrap();
    let first = Path::from("lake/gold/ohlcv_1m/_delta_log/00000000000000000000.json");
    let text = String::from_utf8(store.get(&first).await.unwrap().bytes().await.unwrap().to_vec()).unwrap();
    let strict = |column: &str, text: String| {
        let at = text.find(&format!(r#"\"name\":\"{column}\""#)).unwrap();
        let (before, after) = text.split_at(at);
        format!(
            "{before}{}",
            after.replacen(r#"\"nullable\":true"#, r#"\"nullable\":false"#, 1)
        )
    };
    let old = strict("close", strict("open", text));
    store.put(&first, old.into()).await.unwrap();

    let nullable = async |table: &ticklake_sql::Table, column: &str| {
        let loaded = table.load(None).await.unwrap();
        let schema = loaded.snapshot().unwrap().schema();
        (loaded.version(), schema.field(column).unwrap().is_nullable())
    };
    let read = lake.table(&name).await.unwrap();
    assert_eq!(
        nullable(&read, "open").await,
        (Some(0), false),
        "a reader changes nothing"
    );
    let (one, other) = tokio::join!(lake.create_table(&name), lake.create_table(&name));
    for table in [one.unwrap(), other.unwrap(), lake.create_table(&name).await.unwrap()] {
        for column in ["open", "close"] {
            assert_eq!(nullable(&table, column).await, (Some(1), true), "{column}");
        }
        assert!(!nullable(&table, "volume").await.1);
    }
}

#[tokio::test]
async fn the_probe_accepts_stores_that_refuse_and_refuses_those_that_accept() {
    let folder = tempfile::tempdir().unwrap();
    local_lake(&folder).probe().await.unwrap();
    FaultyStore::new().lake(clock()).probe().await.unwrap();
    let error = FaultyStore::overwriting().lake(clock()).probe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error
            .to_string()
            .contains("memory:///lake does not refuse a second conditional put"),
        "{error}"
    );
}

#[tokio::test]
async fn a_lake_out_of_reach_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let lake = Lake::open(file.join("lake").to_str().unwrap(), LakeOptions::default(), clock()).unwrap();
    for error in [
        lake.probe().await.unwrap_err(),
        lake.create_table(&TableName::bronze_trades()).await.unwrap_err(),
    ] {
        assert!(
            error
                .to_string()
                .starts_with(&format!("cannot reach the lake at {}", lake.uri())),
            "{error}"
        );
    }
    let storage = [
        ("aws_endpoint", "http://127.0.0.1:9"),
        ("aws_allow_http", "true"),
        ("aws_access_key_id", "a"),
        ("aws_secret_access_key", "secret"),
    ];
    let storage: BTreeMap<_, _> = storage.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let options = LakeOptions {
        storage: storage.into(),
        ..Default::default()
    };
    assert!(!format!("{options:?}").contains("secret\""));
    let error = Lake::open("s3://bucket/lake", options, clock())
        .unwrap()
        .probe()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert_eq!(
        error.to_string(),
        "cannot reach the lake at s3://bucket/lake: check the endpoint, the bucket's name and the network"
    );
}

#[tokio::test]
async fn commits_wake_every_clone_of_the_lake() {
    let folder = tempfile::tempdir().unwrap();
    let options = LakeOptions {
        durability: Durability::Os,
        ..Default::default()
    };
    let lake = Lake::open(folder.path().to_str().unwrap(), options, clock()).unwrap();
    let name = TableName::bronze_trades();
    let writer = lake.clone().create_table(&name).await.unwrap();
    let mut reader = lake.table(&name).await.unwrap().committed();
    let mut committer = Committer::open(&writer).await.unwrap();
    let txns = vec![Txn {
        app_id: "a".into(),
        version: 1,
    }];
    assert_eq!(
        committer
            .commit(Commit {
                txns,
                ..Default::default()
            })
            .await
            .unwrap(),
        Outcome::Committed { version: 1 }
    );
    assert_eq!(*reader.wait_for(|version| *version >= 1).await.unwrap(), 1);
}

#[tokio::test]
async fn heartbeats_lie_in_the_lake() {
    let folder = tempfile::tempdir().unwrap();
    let store = local_lake(&folder).object_store();
    store
        .put_opts(&Path::from("_ticklake/status/a.json"), "{}".into(), Default::default())
        .await
        .unwrap();
    assert!(folder.path().join("_ticklake/status/a.json").exists());
}
