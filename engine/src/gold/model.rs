//! The bars of a range of windows, and the windows that files touch, out of silver's files.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::catalog::{MemorySchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, ScalarValue, ToDFSchema};
use datafusion::datasource::ViewTable;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::{EmptyRelation, Expr, JoinType, LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::{DataFrame, SessionContext, col, lit};
use futures::StreamExt;
use ticklake_sql::{Table, models};

use super::bar::{Computed, Key, Series};
use super::calendar::Calendar;
use super::columns::{computed, stored};
use super::files::Files;
use super::interval::{Interval, SECOND_US};
use super::named::{NAME_COLUMNS, Named};
use super::prices::{self, Prices};
use super::windows::{Range, Touched};
use super::{GoldOptions, bar};
use crate::error::Step;
use crate::scan::file::AMENDMENTS;
use crate::scan::{DataFile, OrderedScan, session};
use crate::watermarks::Watermarks;
use crate::{Error, Result};

/// Runs queries over the files of a table; knows which kind of trade each venue's bars are made of.
pub struct Model {
    runtime: Arc<RuntimeEnv>,
    calendar: Calendar,
    kind: String,
    kinds: BTreeMap<String, String>,
    prices: Prices,
    target_partitions: usize,
}

impl Model {
    /// `silver`: whose columns the rules of prices speak of.
    pub async fn new(options: &GoldOptions, calendar: Calendar, silver: &Table) -> Result<Self> {
        let pool = Arc::new(GreedyMemoryPool::new(options.memory_bytes));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(pool)
            .build_arc()
            .step("prepare the queries over silver")?;
        Ok(Self {
            runtime,
            calendar,
            kind: options.kind.clone(),
            kinds: options.kinds.clone(),
            prices: Prices::plan(&options.prices, silver).await?,
            target_partitions: options.target_partitions.max(1),
        })
    }

    fn session(&self, table: &Table) -> Result<SessionContext> {
        session::session(self.runtime.clone(), session::config(self.target_partitions), &[table])
            .step("prepare a query")
    }

    /// Bars of every window that starts in `range` and has a trade.
    pub async fn bars(&self, silver: &Table, files: &Files, range: &Range) -> Result<Vec<Computed>> {
        let interval = self.calendar.interval();
        let width_us = interval.width_us();
        let first = interval.start_of(range.from.saturating_add(width_us - 1));
        let plain = Bins {
            range: Range {
                from: first,
                until: interval.start_of(range.until - 1).saturating_add(width_us),
                symbols: range.symbols.clone(),
            },
            width_us,
            venue: None,
        };
        let mut bars = Vec::new();
        if plain.range.from < plain.range.until {
            bars = self.bars_of(&plain, silver, files).await?;
        }
        for (venue, session) in self.calendar.sessions() {
            if !files.iter().any(|file| file.may_hold("venue", venue)) {
                continue;
            }
            for (start, end) in session.starting_in(range.from, range.until) {
                let session = Bins {
                    range: Range {
                        from: start,
                        until: end,
                        symbols: range.symbols.clone(),
                    },
                    width_us: end - start,
                    venue: Some(venue),
                };
                bars.extend(self.bars_of(&session, silver, files).await?);
            }
        }
        Ok(bars)
    }

    /// The parts of those bars.
    pub async fn parts(&self, silver: &Table, files: &Files, range: &Range) -> Result<Vec<Computed>> {
        let parts = Bins {
            range: range.clone(),
            width_us: self.part().width_us(),
            venue: None,
        };
        self.bars_of(&parts, silver, files).await
    }

    /// Width of what is computed again for a trade.
    fn part(&self) -> Interval {
        self.calendar.interval().part().unwrap_or(self.calendar.interval())
    }

    async fn bars_of(&self, bins: &Bins<'_>, silver: &Table, files: &Files) -> Result<Vec<Computed>> {
        let range = &bins.range;
        let in_range = files.between(range.from, range.until);
        let in_range: Vec<Arc<DataFile>> = in_range.filter(|file| has_symbol(file, range)).cloned().collect();
        if in_range.is_empty() {
            return Ok(Vec::new());
        }
        let amending = files.amending().filter(|file| has_symbol(file, range));
        let amending: Vec<Arc<DataFile>> = amending.cloned().collect();
        let mut bars = Vec::new();
        for (kind, venues) in self.kinds_of_bars() {
            let context = self.session(silver)?;
            let step = "plan the bars of a range";
            let schema = Arc::new(MemorySchemaProvider::new());
            let trades = OrderedScan::new(silver.clone(), in_range.clone()).step(step)?;
            let restriction = [venues, self.venues_of(bins), symbols_of(range)]
                .into_iter()
                .flatten()
                .reduce(Expr::and);
            let counts_for = self.prices.counts_for(&in_range).step(step)?;
            register(
                &context,
                schema.as_ref(),
                "trades",
                trades,
                restriction,
                Some((prices::COLUMN, counts_for)),
            )
            .step(step)?;
            let amendments = OrderedScan::new(silver.clone(), amending.clone()).step(step)?;
            if amending.is_empty() {
                register_empty(schema.as_ref(), "amendments", &amendments).step(step)?;
            } else {
                register(
                    &context,
                    schema.as_ref(),
                    "amendments",
                    amendments,
                    symbols_of(range),
                    None,
                )
                .step(step)?;
            }
            context
                .catalog("datafusion")
                .ok_or_else(|| Error::Internal("a session without a catalog".into()))?
                .register_schema("silver", schema)
                .step(step)?;
            let utc = |micros: i64| ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()));
            let parameters = vec![
                (
                    "interval",
                    ScalarValue::from(format!("{} seconds", bins.width_us / SECOND_US)),
                ),
                ("origin", bins.origin()),
                ("kind", ScalarValue::from(kind)),
                ("from", utc(range.from)),
                ("until", utc(range.until)),
            ];
            let frame = context
                .sql(models::OHLCV)
                .await
                .step(step)?
                .with_param_values(parameters)
                .step(step)?;
            for batch in frame.collect().await.step("compute bars from silver")? {
                bars.extend(computed(&batch)?);
            }
        }
        Ok(bars)
    }

    /// Windows that the bar trades in `files` lie in, and those of trades that amendments in `files` name.
    pub async fn touched(&self, silver: &Table, changed: &[Arc<DataFile>], all: &Files) -> Result<Touched> {
        let step = "find the windows that new trades touch";
        let mut touched = Touched::default();
        if changed.is_empty() {
            return Ok(touched);
        }
        let context = self.session(silver)?;
        let scan = |files: Vec<Arc<DataFile>>| {
            context
                .read_table(Arc::new(OrderedScan::new(silver.clone(), files).step(step)?))
                .step(step)
        };
        let trades = scan(changed.to_vec())?.filter(self.is_bar_trade()).step(step)?;
        self.collect_windows(trades, &mut touched).await?;
        let amending: Vec<Arc<DataFile>> = changed.iter().filter(|file| file.may_amend).cloned().collect();
        if amending.is_empty() {
            return Ok(touched);
        }
        let named = self.named(silver, amending).await?;
        let kinds = self.kinds_of_bars().into_iter().map(|(kind, _)| kind).collect();
        let holding: Vec<_> = all
            .iter()
            .filter(|file| named.may_be_in(file, &kinds))
            .cloned()
            .collect();
        if holding.is_empty() {
            return Ok(touched);
        }
        let names = context.read_batch(named.to_batch().step(step)?).step(step)?;
        let named = scan(holding)?
            .filter(self.is_bar_trade())
            .and_then(|trades| {
                trades.join(
                    names,
                    JoinType::LeftSemi,
                    &["venue", "symbol", "trade_id"],
                    &NAME_COLUMNS,
                    None,
                )
            })
            .step(step)?;
        self.collect_windows(named, &mut touched).await?;
        Ok(touched)
    }

    /// The trades that amendments in `files` name.
    async fn named(&self, silver: &Table, files: Vec<Arc<DataFile>>) -> Result<Named> {
        let step = "find the trades that cancels and corrections name";
        let context = self.session(silver)?;
        let scan = OrderedScan::new(silver.clone(), files).step(step)?;
        let amendments = context
            .read_table(Arc::new(scan))
            .and_then(|rows| rows.filter(col("kind").in_list(AMENDMENTS.map(lit).to_vec(), false)))
            .and_then(|rows| rows.select(vec![col("venue"), col("symbol"), col("ref_trade_id")]))
            .step(step)?;
        let mut named = Named::default();
        for batch in amendments.collect().await.step(step)? {
            named.take(&batch).step(step)?;
        }
        Ok(named)
    }

    async fn collect_windows(&self, trades: DataFrame, touched: &mut Touched) -> Result<()> {
        let step = "find the windows that new trades touch";
        let part = self.part();
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let mut batches = trades
            .select(vec![col("venue"), col("symbol"), col("ts")])
            .step(step)?
            .execute_stream()
            .await
            .step(step)?;
        while let Some(batch) = batches.next().await {
            let batch = batch.step(step)?;
            let text = |at: usize| arrow::compute::cast(batch.column(at), &DataType::Utf8View).step(step);
            let (venues, symbols) = (text(0)?, text(1)?);
            let (venues, symbols) = (venues.as_string_view(), symbols.as_string_view());
            let ts = arrow::compute::cast(batch.column(2), &micros).step(step)?;
            let ts = ts.as_primitive::<TimestampMicrosecondType>();
            // Sorted files have long runs of one window: only its first row is looked up.
            let mut last: Option<(usize, i64)> = None;
            for row in 0..ts.len() {
                let start = part.start_of(ts.value(row));
                let is_known = last.is_some_and(|(seen, window)| {
                    window == start
                        && symbols.value(seen) == symbols.value(row)
                        && venues.value(seen) == venues.value(row)
                });
                if !is_known {
                    let series = Series {
                        venue: venues.value(row).into(),
                        symbol: symbols.value(row).into(),
                    };
                    touched.insert(Key { series, start });
                }
                last = Some((row, start));
            }
        }
        Ok(())
    }

    /// The greatest ts of each venue in silver, from its rows.
    pub async fn watermarks(&self, silver: &Table, files: &Files) -> Result<Watermarks> {
        let step = "find the greatest trade time of each venue";
        let files: Vec<_> = files.iter().cloned().collect();
        if files.is_empty() {
            return Ok(Watermarks::new());
        }
        let context = self.session(silver)?;
        let scan = OrderedScan::new(silver.clone(), files).step(step)?;
        let greatest = datafusion::functions_aggregate::expr_fn::max(col("ts"));
        let frame = context
            .read_table(Arc::new(scan))
            .and_then(|trades| trades.aggregate(vec![col("venue")], vec![greatest]))
            .step(step)?;
        let mut watermarks = Watermarks::new();
        for batch in frame.collect().await.step(step)? {
            let venues = arrow::compute::cast(batch.column(0), &DataType::Utf8View).step(step)?;
            let ts = batch.column(1).as_primitive::<TimestampMicrosecondType>();
            for row in 0..batch.num_rows() {
                watermarks.insert(venues.as_string_view().value(row).to_owned(), ts.value(row));
            }
        }
        Ok(watermarks)
    }

    /// Sum of count over the trades that bars are made of.
    pub async fn fills(&self, silver: &Table, files: &Files) -> Result<i64> {
        let step = "add up the fills of silver";
        let files: Vec<_> = files.iter().cloned().collect();
        if files.is_empty() {
            return Ok(0);
        }
        let context = self.session(silver)?;
        let scan = OrderedScan::new(silver.clone(), files).step(step)?;
        let sum = datafusion::functions_aggregate::expr_fn::sum(col("count"));
        let sums = context
            .read_table(Arc::new(scan))
            .and_then(|trades| trades.filter(self.is_bar_trade()))
            .and_then(|trades| trades.aggregate(Vec::new(), vec![sum]))
            .step(step)?
            .collect()
            .await
            .step(step)?;
        let sum = |batch: &arrow::array::RecordBatch| {
            let sums = batch.column(0).as_primitive_opt::<Int64Type>()?;
            sums.iter().flatten().next()
        };
        Ok(sums.iter().find_map(sum).unwrap_or(0))
    }

    /// Every bar in `files` of gold.
    pub async fn stored(&self, gold: &Table, files: Vec<Arc<DataFile>>) -> Result<Vec<(Key, bar::Bar)>> {
        let step = "read bars of gold";
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let context = self.session(gold)?;
        let scan = OrderedScan::new(gold.clone(), files).step(step)?;
        let mut bars = Vec::new();
        for batch in context
            .read_table(Arc::new(scan))
            .step(step)?
            .collect()
            .await
            .step(step)?
        {
            bars.extend(stored(&batch)?);
        }
        Ok(bars)
    }

    /// The venues whose windows these are; `None`: all.
    fn venues_of(&self, bins: &Bins<'_>) -> Option<Expr> {
        if let Some(venue) = bins.venue {
            return Some(col("venue").eq(lit(venue)));
        }
        let others: Vec<Expr> = self
            .calendar
            .sessions()
            .keys()
            .map(|venue| lit(venue.as_str()))
            .collect();
        (!others.is_empty()).then(|| col("venue").in_list(others, true))
    }

    /// Each kind that bars are made of, with the venues it holds for.
    fn kinds_of_bars(&self) -> Vec<(String, Option<Expr>)> {
        let named: Vec<Expr> = self.kinds.keys().map(|venue| lit(venue.as_str())).collect();
        let others = (!named.is_empty()).then(|| col("venue").in_list(named, true));
        let mut kinds = vec![(self.kind.clone(), others)];
        for (venue, kind) in &self.kinds {
            kinds.push((kind.clone(), Some(col("venue").eq(lit(venue.as_str())))));
        }
        kinds
    }

    fn is_bar_trade(&self) -> Expr {
        let of_kind = |(kind, venues): (String, Option<Expr>)| match venues {
            Some(venues) => col("kind").eq(lit(kind)).and(venues),
            None => col("kind").eq(lit(kind)),
        };
        self.kinds_of_bars()
            .into_iter()
            .map(of_kind)
            .reduce(Expr::or)
            .unwrap_or_else(|| lit(true))
    }
}

/// Windows of one width, side by side.
struct Bins<'a> {
    range: Range,
    width_us: i64,
    /// Whose session the range is, one window; `None`: of all venues that keep none, windows from the epoch on.
    venue: Option<&'a str>,
}

impl Bins<'_> {
    /// A window starts here; `date_bin` wants it in nanoseconds.
    fn origin(&self) -> ScalarValue {
        let origin_us = if self.venue.is_some() { self.range.from } else { 0 };
        ScalarValue::TimestampNanosecond(origin_us.checked_mul(1_000), Some("UTC".into()))
    }
}

fn has_symbol(file: &DataFile, range: &Range) -> bool {
    range
        .symbols
        .as_ref()
        .is_none_or(|symbols| symbols.iter().any(|symbol| file.may_hold("symbol", symbol)))
}

fn symbols_of(range: &Range) -> Option<Expr> {
    let symbols = range.symbols.as_ref()?;
    Some(col("symbol").in_list(symbols.iter().map(|symbol| lit(&**symbol)).collect(), false))
}

fn register(
    context: &SessionContext,
    schema: &MemorySchemaProvider,
    name: &str,
    scan: OrderedScan,
    restriction: Option<Expr>,
    column: Option<(&str, Expr)>,
) -> Result<(), DataFusionError> {
    use datafusion::catalog::SchemaProvider;
    let mut rows = context.read_table(Arc::new(scan))?;
    if let Some(restriction) = restriction {
        rows = rows.filter(restriction)?;
    }
    if let Some((name, column)) = column {
        rows = rows.with_column(name, column)?;
    }
    let table: Arc<dyn TableProvider> = rows.into_view();
    schema.register_table(name.to_owned(), table).map(|_| ())
}

/// A table that the planner knows to be empty, so that what joins it disappears from the plan.
fn register_empty(schema: &MemorySchemaProvider, name: &str, like: &OrderedScan) -> Result<(), DataFusionError> {
    use datafusion::catalog::SchemaProvider;
    let empty = EmptyRelation {
        produce_one_row: false,
        schema: like.schema().to_dfschema_ref()?,
    };
    let plan = LogicalPlanBuilder::from(LogicalPlan::EmptyRelation(empty)).build()?;
    schema
        .register_table(name.to_owned(), Arc::new(ViewTable::new(plan, None)))
        .map(|_| ())
}
