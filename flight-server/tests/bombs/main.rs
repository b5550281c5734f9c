//! Statements of a few bytes that ask for gigabytes, or for hours of one function: refused before they run, or ended while they run, and
//! other clients have their answers meanwhile.
//!
//! Memory and answer times are those of the process, so these tests have one of their own and run in turn.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use ticklake_flight_server::ServerOptions;
use tokio::sync::Mutex;
use tonic::Code;

use fixture::*;

#[allow(dead_code, unused_imports)] // these tests use a part
#[path = "../it/fixture.rs"]
mod fixture;

/// Held by the test whose turn it is.
static TURN: Mutex<()> = Mutex::const_new(());

/// What a batch of a statement that is refused may have made until then, and what the process takes.
const MARGIN_BYTES: u64 = 1_500 << 20;

/// The process's peak of memory since [`forget_peak`].
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

#[tokio::test]
async fn what_would_make_gigabytes_is_refused_before_it_runs() {
    let _turn = TURN.lock().await;
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let columns = |one: &str, times: usize| vec![one; times].join(", ");
    let mut nested = "'0123456789'".to_owned();
    for _ in 0..35 {
        nested = format!("encode({nested}, 'hex')");
    }
    let mut doubled = "WITH c0 AS (SELECT CAST(value AS VARCHAR) AS v FROM generate_series(1, 8))".to_owned();
    for i in 1..40 {
        doubled += &format!(", c{i} AS (SELECT v || v AS v FROM c{})", i - 1);
    }
    forget_peak();
    for sql in [
        "SELECT length(replace(repeat('a', 1000000), 'a', repeat('b', 1000000)))".to_owned(),
        "SELECT length(replace(repeat('a', 1000000 + CAST(value AS INT)), 'a', repeat('b', 60000))) FROM generate_series(1, 3)".to_owned(),
        "SELECT length(regexp_replace(repeat('a', 1000000), 'a', repeat('b', 1000000), 'g'))".to_owned(),
        "SELECT length(regexp_replace(repeat('a', 1000000), '(a*)', repeat('\\1', 1000)))".to_owned(),
        format!("SELECT length(concat({}))", columns("repeat('a', 10000000 + CAST(value AS INT))", 400)) + " FROM generate_series(1, 2)",
        format!(
            "SELECT {}",
            (0..400).map(|i| format!("repeat('a', {})", 60_000_000 + i)).collect::<Vec<_>>().join(", ")
        ),
        format!(
            "SELECT {} FROM generate_series(1, 8192)",
            (0..100).map(|i| format!("repeat('a', {} + CAST(value AS INT) % 2)", 8_000 + i)).collect::<Vec<_>>().join(", ")
        ),
        format!("SELECT length(concat_ws(repeat('-', 1000000), {}))", columns("'a'", 3_000)),
        format!("SELECT length({nested})"),
        format!("{doubled} SELECT max(length(v)) FROM c39"),
        format!("SELECT array_length([{}])", columns("range(4000000)", 200)),
        "SELECT length(array_to_string(range(1000000), repeat('-', 100000)))".to_owned(),
        "SELECT array_length(array_replace_all(array_repeat('a', 1000000), 'a', repeat('b', 100000)))".to_owned(),
        "SELECT length(overlay('a' PLACING repeat('b', 60000) FROM 1)) FROM (SELECT 1) x".to_owned()
            + " WHERE length(lpad('x', 2000000000)) > 0",
        "SELECT to_char(now(), repeat('%A', 30000000))".to_owned(),
        // One value for each row of a batch.
        "SELECT range(4000000), value FROM generate_series(1, 100000)".to_owned(),
        "SELECT arrow_cast(repeat('a', 100000000), 'LargeUtf8'), value FROM generate_series(1, 100000)".to_owned(),
        "SELECT count(w) FROM (SELECT repeat('a', 100000000 + CAST(value AS INT)) AS w FROM generate_series(1, 1)) a CROSS JOIN \
         generate_series(1, 100000) b WHERE length(w) + b.value > 0".to_owned(),
        "SELECT count(w || CAST(i AS VARCHAR)) FROM (SELECT unnest(range(0, 4000000 + value)) AS i, repeat('a', CAST(value AS INT) + 1000) AS w \
         FROM generate_series(1, 1))".to_owned(),
        format!("SELECT '{}', value FROM generate_series(1, 100000)", "x".repeat(900_000)),
        // Values of a fixed size.
        "SELECT array_length(TRY_CAST([1] AS INT[1000000000]))".to_owned(),
        "SELECT arrow_try_cast('a', 'FixedSizeBinary(2000000000)')".to_owned(),
    ] {
        let refused = query(&mut client, &sql).await.expect_err(&sql[..sql.len().min(200)]);
        let limit = [Code::ResourceExhausted, Code::InvalidArgument];
        assert!(limit.contains(&refused.code()), "{}: {refused:?}", &sql[..sql.len().min(200)]);
    }
    assert!(peak_bytes() < (1 << 30) + MARGIN_BYTES, "{}", peak_bytes());
    server.stop().await;
}

#[tokio::test]
async fn what_takes_little_is_computed_within_the_same_bounds() {
    let _turn = TURN.lock().await;
    let lake = TestLake::with_bars(50).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    for (sql, expected) in [
        (
            "SELECT CAST(length(replace(repeat('ab', 40000), 'a', 'xyz')) AS BIGINT)",
            160_000,
        ),
        (
            "SELECT CAST(sum(length(replace(symbol, '-', '--'))) AS BIGINT) FROM gold.ohlcv_1m",
            150 * 9,
        ),
        // More than is allowed at once by the estimate, and far less in truth.
        (
            "SELECT CAST(sum(length(replace(symbol, '/', repeat('-', 60000)))) AS BIGINT) FROM gold.ohlcv_1m",
            150 * 8,
        ),
        (
            "SELECT CAST(sum(length(regexp_replace(symbol, '[A-Z]', '<\\0>', 'g'))) AS BIGINT) FROM gold.ohlcv_1m",
            150 * 22,
        ),
        (
            "SELECT count(*) FROM gold.ohlcv_1m WHERE symbol || '/' || venue = 'BTC-USDT/sim'",
            50,
        ),
        (
            "SELECT count(*) FROM gold.ohlcv_1m WHERE symbol LIKE 'BTC%' AND symbol ~ '^[A-Z]{3}-' AND symbol SIMILAR TO '.*USDT'",
            50,
        ),
        (
            "SELECT count(*) FROM gold.ohlcv_1m WHERE symbol LIKE substr(symbol, 1, 3) || '%'",
            150,
        ),
        (
            "SELECT count(*) FROM gold.ohlcv_1m WHERE levenshtein(symbol, 'BTC-USDT') < 1",
            50,
        ),
        (
            "SELECT count(*) FROM gold.ohlcv_1m WHERE array_has_all(make_array(symbol, venue), [symbol])",
            150,
        ),
        (
            "SELECT count(*) FROM (SELECT unnest(range(0, 1000)), symbol FROM gold.ohlcv_1m)",
            150_000,
        ),
        (
            "SELECT CAST(array_length(array_concat([1, 2], [3], make_array(4))) AS BIGINT)",
            4,
        ),
    ] {
        assert_eq!(number(&mut client, sql).await, expected, "{sql}");
    }
    // Named as DataFusion names them.
    let shown = rows(
        &mut client,
        "SELECT symbol || '!', symbol LIKE 'B%' FROM gold.ohlcv_1m LIMIT 1",
    )
    .await;
    let schema = shown.schema();
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert!(names[0].contains("||") && names[1].contains("LIKE"), "{names:?}");
    assert!(!names.concat().contains("checked_pattern"), "{names:?}");
    server.stop().await;
}

#[tokio::test]
async fn what_would_compute_for_hours_in_one_call_is_refused() {
    let _turn = TURN.lock().await;
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    for sql in [
        "SELECT levenshtein(repeat('a', 200000), repeat('b', 200000))",
        "SELECT sum(levenshtein(repeat('a', 10000 + CAST(value AS INT)), repeat('b', 10000))) FROM generate_series(1, 8192)",
        "SELECT array_has_all(range(0, 1000000 + value), range(2000000, 3000000 + value)) FROM generate_series(1, 2)",
        "SELECT array_has_any(range(0, 1000000 + value), range(2000000, 3000000 + value)) FROM generate_series(1, 2)",
    ] {
        let started = Instant::now();
        let refused = query(&mut client, sql).await.expect_err(sql);
        assert_eq!(refused.code(), Code::ResourceExhausted, "{sql}: {refused:?}");
        assert!(refused.message().contains("steps"), "{sql}: {refused:?}");
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{sql}: {:?}",
            started.elapsed()
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn patterns_are_short_small_and_few() {
    let _turn = TURN.lock().await;
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let per_row = "'(a{1,30}){1,30}' || CAST(value AS VARCHAR)";
    let from = "FROM generate_series(1, 100000)";
    forget_peak();
    for (sql, code) in [
        (
            format!("SELECT count(*) {from} WHERE regexp_like('aaa', {per_row})"),
            Code::ResourceExhausted,
        ),
        (
            format!("SELECT count(*) {from} WHERE 'aaa' ~ ({per_row})"),
            Code::ResourceExhausted,
        ),
        (
            format!("SELECT count(*) {from} WHERE 'aaa' !~* ({per_row})"),
            Code::ResourceExhausted,
        ),
        (
            format!("SELECT count(*) {from} WHERE 'aaa' SIMILAR TO ({per_row})"),
            Code::ResourceExhausted,
        ),
        (
            format!("SELECT sum(regexp_count('aaa', {per_row})) {from}"),
            Code::ResourceExhausted,
        ),
        (
            format!("SELECT sum(regexp_instr('aaa', {per_row})) {from}"),
            Code::ResourceExhausted,
        ),
        (
            format!("SELECT max(regexp_replace('aaa', {per_row}, 'b')) {from}"),
            Code::ResourceExhausted,
        ),
        (
            format!("SELECT count(regexp_match('aaa', {per_row})) {from}"),
            Code::ResourceExhausted,
        ),
        (
            format!("SELECT count(*) {from} WHERE 'aaa' LIKE '%a%' || CAST(value AS VARCHAR)"),
            Code::ResourceExhausted,
        ),
        (
            format!("SELECT count(*) {from} WHERE 'aaa' ILIKE '%a%' || CAST(value AS VARCHAR)"),
            Code::ResourceExhausted,
        ),
        (
            format!(
                "SELECT count(*) {from} WHERE regexp_like('a', '(a{{1,300}}){{1,300}}' || CAST(value % 2 AS VARCHAR))"
            ),
            Code::InvalidArgument,
        ),
        (
            format!("SELECT count(*) {from} WHERE CAST(value AS VARCHAR) ~ '(a{{1,300}}){{1,300}}'"),
            Code::InvalidArgument,
        ),
        (
            format!(
                "SELECT count(*) {from} WHERE CAST(value AS VARCHAR) LIKE '{}'",
                "%a".repeat(10_000)
            ),
            Code::InvalidArgument,
        ),
        (
            format!("SELECT count(*) {from} WHERE regexp_like(CAST(value AS VARCHAR), 'a', 'i)(a{{1,1000}}')"),
            Code::InvalidArgument,
        ),
    ] {
        let refused = query(&mut client, &sql).await.expect_err(&sql[..sql.len().min(200)]);
        assert_eq!(refused.code(), code, "{}: {refused:?}", &sql[..sql.len().min(200)]);
    }
    assert!(peak_bytes() < (1 << 30) + MARGIN_BYTES, "{}", peak_bytes());
    server.stop().await;
}

/// Ten seconds and more of one call after the other inside one projection of one batch, each just within its bound.
fn blocking() -> String {
    blocking_for(40, 9_900)
}

/// Each call differs, so that none is computed once for all.
fn blocking_for(calls: usize, length: usize) -> String {
    let call = |i| {
        format!(
            "levenshtein(repeat('a', {length} + CAST(value AS INT)), repeat('b', {}))",
            length - i
        )
    };
    let calls: Vec<_> = (0..calls).map(call).collect();
    format!("SELECT {} FROM generate_series(1, 1)", calls.join(" + "))
}

#[tokio::test]
async fn a_computation_that_never_looks_up_ends_for_its_client_and_keeps_its_place() {
    let _turn = TURN.lock().await;
    let options = ServerOptions {
        query_threads: 1,
        max_running: 2,
        query_timeout: Duration::from_secs(2),
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    let mut client = server.client().await;
    let info = describe(&mut client, &blocking()).await.unwrap();
    let started = Instant::now();
    let bomb = tokio::spawn(async move { fetch(&mut client, ticket(&info)).await });
    let mut other = server.client().await;
    let running = "SELECT count(*) FROM system.queries WHERE state = 'running' AND sql LIKE '%levenshtein(%' AND sql NOT LIKE '%system.%'";
    eventually("it runs", async || number(&mut other, running).await == 1).await;
    // Its one thread is taken; whatever needs none of it is answered.
    let mut slowest = Duration::ZERO;
    while !bomb.is_finished() {
        for sql in ["SELECT 1", "SELECT count(*) FROM information_schema.tables", running] {
            let asked = Instant::now();
            number(&mut other, sql).await;
            slowest = slowest.max(asked.elapsed());
        }
    }
    let ended = started.elapsed();
    let refused = bomb.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    assert!(ended < Duration::from_secs(4), "{ended:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // It has its place until it has really ended.
    assert_eq!(number(&mut other, running).await, 1);
    let gone = "SELECT count(*) FROM system.queries WHERE outcome = 'DeadlineExceeded' AND sql LIKE '%levenshtein(%'";
    let deadline = Instant::now() + Duration::from_secs(120);
    while number(&mut other, gone).await == 0 {
        assert!(Instant::now() < deadline, "it never ends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn joins_of_every_kind_end_soon_after_they_are_cancelled() {
    let _turn = TURN.lock().await;
    let options = ServerOptions {
        max_running: 1,
        query_timeout: Duration::from_millis(700),
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    let mut client = server.client().await;
    let (a, b) = ("generate_series(1, 1000000) a", "generate_series(1, 1000000) b");
    for sql in [
        // Ten to a hundred billion pairs of which a filter keeps none.
        format!("SELECT count(*) FROM {a} JOIN {b} ON a.value % 2 = b.value % 2 AND a.value + b.value < 0"),
        format!("SELECT count(*) FROM {a} LEFT JOIN {b} ON a.value % 2 = b.value % 2 AND a.value + b.value < 0"),
        format!("SELECT count(*) FROM {a} FULL JOIN {b} ON a.value % 2 = b.value % 2 AND a.value + b.value < 0"),
        format!(
            "SELECT count(*) FROM {a} WHERE a.value % 2 IN (SELECT b.value % 2 FROM {b} WHERE a.value + b.value < 0)"
        ),
        format!("SELECT count(*) FROM {a} WHERE a.value % 2 NOT IN (SELECT b.value % 2 FROM {b} WHERE b.value > 0)"),
        // Of which it is only asked whether there is one.
        format!("SELECT count(*) FROM {a} LEFT SEMI JOIN {b} ON a.value % 2 = b.value % 2"),
        format!("SELECT count(*) FROM {a} RIGHT SEMI JOIN {b} ON a.value % 2 = b.value % 2"),
        format!("SELECT count(*) FROM {a} LEFT ANTI JOIN {b} ON a.value % 2 = b.value % 2"),
        format!("SELECT count(*) FROM {a} RIGHT ANTI JOIN {b} ON a.value % 2 = b.value % 2"),
        format!(
            "SELECT count(*) FROM {a} WHERE a.value < 0 OR EXISTS (SELECT 1 FROM {b} WHERE a.value % 2 = b.value % 2)"
        ),
        // All of which go on to a filter or a sum.
        format!("SELECT count(*) FROM {a} JOIN {b} ON a.value % 2 = b.value % 2"),
        format!("SELECT sum(a.value) FROM {a} CROSS JOIN {b}"),
        format!("SELECT count(*) FROM {a} JOIN {b} ON a.value + b.value < 0"),
        format!("SELECT count(*) FROM {a} LEFT ANTI JOIN {b} ON a.value + b.value < 0"),
    ] {
        let started = Instant::now();
        let refused = query(&mut client, &sql).await.expect_err(&sql);
        assert_eq!(refused.code(), Code::DeadlineExceeded, "{sql}: {refused:?}");
        let told = started.elapsed();
        // There is one place: this one has it once the other's tasks have ended.
        eventually("the place is free", async || {
            query(&mut client, "SELECT 1").await.is_ok()
        })
        .await;
        let freed = started.elapsed();
        assert!(
            told < Duration::from_millis(2_500) && freed < Duration::from_millis(3_500),
            "{sql}: {told:?} {freed:?}"
        );
    }
    server.stop().await;
}

/// The slowest answer that a client of its own has until `done`.
async fn slowest_answer(mut client: Client, done: tokio::sync::watch::Receiver<bool>) -> (Duration, usize) {
    let (mut slowest, mut answers) = (Duration::ZERO, 0);
    while !*done.borrow() {
        for sql in [
            "SELECT 1",
            "SELECT count(*) FROM information_schema.tables",
            "SELECT count(*) FROM gold.ohlcv_1m",
        ] {
            let asked = Instant::now();
            assert!(number(&mut client, sql).await > 0, "{sql}");
            slowest = slowest.max(asked.elapsed());
            answers += 1;
        }
    }
    (slowest, answers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_other_client_keeps_its_answer_times_and_memory_its_ceiling() {
    let _turn = TURN.lock().await;
    // Of queries; what is above it is the process, the footers and the network.
    const CEILING_BYTES: usize = 64 << 20;
    let lake = TestLake::with_bars(50).await;
    let options = ServerOptions {
        query_threads: 2,
        memory_bytes: CEILING_BYTES,
        spill_bytes: 16 << 20,
        ..Default::default()
    };
    let server = lake.serve(options).await;
    let mut client = server.client().await;
    client.set_header("grpc-timeout", "1500m");
    forget_peak();
    for sql in [
        "SELECT sum(value) FROM generate_series(1, 9223372036854775807)".to_owned(),
        "SELECT value % 1000003, array_agg(value) FROM generate_series(1, 9223372036854775807) GROUP BY 1".to_owned(),
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r".to_owned(),
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT r.n + 1 FROM r, generate_series(1, 1000)) SELECT count(*) FROM r".to_owned(),
        "SELECT count(*) FROM generate_series(1, 300000) a, generate_series(1, 300000) b, generate_series(1, 300000) c WHERE a.value + b.value < c.value".to_owned(),
        "SELECT count(*) FROM generate_series(1, 100000000) WHERE regexp_like(repeat('a', 2000) || CAST(value AS VARCHAR), '(a?){50}(a|aa)*b')".to_owned(),
        format!("SELECT {}1{}", "(".repeat(200_000), ")".repeat(200_000)),
        format!("SELECT 1{}", " + 1".repeat(200_000)),
        format!("SELECT 1 IN ({}1)", "1,".repeat(500_000)),
        format!("SELECT '{}'", "x".repeat(10 << 20)),
        blocking_for(6, 9_900),
    ] {
        let (tell, done) = tokio::sync::watch::channel(false);
        let probe = tokio::spawn(slowest_answer(server.client().await, done));
        for _ in 0..2 {
            // Most are refused; one may be done in time.
            let _refused = query(&mut client, &sql).await;
        }
        tell.send(true).unwrap();
        let (slowest, answers) = probe.await.unwrap();
        assert!(answers > 0 && slowest < Duration::from_secs(3), "{}: {slowest:?}", &sql[..sql.len().min(100)]);
    }
    let peak = peak_bytes();
    assert!(peak < CEILING_BYTES as u64 + MARGIN_BYTES, "{peak}");
    server.stop().await;
}
