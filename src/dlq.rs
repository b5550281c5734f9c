//! `ticklake dlq list`: the records that did not decode, newest first. Bytes are shown as text as far as they are text.

use std::sync::Arc;

use anyhow::Context;
use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::writer::{LineDelimited, WriterBuilder};
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::{DataFrame, SessionContext, col, lit};
use ticklake_sql::{Lake, TableName};

use crate::cli::{DlqListArgs, ReportFormat};

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

#[allow(clippy::print_stdout)]
pub async fn list(args: &DlqListArgs, lake: &Lake) -> anyhow::Result<()> {
    let table = lake.table(&TableName::bronze_dead_letters()).await?;
    let delta = table.load(None).await?;
    let context = SessionContext::new();
    delta.update_datafusion_session(&context.state())?;
    let rows = select(context.read_table(delta.table_provider().await?)?, args)?;
    let batches = rows.collect().await.context("cannot read bronze.dead_letters")?;
    match args.format {
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
            for batch in &batches {
                writer.write(&readable(batch, usize::MAX)?)?;
            }
            writer.finish()?;
        }
    }
    Ok(())
}

fn select(mut rows: DataFrame, args: &DlqListArgs) -> anyhow::Result<DataFrame> {
    if let Some(class) = &args.class {
        rows = rows.filter(col("error_class").eq(lit(class.clone())))?;
    }
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
