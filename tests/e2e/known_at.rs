//! `ohlcv_known_at`: what a study may know at an instant, through the server.

use std::path::Path;
use std::time::Duration;

use crate::process::{Running, eventually, stdout, ticklake};
use crate::roles::address;

const HEADER: &str = "venue,symbol,trade_id,seq,price,qty,side,ts\n";
/// 2025-01-01 00:00.
const START_US: i64 = 1_735_689_600_000_000;

fn load(folder: &Path, name: &str, trades: &[(i64, i64, &str)]) {
    let line = |(id, second, price): &(i64, i64, &str)| {
        format!("v,A-B,{id},{id},{price},1,buy,{}\n", START_US + second * 1_000_000)
    };
    let lines: String = trades.iter().map(line).collect();
    std::fs::write(folder.join(name), format!("{HEADER}{lines}")).unwrap();
    stdout(folder, &["backfill", "--format", "csv", name, "--lake", "lake"]);
}

#[test]
fn bars_are_read_as_they_were_known_at_an_instant() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    load(folder, "first.csv", &[(1, 10, "100"), (2, 70, "200"), (3, 130, "300")]);
    let serve = Running::start(ticklake(folder).args(["serve", "--lake", "lake", "--flight-addr", "127.0.0.1:0"]));
    let server = address(&serve);
    let rows = |sql: &str| {
        let text = stdout(folder, &["query", "--server", &server, "--format", "csv", sql]);
        text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let computed_at = |at: &str| {
        let sql = format!("SELECT CAST(CAST({at}(computed_at) AS TIMESTAMP) AS VARCHAR) FROM gold.ohlcv_1m");
        rows(&sql).remove(0)
    };
    let known = |at: &str| {
        rows(&format!(
            "SELECT date_part('minute', window_start), CAST(close AS INT), trade_count, revision \
             FROM ohlcv_known_at('gold.ohlcv_1m', TIMESTAMP '{at}') ORDER BY window_start"
        ))
    };
    let first = ["0,100,1,1", "1,200,1,1", "2,300,1,1"];
    let at_first = computed_at("max");
    assert_eq!(known(&at_first), first);
    assert_eq!(known("2025-01-02 00:00:00"), [""; 0], "before anything was computed");

    // A trade that comes late corrects a closed bar, and closes the newest one.
    load(folder, "late.csv", &[(4, 20, "150"), (5, 200, "400")]);
    let at_second = eventually("the corrected bar", Duration::from_secs(20), || {
        Some(computed_at("max")).filter(|at| *at > at_first)
    });
    let second = ["0,150,2,2", "1,200,1,1", "2,300,1,2", "3,400,1,1"];
    assert_eq!(known(&at_second), second);
    assert_eq!(known("2100-01-01 00:00:00"), second);
    // No look-ahead: the corrected close does not show. The bar that was open is known from its closing on, for its open states are not kept.
    assert_eq!(known(&at_first), first[..2]);
    let joined = rows(&format!(
        "SELECT count(*) FROM ohlcv_known_at('gold.ohlcv_1m', TIMESTAMP '{at_first}') a \
         JOIN gold.ohlcv_1m b USING (symbol, window_start) WHERE a.close <> b.close"
    ));
    assert_eq!(joined, ["1"]);
    serve.terminate();
}
