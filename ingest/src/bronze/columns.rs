//! A chunk of records -> a batch of `bronze.trades` and the dead letters beside it.
//!
//! Kafka's own columns are the chunk's buffers as they stand; the decoded ones go through typed builders. No allocation a row.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, Int64Builder, ListBuilder, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::compute::filter;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::dead_letters::{DeadLetterBuilder, without_ingested_at};
use super::decode::{self, Record};
use super::record_chunk::RecordChunk;
use crate::error::{Error, Result};

/// What a chunk became. Both lack `ingested_at`, which the write adds.
#[derive(Debug)]
pub struct Built {
    pub trades: Option<RecordBatch>,
    pub dead_letters: Option<RecordBatch>,
}

/// Builds chunks of one topic, reusing what it can from one to the next.
pub struct ChunkBuilder {
    trades_schema: SchemaRef,
    dead_letters_schema: SchemaRef,
    condition_field: FieldRef,
    topic: String,
    dead_letters: DeadLetterBuilder,
}

impl ChunkBuilder {
    /// Schemas are the tables' file schemas.
    pub fn new(trades_schema: SchemaRef, dead_letters_schema: SchemaRef, topic: &str) -> Result<Self> {
        let condition_field = match trades_schema
            .field_with_name("conditions")
            .map(|field| field.data_type())
        {
            Ok(DataType::List(field)) => field.clone(),
            _ => {
                return Err(Error::Internal(
                    "bronze.trades has no list column `conditions`".to_owned(),
                ));
            }
        };
        Ok(Self {
            trades_schema,
            dead_letters_schema,
            condition_field,
            topic: topic.to_owned(),
            dead_letters: DeadLetterBuilder::default(),
        })
    }

    pub fn build(&mut self, chunk: RecordChunk) -> Result<Built> {
        let rows = chunk.rows();
        let mut decoded = Decoded::with_capacity(rows, &self.condition_field);
        let mut bad = Vec::new();
        for index in 0..rows {
            match decode::decode(chunk.values.get(index)) {
                Ok(record) => decoded.push(&record),
                Err(why) => {
                    self.dead_letters.push(&chunk, index, &why);
                    bad.push(index);
                }
            }
        }
        let dead_letters = self.dead_letters.finish(&self.dead_letters_schema, &self.topic)?;
        let trades = if bad.len() == rows {
            None
        } else {
            Some(self.trades(chunk, &bad, decoded)?)
        };
        Ok(Built { trades, dead_letters })
    }

    fn trades(&self, chunk: RecordChunk, bad: &[usize], decoded: Decoded) -> Result<RecordBatch> {
        let good = chunk.rows() - bad.len();
        let kafka = chunk.into_columns()?;
        let mut own: [ArrayRef; 4] = [
            Arc::new(kafka.partition),
            Arc::new(kafka.offset),
            Arc::new(kafka.record_ts),
            Arc::new(kafka.payload),
        ];
        if !bad.is_empty() {
            let mut keep = vec![true; own[0].len()];
            for index in bad {
                keep[*index] = false;
            }
            let keep = BooleanArray::from(keep);
            for column in &mut own {
                *column = filter(column, &keep)
                    .map_err(|error| Error::Internal(format!("dead letters cannot be taken out: {error}")))?;
            }
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n("kafka", good))),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                self.topic.as_str(),
                good,
            ))),
        ];
        columns.extend(own);
        columns.extend(decoded.into_columns());
        without_ingested_at(&self.trades_schema, columns)
    }
}

/// Builders of the decoded columns, in the table's order.
struct Decoded {
    venue: StringBuilder,
    symbol: StringBuilder,
    kind: StringBuilder,
    trade_id: StringBuilder,
    seq: Vec<i64>,
    price: StringBuilder,
    qty: StringBuilder,
    side: StringBuilder,
    ts: Vec<i64>,
    received_at: Vec<i64>,
    source: StringBuilder,
    conditions: ListBuilder<StringBuilder>,
    ref_trade_id: StringBuilder,
    count: Vec<i64>,
    first_id: Int64Builder,
    last_id: Int64Builder,
}

impl Decoded {
    fn with_capacity(rows: usize, condition_field: &FieldRef) -> Self {
        let text = |bytes_a_row: usize| StringBuilder::with_capacity(rows, rows * bytes_a_row);
        Self {
            venue: text(14),
            symbol: text(10),
            kind: text(6),
            trade_id: text(12),
            seq: Vec::with_capacity(rows),
            price: text(12),
            qty: text(12),
            side: text(4),
            ts: Vec::with_capacity(rows),
            received_at: Vec::with_capacity(rows),
            source: text(4),
            conditions: ListBuilder::with_capacity(StringBuilder::new(), rows).with_field(condition_field.clone()),
            ref_trade_id: text(0),
            count: Vec::with_capacity(rows),
            first_id: Int64Builder::with_capacity(rows),
            last_id: Int64Builder::with_capacity(rows),
        }
    }

    fn push(&mut self, record: &Record<'_>) {
        self.venue.append_value(&*record.venue);
        self.symbol.append_value(&*record.symbol);
        self.kind.append_value(record.kind());
        self.trade_id.append_value(&*record.trade_id);
        self.seq.push(record.seq);
        self.price.append_value(&*record.price);
        self.qty.append_value(&*record.qty);
        self.side.append_option(record.side.as_deref());
        self.ts.push(record.ts);
        self.received_at.push(record.received_at);
        self.source.append_value(&*record.source);
        match &record.conditions {
            Some(conditions) => {
                for condition in conditions {
                    self.conditions.values().append_value(&**condition);
                }
                self.conditions.append(true);
            }
            None => self.conditions.append(false),
        }
        self.ref_trade_id.append_option(record.ref_trade_id.as_deref());
        self.count.push(record.count());
        self.first_id.append_option(record.first_id);
        self.last_id.append_option(record.last_id);
    }

    fn into_columns(mut self) -> Vec<ArrayRef> {
        let timestamps = |values: Vec<i64>| TimestampMicrosecondArray::from(values).with_timezone("UTC");
        vec![
            Arc::new(self.venue.finish()),
            Arc::new(self.symbol.finish()),
            Arc::new(self.kind.finish()),
            Arc::new(self.trade_id.finish()),
            Arc::new(Int64Array::from(self.seq)),
            Arc::new(self.price.finish()),
            Arc::new(self.qty.finish()),
            Arc::new(self.side.finish()),
            Arc::new(timestamps(self.ts)),
            Arc::new(timestamps(self.received_at)),
            Arc::new(self.source.finish()),
            Arc::new(self.conditions.finish()),
            Arc::new(self.ref_trade_id.finish()),
            Arc::new(Int64Array::from(self.count)),
            Arc::new(self.first_id.finish()),
            Arc::new(self.last_id.finish()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
    use ticklake_sql::{TableName, tables};

    use super::super::dead_letters::{above, with_ingested_at};
    use super::*;

    fn builder() -> ChunkBuilder {
        let trades = tables::spec(&TableName::bronze_trades()).unwrap().file_schema();
        let dead = tables::spec(&TableName::bronze_dead_letters()).unwrap().file_schema();
        ChunkBuilder::new(trades, dead, "trades").unwrap()
    }

    fn trade(seq: i64) -> String {
        format!(
            r#"{{"venue":"v","symbol":"A-B","trade_id":"{seq}","seq":{seq},"price":"1.50","qty":"2","ts":{seq},"received_at":7,"source":"sim","conditions":["@"]}}"#
        )
    }

    #[test]
    fn good_and_bad_records_part_and_keep_their_coordinates() {
        let mut builder = builder();
        for _ in 0..2 {
            let mut chunk = RecordChunk::with_capacity(8, 1024);
            let (one, two) = (trade(1), trade(2));
            let long = vec![b'x'; 100_000];
            chunk.push(0, 10, Some(1), Some(b"k0"), Some(one.as_bytes()));
            chunk.push(1, 20, Some(2), Some(b"k1"), Some(&long));
            chunk.push(1, 21, Some(3), None, None);
            chunk.push(0, 12, None, Some(b"k2"), Some(two.as_bytes()));
            let built = builder.build(chunk).unwrap();
            let trades = with_ingested_at(&builder.trades_schema, &built.trades.unwrap(), 99).unwrap();
            assert_eq!(trades.num_rows(), 2);
            let column = |name: &str| trades.column_by_name(name).unwrap();
            assert_eq!(column("offset").as_primitive::<Int64Type>().values(), &[10, 12]);
            assert_eq!(column("seq").as_primitive::<Int64Type>().values(), &[1, 2]);
            assert_eq!(column("payload").as_binary::<i32>().value(1), two.as_bytes());
            assert!(column("record_ts").is_null(1));
            assert_eq!(
                column("ingested_at")
                    .as_primitive::<TimestampMicrosecondType>()
                    .values(),
                &[99, 99]
            );

            let dead = with_ingested_at(&builder.dead_letters_schema, &built.dead_letters.unwrap(), 99).unwrap();
            let column = |name: &str| dead.column_by_name(name).unwrap();
            assert_eq!(column("offset").as_primitive::<Int64Type>().values(), &[20, 21]);
            assert_eq!(column("error_class").as_string::<i32>().value(0), "not_json");
            assert_eq!(column("error_class").as_string::<i32>().value(1), "null_value");
            assert_eq!(column("payload").as_binary::<i32>().value(0).len(), 65_536);
            assert!(column("payload").is_null(1) && column("key").is_null(1));
            assert_eq!(
                column("payload_bytes").as_primitive::<Int64Type>().values(),
                &[100_000, 0]
            );
            assert_eq!(column("payload_sha256").as_string::<i32>().value(0).len(), 64);
            assert!(column("payload_sha256").is_null(1));

            let rest = above(&[dead], &[(1, 21)].into_iter().collect()).unwrap();
            assert_eq!(rest.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
        }
    }

    #[test]
    fn a_chunk_of_dead_letters_alone_makes_no_trades() {
        let mut chunk = RecordChunk::with_capacity(1, 0);
        chunk.push(0, 1, None, None, None);
        let built = builder().build(chunk).unwrap();
        assert!(built.trades.is_none());
        assert_eq!(built.dead_letters.unwrap().num_rows(), 1);
    }
}
