//! Results: right rows, plain types, and a stream whose schema is the announced one.

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use prost::Message;
use ticklake_flight_server::ServerOptions;

use crate::fixture::*;

#[tokio::test]
async fn the_announced_schema_is_the_sent_one() {
    let lake = TestLake::with_bars(90).await;
    lake.add_trades("BTC-USDT", 0..50).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    // `rows` compares the schemas, nullability included.
    for sql in [
        "SELECT 1",
        "SELECT NULL",
        "SELECT version()",
        "SELECT arrow_typeof(1)",
        "SELECT min(window_start), max(window_start), count(*), sum(volume), avg(open) FROM gold.ohlcv_1m",
        "SELECT min(seq), max(seq) FROM silver.trades",
        "SELECT date_bin(INTERVAL '5 minutes', window_start, TIMESTAMP '1970-01-01') AS t, count(*) FROM gold.ohlcv_1m GROUP BY 1 ORDER BY 1",
        "SELECT CAST(open AS TEXT), CAST(trade_count AS VARCHAR), upper(symbol) FROM gold.ohlcv_1m LIMIT 3",
        "SELECT * FROM gold.ohlcv_1m WHERE symbol = 'none'",
        "SELECT * FROM gold.ohlcv_1m",
        "SELECT * FROM silver.trades",
        "SELECT conditions, array_agg(side) FROM silver.trades GROUP BY conditions",
        "SELECT make_array('a', 'b'), named_struct('x', symbol) FROM gold.ohlcv_1m LIMIT 1",
        "SELECT arrow_cast(symbol, 'Dictionary(Int32, Utf8)'), arrow_cast(symbol, 'LargeUtf8'), arrow_cast(symbol, 'Utf8View') FROM gold.ohlcv_1m LIMIT 2",
        "SELECT now(), current_date, DATE '2026-01-01', INTERVAL '1 day', TIME '12:00:00'",
        "SELECT a.symbol, b.open FROM gold.ohlcv_1m a LEFT JOIN gold.ohlcv_1m b ON a.window_start = b.window_end AND a.symbol = b.symbol",
        "SELECT symbol, window_start, lag(close) OVER (PARTITION BY symbol ORDER BY window_start) FROM gold.ohlcv_1m",
        "SELECT count(*) FILTER (WHERE is_closed), string_agg(symbol, ',') FROM gold.ohlcv_1m WHERE false",
        "SELECT * FROM (VALUES (1, 'a'), (2, NULL)) t(x, y)",
        "SHOW TABLES",
        "DESCRIBE gold.ohlcv_1m",
        "EXPLAIN SELECT * FROM gold.ohlcv_1m",
        "EXPLAIN ANALYZE SELECT count(*) FROM gold.ohlcv_1m",
        "SELECT table_schema, table_name FROM information_schema.tables",
        "SELECT * FROM information_schema.columns",
        "SELECT x'ff'",
        "SELECT * FROM generate_series(1, 5)",
        "SELECT symbol FROM gold.ohlcv_1m UNION ALL SELECT CAST(seq AS VARCHAR) FROM silver.trades",
    ] {
        rows(&mut client, sql).await;
    }
    server.stop().await;
}

/// As tools write them that know a function by its name and write all of them in capitals, Superset's SQL Lab among them.
#[tokio::test]
async fn functions_may_be_written_in_capitals() {
    let lake = TestLake::with_bars(5).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    for (sql, expected) in [
        ("SELECT COUNT(*) FROM GENERATE_SERIES(1, 7) AS a", 7),
        ("EXPLAIN SELECT * FROM GENERATE_SERIES(1, 7)", 2),
        ("SELECT COUNT(*) FROM TABLE_AT('gold.ohlcv_1m', 1)", 5),
        ("SELECT COUNT(*) FROM (SELECT * FROM Range(0, 3)) AS r", 3),
    ] {
        let found = rows(&mut client, sql).await;
        match sql.starts_with("EXPLAIN") {
            true => assert_eq!(found.num_rows(), expected as usize, "{sql}"),
            false => assert_eq!(number(&mut client, sql).await, expected, "{sql}"),
        }
    }
    let quoted = query(&mut client, "SELECT * FROM \"GENERATE_SERIES\"(1, 7)")
        .await
        .unwrap_err();
    assert_eq!(quoted.code(), tonic::Code::NotFound, "{quoted:?}");
    server.stop().await;
}

#[tokio::test]
async fn rows_are_right_and_types_plain() {
    let lake = TestLake::with_bars(90).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    assert_eq!(number(&mut client, "SELECT count(*) FROM gold.ohlcv_1m").await, 270);
    assert_eq!(
        number(&mut client, "SELECT count(*) FROM ohlcv_1m WHERE symbol = 'ETH-USDT'").await,
        90
    );
    assert_eq!(
        number(
            &mut client,
            "SELECT count(*) FROM ticklake.gold.ohlcv_1m WHERE date = '2026-01-01'"
        )
        .await,
        270
    );
    assert_eq!(
        number(
            &mut client,
            "SELECT count(*) FROM gold.ohlcv_1m WHERE date = '2026-01-02'"
        )
        .await,
        0
    );
    let latest = "SELECT symbol, window_start, open, trade_count, is_closed, date FROM gold.ohlcv_1m \
                  WHERE symbol = 'SOL-USDT' ORDER BY window_start DESC LIMIT 1";
    let rows = rows(&mut client, latest).await;
    assert_eq!(rows.num_rows(), 1);
    assert_eq!(rows.column(0).as_string::<i32>().value(0), "SOL-USDT");
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert_eq!(rows.schema().field(1).data_type(), &utc);
    let ts = rows
        .column(1)
        .as_primitive::<datafusion::arrow::datatypes::TimestampMicrosecondType>()
        .value(0);
    assert_eq!(ts, START_US + 89 * 60_000_000);
    assert_eq!(rows.schema().field(2).data_type(), &DataType::Decimal128(28, 12));
    server.stop().await;
}

#[tokio::test]
async fn a_limit_is_counted_and_shows_recent_rows() {
    let lake = TestLake::with_bars(90).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    for (sql, expected) in [
        ("SELECT count(*) FROM (SELECT * FROM gold.ohlcv_1m LIMIT 5)", 5),
        ("SELECT count(*) FROM (SELECT * FROM gold.ohlcv_1m LIMIT 100)", 100),
        (
            "SELECT count(*) FROM (SELECT * FROM gold.ohlcv_1m LIMIT 5 OFFSET 268)",
            2,
        ),
        (
            "SELECT count(*) FROM (SELECT * FROM gold.ohlcv_1m ORDER BY open LIMIT 7)",
            7,
        ),
    ] {
        assert_eq!(number(&mut client, sql).await, expected, "{sql}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_engines_own_types_are_announced_as_sent() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    client.set_header("x-ticklake-types", "arrow");
    // `rows` compares the schemas.
    for sql in [
        "SELECT arrow_cast(symbol, 'Dictionary(Int32, Utf8)') FROM gold.ohlcv_1m",
        "SELECT arrow_cast(make_array('a', 'b'), 'LargeList(Utf8View)') FROM gold.ohlcv_1m",
        "SELECT arrow_cast(symbol, 'Utf8View'), arrow_cast(symbol, 'LargeUtf8'), window_start FROM gold.ohlcv_1m",
        "SELECT make_array(arrow_cast(symbol, 'Dictionary(Int32, Utf8)')) FROM gold.ohlcv_1m",
    ] {
        assert_eq!(rows(&mut client, sql).await.num_rows(), 9, "{sql}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_chooses_its_profile() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let sql = "SELECT window_start, open, date, symbol FROM gold.ohlcv_1m";
    let types = async |headers: &[(&str, &str)]| {
        let mut client = server.client().await;
        for (name, value) in headers {
            client.set_header(*name, *value);
        }
        let schema = rows(&mut client, sql).await.schema();
        schema
            .fields()
            .iter()
            .map(|f| f.data_type().to_string())
            .collect::<Vec<_>>()
    };
    let grafana = ["Timestamp(ns, \"UTC\")", "Float64", "Timestamp(ns)", "Utf8"];
    assert_eq!(types(&[("x-ticklake-types", "grafana")]).await, grafana);
    assert_eq!(types(&[("database", "ticklake;types=grafana")]).await, grafana);
    assert_eq!(types(&[("x-ticklake-timestamp", "naive")]).await[0], "Timestamp(µs)");
    assert_eq!(
        types(&[("x-ticklake-timestamp", "ns")]).await[0],
        "Timestamp(ns, \"UTC\")"
    );
    let mut client = server.client().await;
    client.set_header("x-ticklake-types", "nonsense");
    let refused = query(&mut client, sql).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_lake_without_tables_answers_select_1() {
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    assert_eq!(number(&mut client, "SELECT 1").await, 1);
    assert_eq!(
        rows(
            &mut client,
            "SELECT * FROM information_schema.tables WHERE table_schema = 'gold'"
        )
        .await
        .num_rows(),
        0
    );
    server.stop().await;
}

/// The VWAP of a stretch, as everyone writes it: DataFusion's own division overflows whatever the sums are.
#[tokio::test]
async fn a_quotient_of_sums_fits() {
    let lake = TestLake::with_bars(90).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let vwap = "sum(quote_volume) / sum(volume)";
    for sql in [
        format!("SELECT {vwap} FROM gold.ohlcv_1m"),
        format!("SELECT symbol, {vwap} FROM gold.ohlcv_1m GROUP BY symbol ORDER BY {vwap} DESC"),
        format!("SELECT symbol FROM gold.ohlcv_1m GROUP BY symbol HAVING {vwap} > 0.5"),
        format!("SELECT {vwap} AS v FROM gold.ohlcv_1m GROUP BY quote_volume / volume, symbol ORDER BY v"),
        "SELECT quote_volume / volume, quote_volume / trade_count FROM gold.ohlcv_1m WHERE quote_volume / volume > 0.5 AND trade_count > 0".to_owned(),
        "SELECT sum(quote_volume / volume) OVER (ORDER BY window_start) / 2 FROM gold.ohlcv_1m WHERE symbol = 'BTC-USDT'".to_owned(),
        "SELECT CAST(1 AS DECIMAL(38, 22)) / CAST(3 AS DECIMAL(38, 10)), NULL / CAST(3 AS DECIMAL(38, 10))".to_owned(),
    ] {
        let found = rows(&mut client, &sql).await;
        assert!(found.num_rows() > 0, "{sql}");
    }
    let found = rows(&mut client, &format!("SELECT {vwap} FROM gold.ohlcv_1m")).await;
    assert_eq!(found.schema().field(0).data_type(), &DataType::Decimal128(38, 22));
    let named = found.schema().field(0).name().clone();
    assert!(named.contains("quote_volume) / sum("), "{named}");
    let text = "SELECT CAST(CAST(2 AS DECIMAL(38, 22)) / CAST(3 AS DECIMAL(38, 10)) AS VARCHAR)";
    let found = rows(&mut client, text).await;
    assert_eq!(found.column(0).as_string::<i32>().value(0), "0.6666666666666666666667");
    let error = query(
        &mut client,
        "SELECT quote_volume / (volume - volume) FROM gold.ohlcv_1m",
    )
    .await;
    assert!(error.unwrap_err().message().contains("ivide"), "a division by zero");
    server.stop().await;
}

/// Split by what their own rows hold, and views without what other rows hold.
#[tokio::test]
async fn rows_of_many_items_come_in_messages_that_clients_take() {
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    for (types, sql, wanted) in [
        (
            "strict",
            "SELECT value % 40 AS k, array_agg(value) FROM generate_series(1, 1000000) GROUP BY k",
            40,
        ),
        (
            "arrow",
            "SELECT arrow_cast(repeat('x', 300000 + value), 'Utf8View') FROM generate_series(1, 40)",
            40,
        ),
        (
            "arrow",
            "SELECT make_array(arrow_cast(repeat('x', 300000 + value), 'Utf8View')) FROM generate_series(1, 40)",
            40,
        ),
    ] {
        let mut client = server.client().await;
        client.set_header("x-ticklake-types", types);
        let info = describe(&mut client, sql).await.unwrap();
        let mut request = tonic::Request::new(ticket(&info));
        request
            .metadata_mut()
            .insert("x-ticklake-types", types.parse().unwrap());
        let mut raw = arrow_flight::flight_service_client::FlightServiceClient::new(server.channel().await);
        let mut frames = raw.do_get(request).await.unwrap().into_inner();
        let mut messages = 0;
        while let Some(frame) = frames.message().await.unwrap() {
            let bytes = frame.encoded_len();
            assert!(bytes <= 2 << 20, "{sql}: a message of {bytes} bytes");
            messages += 1;
        }
        assert!(messages > 4, "{sql}: {messages} messages");
        assert_eq!(rows(&mut client, sql).await.num_rows(), wanted, "{sql}");
    }
    let mut client = server.client().await;
    client.set_header("x-ticklake-types", "arrow");
    let refused = query(&mut client, "SELECT arrow_cast(repeat('x', 5000000), 'Utf8View')").await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::ResourceExhausted);
    server.stop().await;
}
