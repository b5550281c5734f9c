//! Files so large that they go up in parts, on a store that tears such uploads: under optimize and under a backup.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BinaryArray, RecordBatch};
use arrow::json::ReaderBuilder;
use object_store::memory::InMemory;
use ticklake_engine::backup;
use ticklake_engine::maintenance::{OptimizeOptions, optimize};
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Clock, ErrorKind, Lake, LakeOptions, Table, TableName};

use crate::store::FaultyStore;

const FILES: i64 = 9;
/// Of each file. Together they are more than what goes up in one put.
const PAYLOAD_BYTES: usize = 8 << 20;

fn over(store: Arc<dyn object_store::ObjectStore>) -> Lake {
    Lake::with_store("memory:///lake", store, LakeOptions::default(), Clock::system()).unwrap()
}

/// One row whose payload nothing compresses.
async fn land(bronze: &Table, offset: i64) {
    let json = serde_json::json!({
        "origin": "kafka", "topic": "trades", "partition": 0, "offset": offset, "payload": "7b7d", "venue": "sim",
        "symbol": "BTC-USDT", "kind": "trade", "trade_id": offset.to_string(), "seq": offset, "price": "7.25", "qty": "1",
        "side": "buy", "ts": "2026-01-01T00:00:00Z", "received_at": "2026-01-01T00:00:01Z", "source": "live", "count": 1,
        "ingested_at": "2026-01-01T00:00:02Z",
    });
    let schema = bronze.spec().file_schema();
    let mut reader = ReaderBuilder::new(schema.clone())
        .build(std::io::Cursor::new(json.to_string()))
        .unwrap();
    let row = reader.next().unwrap().unwrap();
    let payload: Vec<u8> = std::iter::repeat_with(rand::random::<u64>)
        .take(PAYLOAD_BYTES / 8)
        .flat_map(u64::to_le_bytes)
        .collect();
    let mut columns = row.columns().to_vec();
    columns[schema.index_of("payload").unwrap()] = Arc::new(BinaryArray::from_iter_values([payload]));
    let batch = RecordBatch::try_new(schema, columns).unwrap();
    let partition = BTreeMap::from([("ingest_date".to_owned(), "2026-01-01".to_owned())]);
    let add = data_file::write(bronze, partition, vec![batch], FileOptions::default())
        .await
        .unwrap();
    let commit = Commit {
        operation: "WRITE".into(),
        txns: vec![Txn {
            app_id: "ingest".into(),
            version: offset + 1,
        }],
        adds: vec![add],
        ..Commit::default()
    };
    let landed = Committer::open(bronze).await.unwrap().commit(commit).await.unwrap();
    assert!(matches!(landed, Outcome::Committed { .. }));
}

async fn files(lake: &Lake) -> Vec<i64> {
    let bronze = lake.table(&TableName::bronze_trades()).await.unwrap();
    let adds = bronze.files(None).await.unwrap().1;
    for add in &adds {
        let path = object_store::path::Path::parse(&add.path).unwrap();
        let store = bronze.log_store().object_store(None);
        let head = object_store::ObjectStoreExt::head(&store, &path).await.unwrap();
        assert_eq!(head.size as i64, add.size, "a torn file became a table's");
    }
    adds.iter().map(|add| add.size).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn torn_uploads_in_parts_never_become_a_file() {
    let seed = std::env::var("TICKLAKE_SEED").map_or(rand::random::<u64>() >> 16, |seed| seed.parse().unwrap());
    println!("TICKLAKE_SEED={seed}");
    let store = Arc::new(InMemory::new());
    let clean = over(store.clone());
    let bronze = clean.create_table(&TableName::bronze_trades()).await.unwrap();
    for offset in 0..FILES {
        land(&bronze, offset).await;
    }
    let options = OptimizeOptions {
        min_age: Duration::ZERO,
        thorough: true,
        target_bytes: 128 << 20,
        ..OptimizeOptions::default()
    };
    // Three of ten requests fail, so most uploads of five parts are torn.
    let faulty = FaultyStore::new(store.clone(), seed, 300);
    for _ in 0..12 {
        let torn = over(faulty.clone());
        let Ok(table) = torn.table(&TableName::bronze_trades()).await else {
            continue;
        };
        match optimize(&table, &options).await {
            Ok(report) if report.commits > 0 => break,
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "seed {seed}: {error:?}"),
        }
        files(&clean).await;
    }
    faulty.recover();
    optimize(&bronze, &options).await.unwrap();
    let merged = files(&clean).await;
    assert!(merged.len() == 1 && merged[0] > (64 << 20), "{merged:?}");

    // A copy of it: parts of 16 MB.
    let copied = Arc::new(InMemory::new());
    let faulty = FaultyStore::new(copied.clone(), seed, 150);
    for _ in 0..12 {
        match backup::copy(&clean, &over(faulty.clone()), &[]).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "seed {seed}: {error:?}"),
        }
        match over(copied.clone()).table(&TableName::bronze_trades()).await {
            Ok(_) => drop(files(&over(copied.clone())).await),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "seed {seed}"),
        }
    }
    faulty.recover();
    backup::copy(&clean, &over(faulty), &[]).await.unwrap();
    assert_eq!(files(&over(copied)).await, merged);
}
