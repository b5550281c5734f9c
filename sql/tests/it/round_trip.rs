//! What is written and committed is what deltalake and DataFusion read, in every table and in every column.

use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use ticklake_sql::commit::{Commit, Committer, Outcome};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Lake, LakeOptions, Table, TableName, tables};

use crate::rows::{as_read, batch, clock, local_lake, partition};

pub async fn query(table: &Table, sql: &str) -> Vec<RecordBatch> {
    let loaded = table.load(None).await.unwrap();
    let session = SessionContext::new();
    loaded.update_datafusion_session(&session.state()).unwrap();
    session
        .register_table("t", loaded.table_provider().await.unwrap())
        .unwrap();
    session.sql(sql).await.unwrap().collect().await.unwrap()
}

fn sorted_lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        // Row by row: the width of a printed column depends on the whole batch.
        for row in 0..batch.num_rows() {
            lines.push(pretty_format_batches(&[batch.slice(row, 1)]).unwrap().to_string());
        }
    }
    lines.sort();
    lines
}

async fn append(table: &Table, batches: Vec<RecordBatch>) {
    let options = FileOptions {
        row_group_rows: 40,
        ..Default::default()
    };
    let add = data_file::write(table, partition(table.spec()), batches, options)
        .await
        .unwrap();
    let mut committer = Committer::open(table).await.unwrap();
    let outcome = committer
        .commit(Commit {
            operation: "WRITE".into(),
            adds: vec![add],
            ..Default::default()
        })
        .await
        .unwrap();
    assert!(matches!(outcome, Outcome::Committed { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_reads_back_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let lake = local_lake(&folder);
    let names: Vec<_> = tables::fixed()
        .into_iter()
        .chain(tables::system())
        .chain([TableName::gold_ohlcv("1m")])
        .collect();
    for name in &names {
        let table = lake.create_table(name).await.unwrap();
        let batches: Vec<_> = (0..3).map(|seed| batch(table.spec(), seed, 50)).collect();
        append(&table, batches[..2].to_vec()).await;
        append(&table, batches[2..].to_vec()).await;
        let expected: Vec<_> = batches.iter().map(|b| as_read(table.spec(), b)).collect();
        let found = query(&table, "SELECT * FROM t").await;
        assert_eq!(sorted_lines(&found), sorted_lines(&expected), "{name}");
    }
    assert_eq!(lake.tables().await.unwrap().len(), names.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn extremes_are_answered_from_rows_not_from_rounded_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let table = local_lake(&folder)
        .create_table(&TableName::silver_trades())
        .await
        .unwrap();
    let batches: Vec<_> = (7..9).map(|seed| batch(table.spec(), seed, 60)).collect();
    append(&table, batches.clone()).await;
    let sql = "SELECT min(ts), max(ts), min(trade_id), max(trade_id), min(price), max(quote_qty), count(*), count(side), max(date) FROM t";
    let session = SessionContext::new();
    session
        .register_batch(
            "t",
            arrow::compute::concat_batches(
                &as_read(table.spec(), &batches[0]).schema(),
                &batches.iter().map(|b| as_read(table.spec(), b)).collect::<Vec<_>>(),
            )
            .unwrap(),
        )
        .unwrap();
    let expected = session.sql(sql).await.unwrap().collect().await.unwrap();
    assert_eq!(sorted_lines(&query(&table, sql).await), sorted_lines(&expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_prune_and_keep_every_row_that_matches() {
    let folder = tempfile::tempdir().unwrap();
    let table = local_lake(&folder)
        .create_table(&TableName::silver_trades())
        .await
        .unwrap();
    let mut expected = 0;
    for seed in 0..8 {
        let rows = batch(table.spec(), seed, 20);
        expected += rows.num_rows();
        append(&table, vec![rows]).await;
    }
    // Each row must be found again by equality on the columns whose statistics are cut or rounded.
    let rows = query(
        &table,
        "SELECT count(*) FROM t WHERE EXISTS (SELECT 1 FROM t AS o WHERE o.ts = t.ts AND o.trade_id = t.trade_id AND o.price = t.price AND o.seq = t.seq)",
    )
    .await;
    assert!(
        pretty_format_batches(&rows)
            .unwrap()
            .to_string()
            .contains(&format!(" {expected} "))
    );
    let whole = query(&table, "SELECT ts, trade_id, CAST(price AS STRING) AS price FROM t").await;
    for batch in whole {
        let text =
            |column: usize, row: usize| arrow::util::display::array_value_to_string(batch.column(column), row).unwrap();
        for row in (0..batch.num_rows()).step_by(9) {
            let (ts, id) = (text(0, row), text(1, row).replace('\'', "''"));
            let sql = format!(
                "SELECT count(*) AS n FROM t WHERE ts = TIMESTAMP '{ts}' AND trade_id = '{id}' AND price = CAST('{}' AS DECIMAL(28,12))",
                text(2, row)
            );
            let found = pretty_format_batches(&query(&table, &sql).await).unwrap().to_string();
            assert!(!found.contains("| 0 "), "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_columns_are_a_setting_and_their_values_any_text() {
    let folder = tempfile::tempdir().unwrap();
    let name = TableName::silver_trades();
    let by_symbol = [(name.clone(), vec!["symbol".to_owned(), "date".to_owned()])].into();
    let options = LakeOptions {
        partition_columns: by_symbol,
        ..Default::default()
    };
    let table = Lake::open(folder.path().to_str().unwrap(), options, clock())
        .unwrap()
        .create_table(&name)
        .await
        .unwrap();
    for symbol in ["BTC-USDT", "a/b=c %41", "ä 日本"] {
        let mut values = partition(table.spec());
        values.insert("symbol".into(), symbol.into());
        let add = data_file::write(&table, values, vec![batch(table.spec(), 1, 3)], FileOptions::default())
            .await
            .unwrap();
        let mut committer = Committer::open(&table).await.unwrap();
        committer
            .commit(Commit {
                adds: vec![add],
                ..Default::default()
            })
            .await
            .unwrap();
    }
    let found = query(
        &table,
        "SELECT symbol, count(*) AS n FROM t GROUP BY symbol ORDER BY symbol",
    )
    .await;
    let lines: Vec<_> = pretty_format_batches(&found)
        .unwrap()
        .to_string()
        .lines()
        .map(|l| l.replace(' ', ""))
        .collect();
    assert_eq!(lines[3..6], ["|BTC-USDT|3|", "|a/b=c%41|3|", "|ä日本|3|"]);
    // A lake opened without the setting takes the table as it is.
    let found = local_lake(&folder).table(&name).await.unwrap();
    assert_eq!(found.spec().partition_columns, ["symbol", "date"]);
}
