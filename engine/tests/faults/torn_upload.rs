//! Files so large that they go up in parts, on a store that tears such an upload at each of its requests in turn: under optimize and under a backup.

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
use ticklake_sql::{Clock, ErrorKind, Lake, LakeOptions, Storage, Table, TableName};

use crate::store::{Fault, FaultyStore};

const FILES: i64 = 9;
/// Of each file. Together they are five parts.
const PAYLOAD_BYTES: usize = 64 << 10;
const PART_BYTES: usize = 128 << 10;
/// Begin, parts and end.
const REQUESTS: i64 = 7;

fn over(store: Arc<dyn object_store::ObjectStore>) -> Lake {
    let options = LakeOptions {
        storage: Storage {
            multipart_bytes: 2 * PART_BYTES,
            part_bytes: PART_BYTES,
            ..Storage::default()
        },
        ..LakeOptions::default()
    };
    Lake::with_store("memory:///lake", store, options, Clock::system()).unwrap()
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

/// Runs `job` on a store that tears its one upload, at each request and in both ways: it says so, and leaves what is `whole`. Then on one that
/// does not, whose lake is given back.
async fn tear(
    stores: impl Fn() -> Arc<InMemory>,
    job: impl AsyncFn(Lake) -> ticklake_engine::Result<()>,
    whole: impl AsyncFn(Lake),
) -> Lake {
    for how in [Fault::Refused, Fault::LostAnswer] {
        for request in 1..=REQUESTS {
            let store = stores();
            let torn = FaultyStore::with(store.clone(), 0, 0, (request, how));
            let done = job(over(torn.clone())).await;
            assert_eq!(torn.struck(), 1, "{how:?} {request}");
            match done {
                Ok(()) => panic!("{how:?} {request} was not noticed"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{how:?} {request}: {error:?}"),
            }
            whole(over(store)).await;
        }
    }
    let untouched = stores();
    let never = FaultyStore::with(untouched.clone(), 0, 0, (REQUESTS + 1, Fault::Refused));
    job(over(never.clone())).await.unwrap();
    assert_eq!(never.struck(), 0, "an upload has more than {REQUESTS} requests");
    over(untouched)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn torn_uploads_in_parts_never_become_a_file() {
    let store = Arc::new(InMemory::new());
    let clean = over(store.clone());
    let bronze = clean.create_table(&TableName::bronze_trades()).await.unwrap();
    for offset in 0..FILES {
        land(&bronze, offset).await;
    }
    let small = files(&clean).await;
    assert_eq!(small.len(), FILES as usize);
    let merge = async |lake: Lake| {
        let options = OptimizeOptions {
            min_age: Duration::ZERO,
            thorough: true,
            ..OptimizeOptions::default()
        };
        let table = lake.table(&TableName::bronze_trades()).await.unwrap();
        optimize(&table, &options).await.map(drop)
    };
    let lake = tear(
        || Arc::new(store.fork()),
        merge,
        async |lake| {
            assert_eq!(files(&lake).await, small, "nothing has changed");
        },
    )
    .await;
    let merged = files(&lake).await;
    assert!(merged.len() == 1 && merged[0] > 4 * PART_BYTES as i64, "{merged:?}");

    let backup = async |to: Lake| backup::copy(&lake, &to, &[]).await.map(drop);
    let copy = tear(Arc::default, backup, async |copy| {
        match copy.table(&TableName::bronze_trades()).await {
            Ok(_) => assert_eq!(files(&copy).await, merged),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
        }
    })
    .await;
    assert_eq!(files(&copy).await, merged);
}
