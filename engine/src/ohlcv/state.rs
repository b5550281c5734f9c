//! A half-made bar as columns: what a partial aggregate hands to the final one, and what is spilled.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Decimal128Array, Decimal128Builder, Decimal256Array,
    Decimal256Builder, Int8Array, Int8Builder, Int64Array, Int64Builder, StringViewArray, StringViewBuilder,
};
use arrow::datatypes::{
    DECIMAL256_MAX_PRECISION, DataType, Decimal128Type, Decimal256Type, Field, FieldRef, Int8Type, Int64Type,
};
use datafusion::common::{Result, exec_datafusion_err, exec_err};

use super::bar::{Bar, Edge};
use super::trades::{CountsFor, PRICE_PRECISION, PRICE_SCALE, QTY_SCALE};
use super::wide::Wide;

const PRICE: DataType = DataType::Decimal128(PRICE_PRECISION, PRICE_SCALE);

/// Name and type of each state column, in the order of [`encode`]. `rows` is 0 in a state without trades.
const COLUMNS: [(&str, DataType); 23] = [
    ("rows", DataType::Int64),
    ("overflowed", DataType::Boolean),
    ("first_ts", DataType::Int64),
    ("first_seq", DataType::Int64),
    ("last_ts", DataType::Int64),
    ("last_seq", DataType::Int64),
    ("priced_by", DataType::Int8),
    ("open_ts", DataType::Int64),
    ("open_seq", DataType::Int64),
    ("open_id", DataType::Utf8View),
    ("open_price", PRICE),
    ("close_ts", DataType::Int64),
    ("close_seq", DataType::Int64),
    ("close_id", DataType::Utf8View),
    ("close_price", PRICE),
    ("high", PRICE),
    ("low", PRICE),
    ("fills", sum_type(0)),
    ("volume", sum_type(QTY_SCALE)),
    ("quote", sum_type(PRICE_SCALE + QTY_SCALE)),
    ("bought_volume", sum_type(QTY_SCALE)),
    ("bought_quote", sum_type(PRICE_SCALE + QTY_SCALE)),
    ("prices", sum_type(PRICE_SCALE)),
];

const fn sum_type(scale: i8) -> DataType {
    DataType::Decimal256(DECIMAL256_MAX_PRECISION, scale)
}

/// State fields of the aggregate `name`.
pub fn fields(name: &str) -> Vec<FieldRef> {
    COLUMNS
        .iter()
        .map(|(column, data_type)| Arc::new(Field::new(format!("{name}[{column}]"), data_type.clone(), false)))
        .collect()
}

/// Builds state columns, one bar a row.
pub fn encode(bars: &[Bar]) -> Vec<ArrayRef> {
    let mut rows = Int64Builder::with_capacity(bars.len());
    let mut overflowed = BooleanBuilder::with_capacity(bars.len());
    let mut priced_by = Int8Builder::with_capacity(bars.len());
    for bar in bars {
        rows.append_value(bar.rows);
        overflowed.append_value(bar.overflowed);
        priced_by.append_value(bar.priced_by.rank());
    }
    let mut columns: Vec<ArrayRef> = vec![Arc::new(rows.finish()), Arc::new(overflowed.finish())];
    columns.extend(time_columns(bars, |bar| bar.first));
    columns.extend(time_columns(bars, |bar| bar.last));
    columns.push(Arc::new(priced_by.finish()));
    columns.extend(edge_columns(bars, |bar| &bar.open));
    columns.extend(edge_columns(bars, |bar| &bar.close));
    columns.push(price_column(bars, |bar| bar.high));
    columns.push(price_column(bars, |bar| bar.low));
    columns.push(sum_column(bars, 0, |bar| bar.fills));
    columns.push(sum_column(bars, QTY_SCALE, |bar| bar.volume));
    columns.push(sum_column(bars, PRICE_SCALE + QTY_SCALE, |bar| bar.quote));
    columns.push(sum_column(bars, QTY_SCALE, |bar| bar.bought_volume));
    columns.push(sum_column(bars, PRICE_SCALE + QTY_SCALE, |bar| bar.bought_quote));
    columns.push(sum_column(bars, PRICE_SCALE, |bar| bar.prices));
    columns
}

fn time_columns(bars: &[Bar], time: impl Fn(&Bar) -> (i64, i64)) -> [ArrayRef; 2] {
    let ts: Int64Array = bars.iter().map(|bar| Some(time(bar).0)).collect();
    let seq: Int64Array = bars.iter().map(|bar| Some(time(bar).1)).collect();
    [Arc::new(ts), Arc::new(seq)]
}

fn edge_columns(bars: &[Bar], edge: impl Fn(&Bar) -> &Edge) -> [ArrayRef; 4] {
    let mut ts = Int64Builder::with_capacity(bars.len());
    let mut seq = Int64Builder::with_capacity(bars.len());
    let mut id = StringViewBuilder::with_capacity(bars.len());
    for bar in bars {
        let edge = edge(bar);
        ts.append_value(edge.ts);
        seq.append_value(edge.seq);
        id.append_value(&edge.trade_id);
    }
    [
        Arc::new(ts.finish()),
        Arc::new(seq.finish()),
        Arc::new(id.finish()),
        price_column(bars, |bar| edge(bar).price),
    ]
}

fn price_column(bars: &[Bar], value: impl Fn(&Bar) -> i128) -> ArrayRef {
    let mut column = Decimal128Builder::with_capacity(bars.len()).with_data_type(PRICE);
    bars.iter().for_each(|bar| column.append_value(value(bar)));
    Arc::new(column.finish())
}

fn sum_column(bars: &[Bar], scale: i8, value: impl Fn(&Bar) -> Wide) -> ArrayRef {
    let mut column = Decimal256Builder::with_capacity(bars.len()).with_data_type(sum_type(scale));
    bars.iter().for_each(|bar| column.append_value(value(bar).to_i256()));
    Arc::new(column.finish())
}

/// State columns, ready to be read row by row.
pub struct States<'a> {
    rows: &'a Int64Array,
    overflowed: &'a BooleanArray,
    first: Times<'a>,
    last: Times<'a>,
    priced_by: &'a Int8Array,
    open: Edges<'a>,
    close: Edges<'a>,
    high: &'a Decimal128Array,
    low: &'a Decimal128Array,
    sums: [&'a Decimal256Array; 6],
}

struct Times<'a> {
    ts: &'a Int64Array,
    seq: &'a Int64Array,
}

struct Edges<'a> {
    ts: &'a Int64Array,
    seq: &'a Int64Array,
    id: &'a StringViewArray,
    price: &'a Decimal128Array,
}

impl<'a> States<'a> {
    pub fn new(columns: &'a [ArrayRef]) -> Result<Self> {
        if columns.len() != COLUMNS.len()
            || columns
                .iter()
                .zip(&COLUMNS)
                .any(|(column, (_, wanted))| column.data_type() != wanted)
        {
            return exec_err!("these are not the state columns of ohlcv");
        }
        let times = |at: usize| Times {
            ts: columns[at].as_primitive::<Int64Type>(),
            seq: columns[at + 1].as_primitive::<Int64Type>(),
        };
        let edges = |at: usize| Edges {
            ts: columns[at].as_primitive::<Int64Type>(),
            seq: columns[at + 1].as_primitive::<Int64Type>(),
            id: columns[at + 2].as_string_view(),
            price: columns[at + 3].as_primitive::<Decimal128Type>(),
        };
        let sum = |at: usize| columns[at].as_primitive::<Decimal256Type>();
        Ok(Self {
            rows: columns[0].as_primitive::<Int64Type>(),
            overflowed: columns[1].as_boolean(),
            first: times(2),
            last: times(4),
            priced_by: columns[6].as_primitive::<Int8Type>(),
            open: edges(7),
            close: edges(11),
            high: columns[15].as_primitive::<Decimal128Type>(),
            low: columns[16].as_primitive::<Decimal128Type>(),
            sums: [sum(17), sum(18), sum(19), sum(20), sum(21), sum(22)],
        })
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The bar of one row; empty where the state is NULL or has seen no trade.
    pub fn bar(&self, row: usize) -> Result<Bar> {
        if self.rows.is_null(row) || self.rows.value(row) == 0 {
            return Ok(Bar::default());
        }
        let sum = |of: usize| {
            Wide::from_i256(self.sums[of].value(row))
                .ok_or_else(|| exec_datafusion_err!("a sum in a state of ohlcv is out of range"))
        };
        Ok(Bar {
            rows: self.rows.value(row),
            overflowed: self.overflowed.value(row),
            first: self.first.time(row),
            last: self.last.time(row),
            priced_by: CountsFor::of_rank(self.priced_by.value(row))
                .ok_or_else(|| exec_datafusion_err!("a state of ohlcv says nothing known of its prices"))?,
            open: self.open.edge(row),
            close: self.close.edge(row),
            high: self.high.value(row),
            low: self.low.value(row),
            fills: sum(0)?,
            volume: sum(1)?,
            quote: sum(2)?,
            bought_volume: sum(3)?,
            bought_quote: sum(4)?,
            prices: sum(5)?,
        })
    }
}

impl Times<'_> {
    fn time(&self, row: usize) -> (i64, i64) {
        (self.ts.value(row), self.seq.value(row))
    }
}

impl Edges<'_> {
    fn edge(&self, row: usize) -> Edge {
        Edge {
            ts: self.ts.value(row),
            seq: self.seq.value(row),
            trade_id: self.id.value(row).to_owned(),
            price: self.price.value(row),
        }
    }
}
