//! The committed recordings, replayed whole.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use ticklake_sql::Clock;
use tokio_util::sync::CancellationToken;

use super::super::FeedStatus;
use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

/// Records of a replay, and what its status counted.
async fn replayed(options: ReplayOptions) -> (Vec<(String, String)>, Value) {
    let context = FeedContext {
        clock: Clock::system(),
        status: Arc::new(FeedStatus::default()),
        shutdown: CancellationToken::new(),
    };
    let (sink, mut batches) = Sink::new(Arc::clone(&context.status));
    let feed = tokio::spawn(super::super::run(
        super::super::FeedOptions::Replay(options),
        sink,
        context.clone(),
    ));
    let mut records = Vec::new();
    while let Some(batch) = batches.recv().await {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        records.extend(batch.records().map(|(key, value)| (text(key), text(value))));
    }
    feed.await.unwrap().unwrap();
    (records, context.status.snapshot())
}

fn trades(records: &[(String, String)]) -> Vec<Value> {
    records
        .iter()
        .map(|(_, value)| serde_json::from_str(value).unwrap())
        .collect()
}

fn count_by(trades: &[Value], field: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for trade in trades {
        *counts.entry(trade[field].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn the_eleven_thousand_trades_come_through_with_exact_text_and_no_gap() {
    let (records, status) = replayed(ReplayOptions::new(fixture("binance-spot-2025/trades.jsonl.gz"))).await;
    let trades = trades(&records);
    let expected =
        [("BTC-USDT", 6_770), ("ETH-USDT", 1_805), ("SOL-USDT", 2_457)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(count_by(&trades, "symbol"), BTreeMap::from(expected));
    assert_eq!(
        (&status["gaps"], &status["repeats"], &status["undecoded"]),
        (&0.into(), &0.into(), &0.into())
    );
    let first = &trades[0];
    assert_eq!(records[0].0, "binance-spot:BTC-USDT");
    assert_eq!(
        (first["trade_id"].as_str(), first["seq"].as_i64()),
        (Some("4744868157"), Some(4_744_868_157))
    );
    assert_eq!(
        (first["price"].as_str(), first["qty"].as_str()),
        (Some("87232.0"), Some("0.00012"))
    );
    assert_eq!(
        (first["ts"].as_i64(), first["received_at"].as_i64()),
        (Some(1_742_944_020_715_000), Some(1_742_944_020_847_021))
    );
    assert_eq!(
        (first["side"].as_str(), first["source"].as_str()),
        (Some("sell"), Some("replay"))
    );
}

#[tokio::test]
async fn recorded_binance_sessions_go_through_the_live_decoder() {
    let (records, status) = replayed(ReplayOptions::new(fixture("ws-sessions/binance.jsonl.zst"))).await;
    let spot = trades(&records);
    assert_eq!(status["frames"], 74, "every received frame is looked at");
    assert_eq!(spot.len(), 2);
    assert_eq!(
        (spot[0]["symbol"].as_str(), spot[0]["kind"].as_str()),
        (Some("NKN-USDT"), Some("agg"))
    );
    assert_eq!(
        (spot[0]["count"].as_i64(), spot[0]["received_at"].as_i64()),
        (Some(1), Some(1_633_998_523_957_215))
    );

    let (records, status) = replayed(ReplayOptions::new(fixture("ws-sessions/binance-usdm.jsonl.zst"))).await;
    let futures = trades(&records);
    assert_eq!(futures.len(), 91);
    assert_eq!(status["gaps"], 0);
    assert_eq!(
        count_by(&futures, "venue"),
        BTreeMap::from([("binance-usdm".to_owned(), 91)])
    );
    assert!(count_by(&futures, "symbol").contains_key("SUSHI-USDT"));
}

#[tokio::test]
async fn a_recorded_coinbase_session_has_contiguous_ids_and_raw_text() {
    let (records, status) = replayed(ReplayOptions::new(fixture("ws-sessions/coinbase.jsonl.zst"))).await;
    let trades = trades(&records);
    assert_eq!(
        (trades.len(), &status["gaps"], &status["repeats"]),
        (279, &0.into(), &0.into())
    );
    assert!(trades.iter().all(|trade| {
        trade["raw"]
            .as_str()
            .unwrap()
            .contains(trade["trade_id"].as_str().unwrap())
    }));
}

#[tokio::test]
async fn a_second_replay_gives_the_same_bytes_and_symbols_can_be_chosen() {
    let options = ReplayOptions::new(fixture("ws-sessions/coinbase.jsonl.zst"));
    let (all, _) = replayed(options.clone()).await;
    assert_eq!(all, replayed(options.clone()).await.0);
    let (chosen, _) = replayed(ReplayOptions {
        symbols: vec!["ETH-USD".to_owned()],
        ..options
    })
    .await;
    assert_eq!(
        chosen.len(),
        all.iter().filter(|(key, _)| key == "coinbase:ETH-USD").count()
    );
}

#[tokio::test]
async fn a_frame_that_does_not_decode_is_handed_on_whole() {
    let broken = r#"{"e":"trade","s":"BTCUSDT","t":"seven"}"#;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, r#"{{"t":"header","exchange":"BINANCE"}}"#).unwrap();
    for data in [
        broken,
        r#"{"e":"trade","s":"BTCUSDT","t":7,"p":"1","q":"2","T":1735689600123456,"m":true}"#,
    ] {
        writeln!(
            file,
            "{}",
            serde_json::json!({ "t": "recv", "ts": 1735689600.5, "data": data })
        )
        .unwrap();
    }
    let (records, status) = replayed(ReplayOptions::new(file.path())).await;
    assert_eq!(records[0], ("binance-spot:undecoded".to_owned(), broken.to_owned()));
    assert_eq!(
        (records.len(), &status["undecoded"], &status["trades"]),
        (2, &1.into(), &1.into())
    );
}

#[tokio::test]
async fn at_the_recorded_pace_a_shutdown_ends_it() {
    let context = FeedContext {
        clock: Clock::system(),
        status: Arc::new(FeedStatus::default()),
        shutdown: CancellationToken::new(),
    };
    let (sink, mut batches) = Sink::new(Arc::clone(&context.status));
    let options = ReplayOptions {
        real_time: true,
        ..ReplayOptions::new(fixture("binance-spot-2025/trades.jsonl.gz"))
    };
    let feed = tokio::spawn(run(options, sink, context.clone()));
    let first = tokio::time::timeout(Duration::from_secs(10), batches.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(first.len() < 100, "three minutes of trades do not come at once");
    context.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), feed)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[test]
fn what_cannot_be_replayed_is_said_with_the_file() {
    let error = ReplayOptions::new("/nonexistent/x.jsonl").check().unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::NotFound);
    assert!(error.to_string().contains("/nonexistent/x.jsonl"), "{error}");
    for content in [
        "",
        "hello\n",
        "{\"t\":\"recv\"}\n",
        "{\"t\":\"header\",\"exchange\":\"NASDAQ\"}\n",
        "{\"t\":\"header\"}\n",
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let error = ReplayOptions::new(file.path()).check().unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Data, "{content}: {error}");
    }
}
