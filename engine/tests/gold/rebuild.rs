//! A range of gold again, over what was damaged.

use ticklake_engine::gold::Gold;
use ticklake_engine::rebuild::{self, RebuildRange};
use ticklake_sql::TableName;
use ticklake_sql::commit::{Commit, Committer, Txn, removal};

use crate::silver::{Row, TestLake};
use crate::{DAY, MINUTE, START, options, said, trade};

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_puts_right_what_was_damaged_in_its_range() {
    let lake = TestLake::new().await;
    let rows: Vec<Row> = (0..48)
        .flat_map(|hour| ["A-B", "C-D"].map(|symbol| trade(symbol, hour * 60 * MINUTE, hour, 100)))
        .collect();
    lake.insert(&rows).await;
    Gold::open(lake.lake.clone(), options())
        .await
        .unwrap()
        .refresh()
        .await
        .unwrap();
    let whole = said(&lake.gold("1m").await);
    let gold = lake.lake.table(&TableName::gold_ohlcv("1m")).await.unwrap();
    let snapshot = gold.load(None).await.unwrap();
    #[allow(deprecated)]
    let removes = snapshot
        .snapshot()
        .unwrap()
        .log_data()
        .iter()
        .map(|file| removal(&file.add_action(), lake.lake.clock().now(), true))
        .collect();
    let lost = Commit {
        operation: "WRITE".to_owned(),
        txns: vec![Txn {
            app_id: "ticklake/gold.ohlcv_1m/writer".to_owned(),
            version: 99,
        }],
        removes,
        ..Commit::default()
    };
    Committer::open(&gold).await.unwrap().commit(lost).await.unwrap();
    let rebuilt = async |from: i64, until: i64, symbols: &[String]| {
        let range = RebuildRange::new(START + from, START + until, symbols).unwrap();
        rebuild::gold(&lake.lake, options(), &range, false).await.unwrap()
    };
    let report = rebuilt(30 * MINUTE, DAY, &["A-B".to_owned()]).await;
    assert_eq!((report.rows_out, report.commits), (23, 1));
    let keys: Vec<_> = lake.gold("1m").await.into_keys().collect();
    assert!(
        keys.iter()
            .all(|key| key.1 == "A-B" && key.2 > START && key.2 < START + DAY)
    );
    rebuilt(0, 2 * DAY, &[]).await;
    assert_eq!(said(&lake.gold("1m").await), whole);
    assert_eq!(rebuilt(0, 2 * DAY, &[]).await.commits, 0, "every bar is right");
}
