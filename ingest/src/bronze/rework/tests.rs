//! Dead letters as an earlier release left them: some of them decode now.

use super::super::dead_letters::DeadLetterBuilder;
use super::super::decode::{DecodeError, ErrorClass};
use super::*;
use ticklake_sql::{Clock, Durability, LakeOptions};

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
