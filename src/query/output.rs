//! Rows on stdout, one writer a format. Only the table format holds back a screenful to align it.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringBuilder};
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{EncoderOptions, LineDelimited, WriterBuilder as JsonBuilder, make_encoder};
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches_with_schema;

use crate::cli::OutputFormat;

/// Rows that one printed table aligns; the next ones get a table of their own.
const TABLE_ROWS: usize = 10_000;

/// False where the reader of our output has gone (`| head`): no error, only the end.
pub fn settle(written: anyhow::Result<()>) -> anyhow::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if is_broken_pipe(&error) => Ok(false),
        Err(error) => Err(error.context("cannot write the rows")),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
            || cause.to_string().contains("Broken pipe")
    })
}

type Out = std::io::BufWriter<std::io::Stdout>;

/// One writer per format, on stdout.
pub enum Output {
    Table {
        schema: SchemaRef,
        held: Vec<RecordBatch>,
        rows: usize,
        printed: bool,
        out: Out,
    },
    Csv(Box<arrow::csv::Writer<Out>>),
    Json(Box<arrow::json::Writer<Out, LineDelimited>>),
    Arrow(Box<StreamWriter<Out>>),
}

impl Output {
    pub fn new(format: OutputFormat, schema: SchemaRef) -> anyhow::Result<Self> {
        let out = std::io::BufWriter::new(std::io::stdout());
        Ok(match format {
            OutputFormat::Table => Self::Table {
                schema,
                held: Vec::new(),
                rows: 0,
                printed: false,
                out,
            },
            OutputFormat::Csv => {
                let mut writer = CsvBuilder::new().with_header(true).build(out);
                // The header stands even where there are no rows.
                writer.write(&flat(&RecordBatch::new_empty(schema))?)?;
                Self::Csv(Box::new(writer))
            }
            OutputFormat::Json => Self::Json(Box::new(JsonBuilder::new().with_explicit_nulls(true).build(out))),
            OutputFormat::Arrow => Self::Arrow(Box::new(StreamWriter::try_new(out, &schema)?)),
        })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        match self {
            Self::Table { held, rows, .. } => {
                held.push(batch.clone());
                *rows += batch.num_rows();
                if *rows >= TABLE_ROWS {
                    self.print_table()?;
                }
            }
            Self::Csv(writer) => writer.write(&flat(batch)?)?,
            Self::Json(writer) => writer.write(batch)?,
            Self::Arrow(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    fn print_table(&mut self) -> anyhow::Result<()> {
        if let Self::Table {
            schema,
            held,
            rows,
            printed,
            out,
        } = self
            && (*rows > 0 || !*printed)
        {
            writeln!(out, "{}", pretty_format_batches_with_schema(schema.clone(), held)?)?;
            held.clear();
            (*rows, *printed) = (0, true);
        }
        Ok(())
    }

    pub fn finish(mut self) -> anyhow::Result<()> {
        self.print_table()?;
        match self {
            Self::Table { mut out, .. } => out.flush()?,
            Self::Csv(writer) => writer.into_inner().flush()?,
            Self::Json(mut writer) => {
                writer.finish()?;
                writer.into_inner().flush()?;
            }
            Self::Arrow(mut writer) => {
                writer.finish()?;
                writer.into_inner()?.flush()?;
            }
        }
        Ok(())
    }
}

/// `batch` with lists, structs and maps as JSON text, for CSV knows no nesting.
fn flat(batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(batch.clone());
    }
    let (fields, columns): (Vec<FieldRef>, Vec<ArrayRef>) = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            if !field.data_type().is_nested() {
                return Ok((field.clone(), column.clone()));
            }
            let text = Arc::new(Field::new(field.name(), DataType::Utf8, true));
            Ok((text, json_text(field, column)?))
        })
        .collect::<anyhow::Result<Vec<_>>>()?
        .into_iter()
        .unzip();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn json_text(field: &FieldRef, column: &ArrayRef) -> anyhow::Result<ArrayRef> {
    let options = EncoderOptions::default();
    let mut encoder = make_encoder(field, column, &options)?;
    let mut texts = StringBuilder::new();
    let mut text = Vec::new();
    for row in 0..column.len() {
        if encoder.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        texts.append_value(String::from_utf8_lossy(&text));
    }
    Ok(Arc::new(texts.finish()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListBuilder};

    use super::*;

    #[test]
    fn nested_columns_are_json_text_in_csv() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a\"b"), None]);
        lists.append_null();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("i", Arc::new(Int64Array::from(vec![1, 2]))),
            ("l", Arc::new(lists.finish())),
        ];
        let mut written = Vec::new();
        let mut writer = CsvBuilder::new().with_header(true).build(&mut written);
        writer
            .write(&flat(&RecordBatch::try_from_iter(columns).unwrap()).unwrap())
            .unwrap();
        drop(writer);
        assert_eq!(
            String::from_utf8(written).unwrap(),
            "i,l\n1,\"[\"\"a\\\"\"b\"\",null]\"\n2,\n"
        );
    }
}
