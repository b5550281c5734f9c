//! `ticklake dlq`: the records that did not decode, listed newest first, shown whole, decoded again or dropped. Bytes are shown as text as far as
//! they are text.

use std::sync::Arc;

use anyhow::Context;
use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::writer::{LineDelimited, WriterBuilder};
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::{DataFrame, SessionContext, col, lit};
use ticklake_ingest::bronze::rework::{DROPPED, Rework, Reworked, Selection, rework};
use ticklake_sql::{Lake, TableName};

use crate::cli::{DlqCommand, DlqListArgs, DlqSelectArgs, DlqShowArgs, ReportFormat};
use crate::exit::Usage;

/// What is listed; the table has more.
const COLUMNS: [&str; 9] = [
    "ingested_at",
    "topic",
    "partition",
    "offset",
    "error_class",
    "error",
    "key",
    "payload_bytes",
    "payload",
];
/// Characters of a payload in a printed table; json has all that the lake kept.
const SHOWN_CHARACTERS: usize = 60;

pub async fn run(command: &DlqCommand, lake: &Lake) -> anyhow::Result<()> {
    match command {
        DlqCommand::List(args) => list(args, lake).await,
        DlqCommand::Show(args) => show(args, lake).await,
        DlqCommand::Retry(args) => {
            let Reworked { selected, done } = rework(lake, &selection(args), Rework::Retry).await?;
            tell(&format!(
                "{done} of {selected} dead letters decode now and moved to bronze.trades"
            ));
            Ok(())
        }
        DlqCommand::Drop(args) => {
            let Reworked { done, .. } = rework(lake, &selection(args), Rework::Drop).await?;
            tell(&format!("{done} dead letters dropped"));
            Ok(())
        }
    }
}

#[allow(clippy::print_stdout)]
fn tell(what: &str) {
    println!("{what}");
}

/// With `--all` nothing else can be given: any.
fn selection(args: &DlqSelectArgs) -> Selection {
    if args.all {
        return Selection::default();
    }
    Selection {
        class: args.class.clone(),
        topic: args.topic.clone(),
        partition: args.partition,
        offset: args.offset,
    }
}

async fn dead_letters(lake: &Lake) -> anyhow::Result<DataFrame> {
    let table = lake.table(&TableName::bronze_dead_letters()).await?;
    let delta = table.load(None).await?;
    let context = SessionContext::new();
    delta.update_datafusion_session(&context.state())?;
    Ok(context.read_table(delta.table_provider().await?)?)
}

/// One column a line, the payload last and whole.
#[allow(clippy::print_stdout)]
async fn show(args: &DlqShowArgs, lake: &Lake) -> anyhow::Result<()> {
    let mut rows = dead_letters(lake).await?.filter(
        col("partition")
            .eq(lit(args.partition))
            .and(col("offset").eq(lit(args.offset))),
    )?;
    if let Some(topic) = &args.topic {
        rows = rows.filter(col("topic").eq(lit(topic.clone())))?;
    }
    let order = [
        "topic",
        "partition",
        "offset",
        "record_ts",
        "ingested_at",
        "error_class",
        "error",
        "payload_bytes",
    ];
    let rows = rows.select_columns(&[&order[..], &["payload_sha256", "key", "payload"]].concat())?;
    let batches = rows.collect().await.context("cannot read bronze.dead_letters")?;
    let mut found = false;
    for batch in &batches {
        let batch = readable(batch, usize::MAX)?;
        for row in 0..batch.num_rows() {
            found = true;
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                let value = arrow::util::display::array_value_to_string(column, row)?;
                println!("{:<14} {value}", field.name());
            }
        }
    }
    if !found {
        let message = format!("no dead letter at partition {}, offset {}", args.partition, args.offset);
        return Err(Usage(format!("{message}; `ticklake dlq list` shows where they are")).into());
    }
    Ok(())
}

async fn list(args: &DlqListArgs, lake: &Lake) -> anyhow::Result<()> {
    let rows = select(dead_letters(lake).await?, args)?;
    let batches = rows.collect().await.context("cannot read bronze.dead_letters")?;
    print(&batches, args.format)
}

/// Rows as a table, bytes and all cut short, or as a line of JSON each.
#[allow(clippy::print_stdout)]
pub fn print(batches: &[RecordBatch], format: ReportFormat) -> anyhow::Result<()> {
    match format {
        ReportFormat::Table => {
            let shown = batches
                .iter()
                .map(|batch| readable(batch, SHOWN_CHARACTERS))
                .collect::<Result<Vec<_>, _>>()?;
            println!("{}", pretty_format_batches(&shown)?);
        }
        ReportFormat::Json => {
            let mut writer = WriterBuilder::new()
                .with_explicit_nulls(true)
                .build::<_, LineDelimited>(std::io::stdout());
            for batch in batches {
                writer.write(&readable(batch, usize::MAX)?)?;
            }
            writer.finish()?;
        }
    }
    Ok(())
}

fn select(mut rows: DataFrame, args: &DlqListArgs) -> anyhow::Result<DataFrame> {
    rows = rows.filter(match &args.class {
        Some(class) => col("error_class").eq(lit(class.clone())),
        None => col("error_class").not_eq(lit(DROPPED)),
    })?;
    if let Some(topic) = &args.topic {
        rows = rows.filter(col("topic").eq(lit(topic.clone())))?;
    }
    if let Some(partition) = args.partition {
        rows = rows.filter(col("partition").eq(lit(partition)))?;
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

/// `batch` with its binary columns as text of at most `limit` characters.
fn readable(batch: &RecordBatch, limit: usize) -> anyhow::Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if !matches!(
            field.data_type(),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView
        ) {
            fields.push(field.clone());
            columns.push(column.clone());
            continue;
        }
        let bytes = cast(column, &DataType::Binary)?;
        let texts: StringArray = bytes
            .as_binary::<i32>()
            .iter()
            .map(|value| value.map(|value| text(value, limit)))
            .collect();
        fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
        columns.push(Arc::new(texts));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn text(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
