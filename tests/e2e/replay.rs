//! Recorded trades of real venues through Kafka, bronze, silver and gold: every bar equals a naive fold of the file itself.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::broker::Broker;
use crate::lake::{LakeFolder, Trade, assert_bars_equal_the_fold};
use crate::process::stdout;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Replays `file` into a lake of its own; returns the lake's folder and how many records bronze holds.
fn replay(folder: &Path, file: &Path) -> PathBuf {
    let broker = Broker::start(folder);
    let lake = folder.join("lake");
    let feed = format!("replay={}", file.display());
    let kafka = ["--bootstrap-servers", &broker.addr, "--topic", &broker.topic];
    let lake_flag = ["--lake", lake.to_str().unwrap()];
    for times in 0..2 {
        // The second time finds everything in its place.
        stdout(folder, &[&["produce", "--feed", &feed][..], &kafka].concat());
        stdout(
            folder,
            &[&["ingest", "--until-latest"][..], &kafka, &lake_flag].concat(),
        );
        stdout(folder, &[&["refresh"][..], &lake_flag].concat());
        let records = LakeFolder(lake.clone()).assert_bronze_is_exact();
        assert!(
            records > 0 && records.is_multiple_of(times + 1),
            "{records} records after {} replays",
            times + 1
        );
    }
    // Computed again from bronze, everything is what it was.
    let everything = ["rebuild", "--from", "2000-01-01", "--to", "2100-01-01"];
    let told = stdout(folder, &[&everything[..], &lake_flag].concat());
    assert!(
        told.contains("silver.trades") && told.contains("gold.ohlcv_5m"),
        "{told}"
    );
    lake
}

/// Text of a decimal as an integer of `scale` decimals, by hand.
fn scaled(text: &str, scale: usize) -> i128 {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    assert!(decimals.len() <= scale, "{text} has more than {scale} decimals");
    format!("{whole}{decimals:0<scale$}").parse().unwrap()
}

fn micros(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
}

fn decompressed(path: &Path) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    text
}

/// The number as it is written in the line, so that no float stands in between.
fn number<'a>(line: &'a str, key: &str) -> &'a str {
    let rest = &line[line.find(&format!("\"{key}\":")).unwrap() + key.len() + 3..];
    &rest[..rest.find([',', '}']).unwrap()]
}

#[test]
fn eleven_thousand_binance_trades() {
    let path = fixture("binance-spot-2025/trades.jsonl.gz");
    let symbols = ["BTC-USDT", "ETH-USDT", "SOL-USDT"];
    let text = decompressed(&path);
    let trades: Vec<Trade> = text
        .lines()
        .map(|line| {
            let item: Value = serde_json::from_str(line).unwrap();
            let (item, trade) = (&item["Item"], &item["Item"]["kind"]["Trade"]);
            let id = trade["id"].as_str().unwrap();
            Trade {
                venue: "binance-spot".to_owned(),
                symbol: symbols[item["instrument"].as_u64().unwrap() as usize].to_owned(),
                ts_us: micros(item["time_exchange"].as_str().unwrap()),
                seq: id.parse().unwrap(),
                trade_id: id.to_owned(),
                price: scaled(number(line, "price"), 12),
                qty: scaled(number(line, "amount"), 10),
                buy: trade["side"] == "Buy",
                count: 1,
            }
        })
        .collect();
    assert_eq!(trades.len(), 11_032);

    let folder = tempfile::tempdir().unwrap();
    let lake = replay(folder.path(), &path);
    assert_eq!(LakeFolder(lake.clone()).assert_silver_is_unique(), trades.len());
    assert_eq!(LakeFolder(lake.clone()).count("silver.quarantine", "rule"), 0);
    assert_bars_equal_the_fold(&lake, &trades);
}

/// Frames of a recorded WebSocket session (`recv` lines).
fn frames(path: &Path) -> Vec<Value> {
    let text = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    let lines = String::from_utf8(text).unwrap();
    let recorded = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["t"] == "recv");
    recorded
        .map(|line| serde_json::from_str(line["data"].as_str().unwrap()).unwrap())
        .collect()
}

/// What silver holds is what the frames say, trade by trade.
fn assert_silver_is(lake: &Path, mut expected: Vec<(String, String, i64, i128, i128, bool)>) {
    let mut found: Vec<_> = LakeFolder(lake.to_owned())
        .silver()
        .into_iter()
        .map(|trade| {
            (
                trade.symbol,
                trade.trade_id,
                trade.ts_us,
                trade.price,
                trade.qty,
                trade.buy,
            )
        })
        .collect();
    found.sort();
    expected.sort();
    expected.dedup();
    assert_eq!(found, expected);
}

#[test]
fn recorded_binance_sessions() {
    for (name, count) in [
        ("ws-sessions/binance.jsonl.zst", 2),
        ("ws-sessions/binance-usdm.jsonl.zst", 91),
    ] {
        let path = fixture(name);
        let symbol = |pair: &str| {
            ["USDT", "BTC", "ETH", "EUR"]
                .iter()
                .find_map(|quote| Some(format!("{}-{quote}", pair.strip_suffix(quote)?)))
        };
        let expected: Vec<_> = frames(&path)
            .iter()
            .map(|frame| &frame["data"])
            .filter(|data| data["e"] == "aggTrade")
            .map(|data| {
                let text = |key: &str| data[key].as_str().unwrap();
                let symbol = symbol(text("s")).unwrap();
                let ts_us = data["T"].as_i64().unwrap() * 1_000;
                (
                    symbol,
                    data["a"].to_string(),
                    ts_us,
                    scaled(text("p"), 12),
                    scaled(text("q"), 10),
                    data["m"] == false,
                )
            })
            .collect();
        assert_eq!(expected.len(), count, "{name}");
        let folder = tempfile::tempdir().unwrap();
        // These streams hold aggregates alone, so bars are made of them.
        let kinds = "[jobs.kinds]\nbinance-spot = 'agg'\nbinance-usdm = 'agg'\n";
        std::fs::write(folder.path().join("ticklake.toml"), kinds).unwrap();
        let lake = replay(folder.path(), &path);
        assert_silver_is(&lake, expected);
        let silver = LakeFolder(lake.clone()).silver();
        let frames = frames(&path);
        let aggregates = frames
            .iter()
            .map(|frame| &frame["data"])
            .filter(|data| data["e"] == "aggTrade");
        let fills = aggregates.map(|data| data["l"].as_i64().unwrap() - data["f"].as_i64().unwrap() + 1);
        assert_eq!(
            silver.iter().map(|trade| trade.count).sum::<i64>(),
            fills.sum::<i64>(),
            "{name}: aggregates count their fills"
        );
        assert_bars_equal_the_fold(&lake, &silver);
    }
}

#[test]
fn a_recorded_coinbase_session() {
    let path = fixture("ws-sessions/coinbase.jsonl.zst");
    let expected: Vec<_> = frames(&path)
        .iter()
        .filter(|frame| frame["channel"] == "market_trades")
        .flat_map(|frame| frame["events"].as_array().unwrap().clone())
        .flat_map(|event| event["trades"].as_array().unwrap().clone())
        .map(|trade| {
            let text = |key: &str| trade[key].as_str().unwrap().to_owned();
            // Coinbase names the maker's side.
            (
                text("product_id"),
                text("trade_id"),
                micros(&text("time")),
                scaled(&text("price"), 12),
                scaled(&text("size"), 10),
                text("side") == "SELL",
            )
        })
        .collect();
    assert_eq!(expected.len(), 279);
    let folder = tempfile::tempdir().unwrap();
    let lake = replay(folder.path(), &path);
    assert_silver_is(&lake, expected);
    assert_bars_equal_the_fold(&lake, &LakeFolder(lake.clone()).silver());
}
