//! `ticklake quarantine`: the trades that broke a rule, listed newest first, or judged again by the rules as they are now.

use anyhow::Context;
use datafusion::prelude::{DataFrame, SessionContext, col, lit};
use ticklake_engine::silver::{Released, Silver};
use ticklake_sql::{Lake, TableName};

use crate::cli::{QuarantineCommand, QuarantineListArgs};
use crate::config::Settings;
use crate::dlq::print;
use crate::jobs::silver_options;

/// What is listed; the table has more.
const COLUMNS: [&str; 11] = [
    "ingested_at",
    "rule",
    "detail",
    "venue",
    "symbol",
    "trade_id",
    "price",
    "qty",
    "topic",
    "partition",
    "offset",
];

#[allow(clippy::print_stdout)]
pub async fn run(command: &QuarantineCommand, settings: &Settings, lake: Lake) -> anyhow::Result<()> {
    match command {
        QuarantineCommand::Release(args) => {
            let mut silver = Silver::open(lake, silver_options(&settings.silver)?).await?;
            let Released { judged, released } = silver.release(args.rule.as_deref()).await?;
            println!("{released} of {judged} quarantined trades break no rule any more and left quarantine");
            Ok(())
        }
        QuarantineCommand::List(args) => {
            let rows = select(quarantine(&lake).await?, args)?;
            let batches = rows.collect().await.context("cannot read silver.quarantine")?;
            print(&batches, args.format)
        }
    }
}

async fn quarantine(lake: &Lake) -> anyhow::Result<DataFrame> {
    let table = lake.table(&TableName::silver_quarantine()).await?;
    let delta = table.load(None).await?;
    let context = SessionContext::new();
    delta.update_datafusion_session(&context.state())?;
    Ok(context.read_table(delta.table_provider().await?)?)
}

fn select(mut rows: DataFrame, args: &QuarantineListArgs) -> anyhow::Result<DataFrame> {
    if let Some(rule) = &args.rule {
        rows = rows.filter(col("rule").eq(lit(rule.clone())))?;
    }
    if let Some(symbol) = &args.symbol {
        rows = rows.filter(col("symbol").eq(lit(symbol.clone())))?;
    }
    let newest_first = vec![
        col("ingested_at").sort(false, false),
        col("topic").sort(true, false),
        col("partition").sort(true, false),
        col("offset").sort(false, false),
    ];
    Ok(rows
        .sort(newest_first)?
        .limit(0, Some(args.limit))?
        .select_columns(&COLUMNS)?)
}
