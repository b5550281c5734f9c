//! Dead letters as an earlier release left them: some of them decode now.

use super::super::dead_letters::DeadLetterBuilder;
use super::super::decode::{DecodeError, ErrorClass};
use super::*;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use ticklake_sql::{Clock, Durability, ErrorKind, LakeOptions};

#[path = "../../../../engine/tests/faults/store.rs"]
mod store;

use store::FaultyStore;

/// Of a thousand requests.
const FAULTS: u64 = 100;
/// Tries on the faulty store before it recovers.
const TRIES: usize = 4;
/// Seeds tried; `TICKLAKE_FAULT_ROUNDS` for more, `TICKLAKE_SEED` for one again.
const ROUNDS: u64 = 20;

const GOOD: &[u8] = br#"{"venue":"sim","symbol":"BTC-USDT","trade_id":"7","seq":7,"price":"1","qty":"2","ts":1735689600000000,"received_at":1735689600000001,"source":"sim"}"#;

async fn lake(folder: &tempfile::TempDir) -> Lake {
    let options = LakeOptions {
        durability: Durability::Os,
        ..LakeOptions::default()
    };
    Lake::open(folder.path().to_str().unwrap(), options, Clock::system()).unwrap()
}

/// One file of dead letters at offsets 4, 5 and 6 of partition 3; the middle one decodes.
async fn with_letters(lake: &Lake) -> Table {
    let letters = lake.create_table(&TableName::bronze_dead_letters()).await.unwrap();
    let mut chunk = RecordChunk::with_capacity(3, 100);
    for (offset, payload) in [(4, &b"no json"[..]), (5, GOOD), (6, b"{}")] {
        chunk.push(3, offset, Some(9), Some(b"k"), Some(payload));
    }
    let mut builder = DeadLetterBuilder::default();
    let why = DecodeError {
        class: ErrorClass::NotJson,
        message: "as an earlier release saw it".to_owned(),
    };
    (0..3).for_each(|index| builder.push(&chunk, index, &why));
    let schema = letters.spec().file_schema();
    let rows = builder.finish(&schema, "trades").unwrap().unwrap();
    let rows = with_ingested_at(&schema, &rows, 1_735_689_600_000_000).unwrap();
    let partition = BTreeMap::from([("ingest_date".to_owned(), "2025-01-01".to_owned())]);
    let mut file = data_file::write(&letters, partition, vec![rows], FileOptions::default())
        .await
        .unwrap();
    let tag = OffsetRange {
        topic_id: "id".to_owned(),
        partition: 3,
        from: 4,
        to: 7,
        rows: 3,
    };
    offset_ranges::put(&mut file, &[tag]);
    let mut committer = Committer::open(&letters).await.unwrap();
    let commit = Commit {
        operation: "WRITE".into(),
        txns: vec![next(&committer, "test".into())],
        adds: vec![file],
        ..Commit::default()
    };
    committer.commit(commit).await.unwrap();
    letters
}

/// Partition, offset and, of dead letters, class; by the table's tags and by its rows.
async fn offsets(lake: &Lake, name: &TableName) -> (Vec<OffsetRange>, Vec<(i64, String)>) {
    let table = lake.table(name).await.unwrap();
    let (mut tags, mut offsets) = (Vec::new(), Vec::new());
    for add in table.files(None).await.unwrap().1 {
        tags.extend(offset_ranges::read(&add).unwrap());
        let rows = file_rows(&table, &add).await.unwrap();
        let class = |row| {
            rows.column_by_name("error_class")
                .map(|classes| classes.as_string::<i32>().value(row).to_owned())
                .unwrap_or_default()
        };
        let at = coordinates(&rows).unwrap();
        offsets.extend(at.iter().enumerate().map(|(row, at)| (at.2, class(row))));
    }
    offsets.sort();
    (tags, offsets)
}

fn range(from: i64, to: i64, rows: u64) -> OffsetRange {
    OffsetRange {
        topic_id: "id".to_owned(),
        partition: 3,
        from,
        to,
        rows,
    }
}

#[tokio::test]
async fn what_decodes_now_moves_once() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder).await;
    let letters = with_letters(&lake).await;
    let before = letters.files(None).await.unwrap().1;
    let done = rework(&lake, &Selection::default(), Rework::Retry).await.unwrap();
    assert_eq!(done, Reworked { selected: 3, done: 1 });
    let (tags, rows) = offsets(&lake, &TableName::bronze_trades()).await;
    assert_eq!((tags, rows), (vec![range(5, 6, 1)], vec![(5, String::new())]));
    let (tags, rows) = offsets(&lake, &TableName::bronze_dead_letters()).await;
    assert_eq!(tags, [range(4, 7, 2)]);
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [4, 6]);

    let again = rework(&lake, &Selection::default(), Rework::Retry).await.unwrap();
    assert_eq!(again, Reworked { selected: 2, done: 0 });

    // Killed between the two commits: the file with the record is back.
    let mut committer = Committer::open(&letters).await.unwrap();
    let now = letters.files(None).await.unwrap().1;
    let commit = Commit {
        operation: "TEST".into(),
        txns: vec![next(&committer, "ticklake/bronze.dead_letters/writer".into())],
        adds: before,
        removes: now
            .iter()
            .map(|add| removal(add, Clock::system().now(), true))
            .collect(),
        ..Commit::default()
    };
    committer.commit(commit).await.unwrap();
    let done = rework(&lake, &Selection::default(), Rework::Retry).await.unwrap();
    assert_eq!(done, Reworked { selected: 3, done: 1 });
    assert_eq!(
        offsets(&lake, &TableName::bronze_trades()).await.1,
        [(5, String::new())]
    );
    assert_eq!(offsets(&lake, &TableName::bronze_dead_letters()).await.1.len(), 2);
}

#[tokio::test]
async fn a_dropped_letter_keeps_its_coordinates_alone() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder).await;
    let letters = with_letters(&lake).await;
    let one = Selection {
        partition: Some(3),
        offset: Some(6),
        ..Selection::default()
    };
    for expected in [1, 0] {
        let done = rework(&lake, &one, Rework::Drop).await.unwrap();
        assert_eq!(done.done, expected);
    }
    let (tags, rows) = offsets(&lake, &TableName::bronze_dead_letters()).await;
    assert_eq!(tags, [range(4, 7, 3)]);
    let expected: Vec<(i64, String)> = [(4, "not_json"), (5, "not_json"), (6, DROPPED)]
        .map(|(offset, class)| (offset, class.to_owned()))
        .into();
    assert_eq!(rows, expected);
    let add = &letters.files(None).await.unwrap().1[0];
    let rows = file_rows(&letters, add).await.unwrap();
    assert_eq!(binary(&rows, "payload").unwrap().null_count(), 1);
    assert_eq!(
        text(&rows, "error").unwrap().value(2),
        "not_json: as an earlier release saw it"
    );
    let none = rework(
        &lake,
        &Selection {
            class: Some("not_utf8".into()),
            ..Selection::default()
        },
        Rework::Drop,
    )
    .await;
    assert_eq!(none.unwrap(), Reworked::default());
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn over(store: Arc<dyn ObjectStore>) -> Lake {
    Lake::with_store("memory:///lake", store, LakeOptions::default(), Clock::system()).unwrap()
}

/// Runs it until it ends well, at last on a store that has recovered; what fails must be told as what may pass. Returns how often it failed.
async fn make_good(store: &Arc<FaultyStore>, how: Rework, seed: u64) -> usize {
    for attempt in 0..=TRIES {
        if attempt == TRIES {
            store.recover();
        }
        match rework(&over(store.clone()), &Selection::default(), how).await {
            Ok(_) => return attempt,
            Err(error) => assert!(
                error.kind() == ErrorKind::Retry && attempt < TRIES,
                "{how:?}, seed {seed}, try {attempt}: {:?}: {error:?}",
                error.kind()
            ),
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_store_move_a_dead_letter_once_and_drop_none() {
    let first = setting("TICKLAKE_SEED", rand::random::<u64>() >> 16);
    let (mut struck, mut failed) = (0, 0);
    for seed in (0..setting("TICKLAKE_FAULT_ROUNDS", ROUNDS)).map(|round| first.wrapping_add(round)) {
        println!("TICKLAKE_SEED={seed}");
        let inner = Arc::new(InMemory::new());
        let lake = over(inner.clone());
        with_letters(&lake).await;
        let store = FaultyStore::new(inner.clone(), seed, FAULTS);
        failed += make_good(&store, Rework::Retry, seed).await;
        let moved = [(5, String::new())];
        assert_eq!(
            offsets(&lake, &TableName::bronze_trades()).await.1,
            moved,
            "seed {seed}"
        );
        let (tags, rows) = offsets(&lake, &TableName::bronze_dead_letters()).await;
        assert_eq!(tags, [range(4, 7, 2)], "seed {seed}");
        assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [4, 6], "seed {seed}");
        struck += store.struck();

        let store = FaultyStore::new(inner.clone(), seed + 1, FAULTS);
        failed += make_good(&store, Rework::Drop, seed).await;
        let (tags, rows) = offsets(&lake, &TableName::bronze_dead_letters()).await;
        let emptied = [4, 6].map(|offset| (offset, DROPPED.to_owned()));
        assert_eq!((tags, rows), (vec![range(4, 7, 2)], emptied.to_vec()), "seed {seed}");
        assert_eq!(
            offsets(&lake, &TableName::bronze_trades()).await.1,
            moved,
            "seed {seed}"
        );
        struck += store.struck();
    }
    println!("{struck} faults, {failed} failed runs");
    assert!(struck > 10 && failed > 0, "{struck} faults, {failed} failed runs");
}

/// Of bytes: none, the least entry of a log, a file.
#[tokio::test]
async fn a_store_without_room_keeps_every_dead_letter_until_there_is_some() {
    for room in [0, 1_500, 8_000] {
        for (how, left) in [(Rework::Retry, vec![4, 6]), (Rework::Drop, vec![4, 5, 6])] {
            let inner = Arc::new(InMemory::new());
            let lake = over(inner.clone());
            lake.create_table(&TableName::bronze_trades()).await.unwrap();
            with_letters(&lake).await;
            let store = FaultyStore::with_room(inner.clone(), room);
            let stopped = rework(&over(store.clone()), &Selection::default(), how).await;
            if store.struck() > 0 {
                let error = stopped.expect_err("it cannot have written what it had no room for");
                assert_eq!(error.kind(), ErrorKind::Retry, "{how:?}, {room} bytes: {error:?}");
            }
            let held = offsets(&lake, &TableName::bronze_dead_letters()).await.1;
            assert!(held.iter().all(|row| left.contains(&row.0) || row.0 == 5), "{held:?}");
            store.recover();
            rework(&over(store.clone()), &Selection::default(), how).await.unwrap();
            let held = offsets(&lake, &TableName::bronze_dead_letters()).await.1;
            assert_eq!(
                held.iter().map(|row| row.0).collect::<Vec<_>>(),
                left,
                "{how:?}, {room} bytes"
            );
        }
    }
}

/// Merged files hold rows of files and of Kafka under one partition; a tag lists them in any order.
#[test]
fn rows_of_a_merged_file_keep_their_topics() {
    let range = |topic_id: &str, from, to| OffsetRange {
        topic_id: topic_id.to_owned(),
        partition: 0,
        from,
        to,
        rows: 1,
    };
    let mut tag = [range("file:aa", 5, 6), range("id", 4, 9), range("file:bb", 5, 6)];
    for _ in 0..3 {
        tag.rotate_left(1);
        let of = |topic: &str| topic_id(&tag, &(topic.to_owned(), 0, 5));
        assert_eq!(
            ["trades", "file:aa", "file:bb"].map(of),
            ["id", "file:aa", "file:bb"],
            "{tag:?}"
        );
    }
}
