//! Tables: made, written and read by several at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Cursor;

use arrow::json::ReaderBuilder;
use arrow::record_batch::RecordBatch;
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Table, TableName, log};

use crate::places::PLACES;

const COMMITS_PER_WRITER: i64 = 20;

/// One dead letter with this offset.
pub fn row(table: &Table, partition: i64, offset: i64) -> RecordBatch {
    let json = serde_json::json!({
        "origin": "kafka", "topic": "trades", "partition": partition, "offset": offset, "payload_bytes": 0,
        "error_class": "empty_value", "error": "the value is empty", "ingested_at": "2026-01-01T00:00:00Z",
    });
    let mut rows = ReaderBuilder::new(table.spec().file_schema())
        .build(Cursor::new(json.to_string()))
        .unwrap();
    rows.next().unwrap().unwrap()
}

async fn append(committer: &mut Committer, app_id: &str, partition: i64, offset: i64) -> Outcome {
    let table = committer.table().clone();
    let date = BTreeMap::from([("ingest_date".to_owned(), "2026-01-01".to_owned())]);
    let add = data_file::write(
        &table,
        date,
        vec![row(&table, partition, offset)],
        FileOptions::default(),
    )
    .await
    .unwrap();
    let txns = vec![Txn {
        app_id: app_id.to_owned(),
        version: offset + 1,
    }];
    committer
        .commit(Commit {
            operation: "WRITE".into(),
            txns,
            adds: vec![add],
            ..Default::default()
        })
        .await
        .unwrap()
}

/// The paths of all data files that the newest version holds.
async fn active_files(table: &Table) -> BTreeSet<String> {
    let newest = table.latest_version(None).await.unwrap();
    let mut files = BTreeSet::new();
    for version in 0..=newest {
        let entry = ticklake_sql::log::read(table, version).await.unwrap().unwrap();
        files.extend(entry.adds.into_iter().map(|add| add.path));
    }
    files
}

#[tokio::test]
async fn the_probe_finds_conditional_puts() {
    for place in PLACES {
        place.lake("probe").probe().await.unwrap();
    }
}

#[tokio::test]
async fn an_absent_lake_is_empty() {
    for place in PLACES {
        let lake = place.lake("absent");
        assert!(lake.tables().await.unwrap().is_empty());
        assert!(lake.table(&TableName::bronze_trades()).await.is_err());
    }
}

#[tokio::test]
async fn a_missing_bucket_is_an_error_that_names_it() {
    for place in PLACES {
        let lake = place.open(&format!("{}/lake", place.bucket("no-such-bucket")), place.storage());
        let error = lake.probe().await.unwrap_err().to_string();
        assert!(error.contains("no-such-bucket"), "{error}");
    }
}

#[tokio::test]
async fn racing_creators_end_with_one_table() {
    for place in PLACES {
        let lake = place.lake("create");
        let name = TableName::bronze_dead_letters();
        let (one, other) = tokio::join!(lake.create_table(&name), lake.create_table(&name));
        for table in [one.unwrap(), other.unwrap()] {
            assert_eq!(table.latest_version(None).await.unwrap(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_append_every_row_once() {
    for place in PLACES {
        let lake = place.lake("race");
        let table = lake.create_table(&TableName::bronze_dead_letters()).await.unwrap();
        let writers = [0, 1].map(|partition| {
            let table = table.clone();
            tokio::spawn(async move {
                let mut committer = Committer::open(&table).await.unwrap();
                for offset in 0..COMMITS_PER_WRITER {
                    let outcome = append(&mut committer, &format!("partition/{partition}"), partition, offset).await;
                    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
                }
            })
        });
        for writer in writers {
            writer.await.unwrap();
        }

        let (version, positions) = table.positions().await.unwrap();
        assert_eq!(version, 2 * COMMITS_PER_WRITER as u64);
        let both = [0, 1].map(|partition| (format!("partition/{partition}"), COMMITS_PER_WRITER));
        assert_eq!(positions, HashMap::from(both));
        assert_eq!(active_files(&table).await.len() as i64, 2 * COMMITS_PER_WRITER);
    }
}

#[tokio::test]
async fn writers_of_one_position_exclude_each_other() {
    for place in PLACES {
        let lake = place.lake("exclude");
        let table = lake.create_table(&TableName::bronze_dead_letters()).await.unwrap();
        let mut first = Committer::open(&table).await.unwrap();
        let mut second = Committer::open(&table).await.unwrap();
        assert_eq!(
            append(&mut first, "partition/0", 0, 0).await,
            Outcome::Committed { version: 1 }
        );
        let outcome = append(&mut second, "partition/0", 0, 0).await;
        assert!(matches!(outcome, Outcome::Conflict { version: 1, .. }), "{outcome:?}");
        assert_eq!(active_files(&table).await.len(), 1);
    }
}

/// Through the Delta library, which lists the log from its checkpoint on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_loaded_from_its_checkpoint_and_what_came_after() {
    for place in PLACES {
        let lake = place.lake("checkpoint");
        let table = lake.create_table(&TableName::bronze_dead_letters()).await.unwrap();
        let mut committer = Committer::open(&table).await.unwrap();
        for offset in 0..4 {
            append(&mut committer, "partition/0", 0, offset).await;
            if offset == 2 {
                log::checkpoint(&table, None).await.unwrap();
            }
        }
        let (version, files) = table.files(None).await.unwrap();
        assert_eq!((version, files.len()), (4, 4));
        let held: BTreeSet<_> = files.into_iter().map(|add| add.path).collect();
        assert_eq!(held, active_files(&table).await);
        let (_, earlier) = table.files(Some(2)).await.unwrap();
        assert_eq!(earlier.len(), 2);
    }
}
