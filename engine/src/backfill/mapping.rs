//! A format's SQL, planned once for a file and evaluated batch by batch: a row in, a row out. What a single row fails on is that row's fault.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use chrono::{Datelike, NaiveDate};
use datafusion::common::ScalarValue;
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::columns::Target;
use super::functions;
use super::raw::RawRows;
use crate::{Error, Result};

/// What a mapping may bind beside the columns of a file.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    pub venue: Option<String>,
    pub symbol: Option<String>,
    pub file_name: String,
    pub connection: String,
    pub date: Option<NaiveDate>,
}

impl Parameters {
    fn values(&self) -> HashMap<String, ScalarValue> {
        let text = |value: Option<&str>| ScalarValue::Utf8(value.map(str::to_owned));
        let days = self.date.map(|date| date.num_days_from_ce() - EPOCH_FROM_CE);
        HashMap::from([
            ("venue".to_owned(), text(self.venue.as_deref())),
            ("symbol".to_owned(), text(self.symbol.as_deref())),
            ("file_name".to_owned(), text(Some(&self.file_name))),
            ("connection".to_owned(), text(Some(&self.connection))),
            ("date".to_owned(), ScalarValue::Date32(days)),
        ])
    }
}

/// Days from 0001-01-01 (day 1) to 1970-01-01.
const EPOCH_FROM_CE: i32 = 719_163;

/// One projection: expressions over the output of the one before it.
#[derive(Debug)]
struct Projection {
    outputs: Vec<(String, Arc<dyn PhysicalExpr>)>,
}

#[derive(Debug)]
pub struct Mapping {
    projections: Vec<Projection>,
    /// The columns of the file that it reads, and `line` where it reads that.
    pub input: SchemaRef,
    /// Columns that it reads and the file lacks: NULL in every row.
    pub lacking: BTreeSet<String>,
    target: Target,
}

impl Mapping {
    /// Plans `sql` over `raw`, the columns that a file has and those of `lacking`, which it has not. `bronze`: file schema of bronze.trades.
    pub async fn plan(
        name: &str,
        sql: &str,
        raw: &SchemaRef,
        lacking: &BTreeSet<String>,
        parameters: &Parameters,
        bronze: &SchemaRef,
    ) -> Result<Self> {
        let invalid = |error: datafusion::error::DataFusionError| {
            let message = error.strip_backtrace();
            Error::Invalid(format!(
                "mapping {name}: {}",
                message.lines().next().unwrap_or_default()
            ))
        };
        let context = SessionContext::new_with_config(SessionConfig::new().with_information_schema(false));
        functions::all()
            .into_iter()
            .for_each(|function| context.register_udf(function));
        context
            .register_table("raw", Arc::new(EmptyTable::new(raw.clone())))
            .map_err(invalid)?;
        let state = context.state();
        let plan = state.create_logical_plan(sql).await.map_err(invalid)?;
        let plan = plan.with_param_values(parameters.values()).map_err(invalid)?;
        let plan = state.optimize(&plan).map_err(invalid)?;

        let (mut projections, mut node) = (Vec::new(), &plan);
        let input: SchemaRef = loop {
            match node {
                LogicalPlan::Projection(projection) => {
                    let schema = projection.input.schema();
                    let outputs = projection
                        .expr
                        .iter()
                        .zip(projection.schema.fields())
                        .map(|(expr, field)| {
                            let physical = state.create_physical_expr(expr.clone(), schema)?;
                            Ok((field.name().clone(), physical))
                        })
                        .collect::<datafusion::error::Result<Vec<_>>>()
                        .map_err(invalid)?;
                    projections.push(Projection { outputs });
                    node = &projection.input;
                }
                LogicalPlan::SubqueryAlias(alias) => node = &alias.input,
                LogicalPlan::TableScan(scan) if scan.filters.is_empty() && scan.fetch.is_none() => {
                    break Arc::new(scan.projected_schema.as_arrow().clone());
                }
                other => {
                    return Err(Error::Invalid(format!(
                        "mapping {name}: it is one SELECT of expressions FROM raw, a row out for each row in, without {}",
                        other.display()
                    )));
                }
            }
        };
        projections.reverse();
        let read = input.fields().iter().map(|field| field.name().clone()).collect();
        let sample = project(&projections, &RecordBatch::new_empty(input.clone()))
            .map_err(|error| Error::Invalid(format!("mapping {name}: {error}")))?;
        Ok(Self {
            target: Target::of(name, &sample.schema(), bronze)?,
            lacking: lacking.intersection(&read).cloned().collect(),
            projections,
            input,
        })
    }

    /// Calls `mapped` with pieces of `rows` in order, and `refused` with each row that the SQL fails on, and why.
    pub fn apply(
        &self,
        rows: &RawRows,
        mapped: &mut impl FnMut(RecordBatch, &RawRows) -> Result<()>,
        refused: &mut impl FnMut(&RawRows, String),
    ) -> Result<()> {
        match project(&self.projections, &rows.columns).and_then(|batch| self.target.convert(&batch)) {
            Ok(batch) => mapped(batch, rows),
            Err(why) if rows.rows() <= 1 => {
                refused(rows, why);
                Ok(())
            }
            Err(_) => {
                let half = rows.rows() / 2;
                self.apply(&rows.slice(0, half), mapped, refused)?;
                self.apply(&rows.slice(half, rows.rows() - half), mapped, refused)
            }
        }
    }
}

/// The mapped columns of all rows, or why some row cannot be mapped.
fn project(projections: &[Projection], columns: &RecordBatch) -> Result<RecordBatch, String> {
    let mut batch = columns.clone();
    for projection in projections {
        let (mut fields, mut arrays): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
        for (name, expr) in &projection.outputs {
            let array = expr
                .evaluate(&batch)
                .and_then(|value| value.into_array(batch.num_rows()))
                .map_err(|error| sentence(&error))?;
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .map_err(|error| error.to_string())?;
    }
    Ok(batch)
}

/// The innermost message: what is wrong with the value.
fn sentence(error: &datafusion::error::DataFusionError) -> String {
    let root = error.find_root().strip_backtrace();
    let line = root.lines().next().unwrap_or_default();
    let known = ["Arrow error: ", "Cast error: ", "Execution error: ", "Parser error: "];
    known
        .iter()
        .fold(line, |line, prefix| line.strip_prefix(prefix).unwrap_or(line))
        .to_owned()
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
    use ticklake_sql::{TableName, import, tables};

    use super::super::raw::{RawBuilder, text_schema};
    use super::*;

    async fn plan(sql: &str, columns: &[&str], parameters: &Parameters) -> Result<Mapping> {
        let bronze = tables::spec(&TableName::bronze_trades()).unwrap().file_schema();
        let raw = text_schema(columns.iter().copied());
        Mapping::plan("test", sql, &raw, &BTreeSet::new(), parameters, &bronze).await
    }

    fn rows(mapping: &Mapping, columns: &[&str], lines: &[&str]) -> RawRows {
        let mut builder = RawBuilder::new(mapping.input.clone());
        for (number, line) in lines.iter().enumerate() {
            builder.start(number as i64 + 1, line.as_bytes());
            let values: Vec<&str> = line.split(',').collect();
            let texts = mapping.input.fields().iter().filter(|field| field.name() != "line");
            for (index, field) in texts.enumerate() {
                let at = columns.iter().position(|column| column == field.name()).unwrap();
                builder.put(index, values[at].as_bytes());
            }
        }
        builder.finish().unwrap()
    }

    fn apply(mapping: &Mapping, rows: &RawRows) -> (Vec<RecordBatch>, Vec<(i64, String)>) {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        mapping
            .apply(
                rows,
                &mut |batch, _| {
                    good.push(batch);
                    Ok(())
                },
                &mut |row, why| bad.push((row.lines.value(0), why)),
            )
            .unwrap();
        (good, bad)
    }

    const TRADES: [&str; 7] = [
        "id",
        "price",
        "qty",
        "quote_qty",
        "time",
        "is_buyer_maker",
        "is_best_match",
    ];

    fn btc() -> Parameters {
        Parameters {
            file_name: "BTCUSDT-trades-2025-01-01.zip".into(),
            connection: "c".into(),
            ..Parameters::default()
        }
    }

    #[tokio::test]
    async fn binance_trades_are_mapped_and_both_units_are_told_apart() {
        let mapping = plan(import::format("binance-trades").unwrap(), &TRADES, &btc())
            .await
            .unwrap();
        assert!(
            mapping.input.field_with_name("quote_qty").is_err(),
            "what nobody reads is not parsed"
        );
        let lines = [
            "7,1.50,2,3,1735689600123,True,True",
            "8,1.51,2,3,1735689600123456,False,True",
            "x9,1.51,2,3,1735689600123456,False,True",
            "10,1.52,2,3,1735689600123457,true,True",
        ];
        let (good, bad) = apply(&mapping, &rows(&mapping, &TRADES, &lines));
        let all = arrow::compute::concat_batches(&good[0].schema(), &good).unwrap();
        let column = |name: &str| all.column_by_name(name).unwrap();
        assert_eq!(
            column("ts").as_primitive::<TimestampMicrosecondType>().values(),
            &[1_735_689_600_123_000, 1_735_689_600_123_456, 1_735_689_600_123_457]
        );
        assert_eq!(
            column("seq").as_primitive::<Int64Type>(),
            &Int64Array::from(vec![7, 8, 10])
        );
        let texts = |name: &str| {
            column(name)
                .as_string::<i32>()
                .iter()
                .flatten()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(texts("side"), ["sell", "buy", "sell"]);
        assert_eq!(texts("symbol"), ["BTC-USDT"; 3]);
        assert_eq!(texts("venue"), ["binance-spot"; 3]);
        assert_eq!(texts("price"), ["1.50", "1.51", "1.52"]);
        assert_eq!(texts("source"), ["import"; 3]);
        assert_eq!(bad.len(), 1);
        assert!(bad[0].0 == 3 && bad[0].1.contains("x9"), "{bad:?}");
    }

    #[tokio::test]
    async fn new_york_s_midnight_follows_daylight_saving() {
        let columns = ["ms", "price", "size", "exchange", "flags", "suspicious"];
        let check = async |date: &str, ms: &str, expected_us: i64| {
            let parameters = Parameters {
                file_name: format!("spy_tick_{}.zip", date.replace('-', "")),
                connection: "c".into(),
                date: date.parse().ok(),
                ..Parameters::default()
            };
            let mapping = plan(import::format("us-equities-ticks").unwrap(), &columns, &parameters)
                .await
                .unwrap();
            let line = format!("{ms},491800,300,P,20002020,1");
            let (good, bad) = apply(&mapping, &rows(&mapping, &columns, &[&line]));
            assert_eq!(bad, []);
            let column = |name: &str| good[0].column_by_name(name).unwrap();
            let ts = column("ts").as_primitive::<TimestampMicrosecondType>().value(0);
            assert_eq!(ts, expected_us, "{date} {ms}");
            assert_eq!(column("symbol").as_string::<i32>().value(0), "SPY-USD");
            assert_eq!(column("price").as_string::<i32>().value(0), "491800e-4");
            assert_eq!(column("trade_id").as_string::<i32>().value(0), "c-1-0");
            let conditions = column("conditions").as_list::<i32>().value(0);
            let conditions: Vec<_> = conditions
                .as_string::<i32>()
                .iter()
                .flatten()
                .map(str::to_owned)
                .collect();
            assert_eq!(conditions, ["0x20", "0x2000", "0x20000000", "suspicious"]);
        };
        // 09:30 is 13:30 UTC in summer and 14:30 in winter.
        check("2013-10-07", "34200000", 1_381_152_600_000_000).await;
        check("2013-12-06", "34200000.5", 1_386_340_200_000_500).await;
        // On the two Sundays of the change 09:30 stands on the clock of the afternoon's offset.
        check("2014-03-09", "34200000", 1_394_371_800_000_000).await;
        check("2013-11-03", "34200000", 1_383_489_000_000_000).await;
    }

    #[tokio::test]
    async fn what_is_no_mapping_is_refused_with_advice() {
        let refused = async |sql: &str| plan(sql, &TRADES, &btc()).await.unwrap_err().to_string();
        let good = "SELECT 'v' AS venue, 'A-B' AS symbol, price, qty, CAST(time AS BIGINT) AS ts FROM raw";
        assert!(plan(good, &TRADES, &btc()).await.is_ok());
        assert!(
            refused(&format!("{good} WHERE price > '1'"))
                .await
                .contains("a row out for each row in")
        );
        assert!(refused(&good.replace("price,", "")).await.contains("`price`"));
        assert!(
            refused(&good.replace("price,", "CAST(price AS DOUBLE) AS price,"))
                .await
                .contains("float")
        );
        assert!(
            refused(&good.replace("price,", "price, id AS ident,"))
                .await
                .contains("`ident`")
        );
        assert!(
            refused(&good.replace("price,", "prize AS price,"))
                .await
                .contains("prize")
        );
        assert!(refused("SELEC 1").await.contains("mapping test"));
    }
}
