//! How silver's files are read for bars: folded in their stored order, without filters that the files answer.

use std::sync::Arc;

use datafusion::execution::runtime_env::RuntimeEnv;
use ticklake_engine::scan::{DataFile, OrderedScan, session};

use crate::silver::TestLake;
use crate::trade;

#[tokio::test(flavor = "multi_thread")]
async fn sorted_files_are_folded_in_runs_and_proven_filters_are_not_asked() {
    let lake = TestLake::new().await;
    let adds = lake.insert(&[trade("A-B", 0, 1, 100), trade("A-B", 1, 2, 100)]).await;
    let silver = lake
        .lake
        .table(&ticklake_sql::TableName::silver_trades())
        .await
        .unwrap();
    let files = adds
        .into_iter()
        .map(|add| Arc::new(DataFile::new(add, silver.spec())))
        .collect();
    for partitions in [1, 2] {
        let context =
            session::session(Arc::new(RuntimeEnv::default()), session::config(partitions), &[&silver]).unwrap();
        let scan = OrderedScan::new(silver.clone(), Clone::clone(&files)).unwrap();
        context.register_table("trades", Arc::new(scan)).unwrap();
        let plan = |filter: &str| {
            let sql = format!(
                "SELECT ohlcv(ts, seq, trade_id, price, qty, side, count) FROM trades WHERE {filter} GROUP BY venue, symbol, date_bin(INTERVAL '1 minute', ts)"
            );
            let context = context.clone();
            async move {
                let plan = context.sql(&sql).await.unwrap().create_physical_plan().await.unwrap();
                datafusion::physical_plan::displayable(plan.as_ref())
                    .indent(false)
                    .to_string()
            }
        };
        let proven = plan("kind = 'trade' AND ts >= TIMESTAMP '2025-01-01T00:00:00Z'").await;
        assert!(
            proven.contains("BarRunsExec")
                && !proven.contains("FilterExec")
                && !proven.contains("projection=[venue, symbol, kind"),
            "{proven}"
        );
        let open = plan("kind = 'trade' AND seq > 1").await;
        assert!(open.contains("BarRunsExec") && open.contains("FilterExec"), "{open}");
        assert!(plan("kind = 'agg'").await.contains("EmptyExec"));
    }
}
