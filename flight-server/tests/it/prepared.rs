//! Prepared statements: bound by position, with the types that the plan expects; handles and tickets outlive closing.

use std::sync::Arc;

use arrow_flight::sql::client::PreparedStatement;
use datafusion::arrow::array::*;
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit, UnionFields};
use ticklake_flight_server::ServerOptions;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::fixture::*;

fn values(columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_from_iter(columns.into_iter().enumerate().map(|(i, c)| (i.to_string(), c))).unwrap()
}

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

async fn run(client: &mut Client, sql: &str, bound: RecordBatch) -> Result<RecordBatch, Status> {
    let mut statement = client.prepare(sql.to_owned(), None).await.map_err(status_of)?;
    statement.set_parameters(bound).unwrap();
    execute(client, &mut statement).await
}

async fn execute(client: &mut Client, statement: &mut PreparedStatement<Channel>) -> Result<RecordBatch, Status> {
    let info = statement.execute().await.map_err(status_of)?;
    let announced = info.clone().try_decode_schema().unwrap();
    let rows = fetch(client, ticket(&info)).await?;
    assert_eq!(rows.schema().as_ref(), &announced);
    Ok(rows)
}

#[tokio::test]
async fn values_are_bound_by_position() {
    let lake = TestLake::with_bars(30).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let latest = "SELECT symbol, window_start FROM gold.ohlcv_1m WHERE venue = ? AND symbol = ? ORDER BY window_start DESC LIMIT ?";
    let statement = client.prepare(latest.to_owned(), None).await.unwrap();
    assert_eq!(statement.dataset_schema().unwrap().fields().len(), 2);
    let types: Vec<_> = statement
        .parameter_schema()
        .unwrap()
        .fields()
        .iter()
        .map(|f| f.data_type().clone())
        .collect();
    assert_eq!(types, [DataType::Utf8, DataType::Utf8, DataType::Int64]);

    let two: ArrayRef = Arc::new(Int32Array::from(vec![2]));
    let rows = run(
        &mut client,
        latest,
        values(vec![text(&["sim"]), text(&["ETH-USDT"]), two]),
    )
    .await
    .unwrap();
    assert_eq!(rows.num_rows(), 2);
    assert_eq!(rows.column(0).as_string::<i32>().value(0), "ETH-USDT");

    let numbered = "SELECT count(*) FROM gold.ohlcv_1m WHERE symbol = $2 AND open > $1";
    let half: ArrayRef = Arc::new(Float64Array::from(vec![114.5]));
    for price in [half, text(&["114.5"])] {
        let rows = run(&mut client, numbered, values(vec![price, text(&["BTC-USDT"])]))
            .await
            .unwrap();
        assert_eq!(
            rows.column(0)
                .as_primitive::<datafusion::arrow::datatypes::Int64Type>()
                .value(0),
            15
        );
    }

    let times = "SELECT count(*) FROM gold.ohlcv_1m WHERE window_start >= ? AND window_start < ? AND symbol IN (?, ?)";
    let bound = values(vec![
        text(&["2026-01-01T00:10:00Z"]),
        text(&["2026-01-01 00:20:00"]),
        text(&["BTC-USDT"]),
        text(&["SOL-USDT"]),
    ]);
    let rows = run(&mut client, times, bound).await.unwrap();
    assert_eq!(
        rows.column(0)
            .as_primitive::<datafusion::arrow::datatypes::Int64Type>()
            .value(0),
        20
    );
    server.stop().await;
}

#[tokio::test]
async fn a_parameter_has_the_type_of_its_use_wherever_it_stands() {
    let lake = TestLake::with_bars(30).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let sql = "SELECT $1 AS since, count(*) AS n FROM gold.ohlcv_1m WHERE window_start >= $1 AND symbol = 'BTC-USDT'";
    let statement = client.prepare(sql.to_owned(), None).await.unwrap();
    let utc = |unit| DataType::Timestamp(unit, Some("UTC".into()));
    let announced = statement.dataset_schema().unwrap();
    assert_eq!(announced.field(0).data_type(), &utc(TimeUnit::Microsecond));
    let asked = statement.parameter_schema().unwrap();
    assert_eq!(asked.field(0).data_type(), &utc(TimeUnit::Millisecond));
    let rows = run(&mut client, sql, values(vec![text(&["2026-01-01T00:10:00Z"])]))
        .await
        .unwrap();
    assert_eq!(rows.schema().field(0), announced.field(0));
    let since = rows
        .column(0)
        .as_primitive::<datafusion::arrow::datatypes::TimestampMicrosecondType>();
    assert_eq!(since.value(0), START_US + 600_000_000);
    let counted = rows.column(1).as_primitive::<datafusion::arrow::datatypes::Int64Type>();
    assert_eq!(counted.value(0), 20);
    server.stop().await;
}

#[tokio::test]
async fn ten_follows_nine_and_null_is_a_value() {
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let sql = format!(
        "SELECT {}",
        (0..12).map(|i| format!("? AS c{i}")).collect::<Vec<_>>().join(", ")
    );
    let bound: Vec<ArrayRef> = (0..12)
        .map(|i| Arc::new(Int64Array::from(vec![(i != 5).then_some(i)])) as ArrayRef)
        .collect();
    let rows = run(&mut client, &sql, values(bound)).await.unwrap();
    for i in 0..12 {
        let column = rows.column(i).as_primitive::<datafusion::arrow::datatypes::Int64Type>();
        assert_eq!(column.is_null(0), i == 5);
        assert!(i == 5 || column.value(0) == i as i64);
    }
    server.stop().await;
}

#[tokio::test]
async fn several_rows_run_in_order_as_one_result() {
    let lake = TestLake::with_bars(30).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let sql = "SELECT symbol, max(window_start) FROM gold.ohlcv_1m WHERE symbol = ? GROUP BY symbol";
    let rows = run(&mut client, sql, values(vec![text(&["SOL-USDT", "none", "BTC-USDT"])]))
        .await
        .unwrap();
    let symbols: Vec<_> = rows.column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(symbols, ["SOL-USDT", "BTC-USDT"]);
    server.stop().await;
}

#[tokio::test]
async fn thousands_of_rows_run_in_order() {
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
    let rows = run(&mut client, "SELECT $1 + 1 AS n", values(vec![numbers]))
        .await
        .unwrap();
    let found = rows.column(0).as_primitive::<datafusion::arrow::datatypes::Int64Type>();
    assert!(found.values().iter().copied().eq(1..=1_000));
    let more: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_001));
    let refused = run(&mut client, "SELECT $1 + 1 AS n", values(vec![more]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_time_finer_than_the_column_is_refused_not_cut() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let sql = "SELECT count(*) FROM gold.ohlcv_1m WHERE window_start < ? AND symbol = 'BTC-USDT'";
    // Half a microsecond after the first window's start: cut to the column's unit, that window would no longer be before it.
    let after: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![START_US * 1_000 + 500]).with_timezone("UTC"));
    let refused = run(&mut client, sql, values(vec![after])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let after: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![START_US * 1_000 + 1_000]).with_timezone("UTC"));
    let rows = run(&mut client, sql, values(vec![after])).await.unwrap();
    let found = rows.column(0).as_primitive::<datafusion::arrow::datatypes::Int64Type>();
    assert_eq!(found.value(0), 1);
    server.stop().await;
}

#[tokio::test]
async fn unions_are_unwrapped() {
    let lake = TestLake::with_bars(30).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let fields = UnionFields::from_fields(vec![
        Field::new("int", DataType::Int64, false),
        Field::new("string", DataType::Utf8, false),
    ]);
    let children: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(Vec::<i64>::new())), text(&["BTC-USDT"])];
    let union = UnionArray::try_new(
        fields,
        ScalarBuffer::from(vec![1i8]),
        Some(ScalarBuffer::from(vec![0i32])),
        children,
    )
    .unwrap();
    let sql = "SELECT count(*) FROM gold.ohlcv_1m WHERE symbol = ?";
    let rows = run(&mut client, sql, values(vec![Arc::new(union)])).await.unwrap();
    assert_eq!(
        rows.column(0)
            .as_primitive::<datafusion::arrow::datatypes::Int64Type>()
            .value(0),
        30
    );
    server.stop().await;
}

/// One value a row, each of the type of its child.
fn mixed(types: &[(&str, DataType)], children: Vec<ArrayRef>, of_rows: &[(i8, i32)]) -> ArrayRef {
    let fields = UnionFields::from_fields(types.iter().map(|(name, t)| Field::new(*name, t.clone(), true)));
    let (ids, offsets): (Vec<_>, Vec<_>) = of_rows.iter().copied().unzip();
    Arc::new(
        UnionArray::try_new(
            fields,
            ScalarBuffer::from(ids),
            Some(ScalarBuffer::from(offsets)),
            children,
        )
        .unwrap(),
    )
}

#[tokio::test]
async fn rows_of_values_of_several_types_are_refused_and_never_rounded() {
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let types = [("int", DataType::Int64), ("float", DataType::Float64)];
    let children = || -> Vec<ArrayRef> {
        vec![
            Arc::new(Int64Array::from(vec![1, 2])),
            Arc::new(Float64Array::from(vec![1.5])),
        ]
    };
    let sql = "SELECT $1 AS x";
    // 1, then 1.5, which an integer cannot be.
    let rounded = mixed(&types, children(), &[(0, 0), (1, 0)]);
    let refused = run(&mut client, sql, values(vec![rounded.clone()])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(
        refused
            .message()
            .contains("row 2 of the values makes column x a Float64"),
        "{refused:?}"
    );
    // A decimal with more digits behind its point than the first one has.
    let decimals = |value: i128, scale| -> ArrayRef {
        let one = Decimal128Array::from_iter_values([value]);
        Arc::new(one.with_precision_and_scale(20, scale).unwrap())
    };
    let types = [("a", DataType::Decimal128(20, 0)), ("b", DataType::Decimal128(20, 2))];
    let decimals = mixed(&types, vec![decimals(1, 0), decimals(125, 2)], &[(0, 0), (1, 0)]);
    let refused = run(&mut client, sql, values(vec![decimals])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");

    // With one type there is nothing to round, and the column that takes a value tells its type.
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 1.5]));
    for (sql, bound) in [(sql, floats), ("SELECT CAST($1 AS DOUBLE) AS x", rounded)] {
        let rows = run(&mut client, sql, values(vec![bound])).await.unwrap();
        let found = rows
            .column(0)
            .as_primitive::<datafusion::arrow::datatypes::Float64Type>();
        assert_eq!(found.values(), &[1.0, 1.5], "{sql}");
    }
    server.stop().await;
}

#[tokio::test]
async fn wrong_values_are_refused() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let sql = "SELECT * FROM gold.ohlcv_1m WHERE window_start > ?";
    for (bound, told) in [
        (
            vec![text(&["a"]), text(&["b"])],
            "the statement takes 1 values, 2 were bound",
        ),
        (vec![text(&["yesterday"])], "value 1 (yesterday) is not a Timestamp"),
    ] {
        let refused = run(&mut client, sql, values(bound)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains(told), "{refused:?}");
    }
    let mut unbound = client.prepare(sql.to_owned(), None).await.unwrap();
    let refused = execute(&mut client, &mut unbound).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let refused = client
        .prepare("DROP TABLE gold.ohlcv_1m".into(), None)
        .await
        .map(|_| ())
        .map_err(status_of)
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_ticket_outlives_its_statement() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let mut statement = client
        .prepare("SELECT symbol FROM gold.ohlcv_1m WHERE symbol = ?".into(), None)
        .await
        .unwrap();
    statement.set_parameters(values(vec![text(&["BTC-USDT"])])).unwrap();
    let info = statement.execute().await.unwrap();
    statement.close().await.unwrap();
    assert_eq!(fetch(&mut client, ticket(&info)).await.unwrap().num_rows(), 3);
    server.stop().await;
}

#[tokio::test]
async fn a_plan_is_reused_with_other_values() {
    let lake = TestLake::with_bars(30).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let sql = "SELECT count(*), $3 FROM gold.ohlcv_1m WHERE symbol = $1 AND window_start >= $2 + INTERVAL '10 minutes' AND trade_count >= $3";
    let micros = |minute: i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(vec![START_US + minute * 60_000_000]).with_timezone("UTC"))
    };
    let least = |n: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![n])) };
    for (symbol, minute, n, expected) in [
        (Some("BTC-USDT"), 0, 0, 20),
        (Some("ETH-USDT"), 15, 0, 5),
        (Some("none"), 0, 0, 0),
        (None, 0, 0, 0),
        (Some("BTC-USDT"), 0, 25, 5),
    ] {
        let symbol: ArrayRef = Arc::new(StringArray::from(vec![symbol]));
        let rows = run(&mut client, sql, values(vec![symbol, micros(minute), least(n)]))
            .await
            .unwrap();
        let column = |i: usize| {
            rows.column(i)
                .as_primitive::<datafusion::arrow::datatypes::Int64Type>()
                .value(0)
        };
        assert_eq!((column(0), column(1)), (expected, n));
    }
    let now = "SELECT now() AS t WHERE $1 = 1";
    let first = run(&mut client, now, values(vec![least(1)])).await.unwrap();
    let second = run(&mut client, now, values(vec![least(1)])).await.unwrap();
    assert_ne!(first, second, "now() is told anew");
    server.stop().await;
}
