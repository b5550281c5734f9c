//! Historical files through the binary: what reaches silver and gold equals a naive fold of the files themselves.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::lake::{LakeFolder, Trade, assert_bars_equal_the_fold};
use crate::process::{Running, output, stdout, ticklake};

const SYMBOLS: [(&str, &str); 3] = [
    ("BTC-USDT", "BTCUSDT"),
    ("ETH-USDT", "ETHUSDT"),
    ("SOL-USDT", "SOLUSDT"),
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Text of a decimal as an integer of `scale` decimals, by hand.
fn scaled(text: &str, scale: usize) -> i128 {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{decimals:0<scale$}").parse().unwrap()
}

/// The number as it is written in the line, so that no float stands in between.
fn number<'a>(line: &'a str, key: &str) -> &'a str {
    let rest = &line[line.find(&format!("\"{key}\":")).unwrap() + key.len() + 3..];
    &rest[..rest.find([',', '}']).unwrap()]
}

/// The recorded trades of Binance, and the same as the archive's lines of each symbol, stamps in microseconds.
fn recorded() -> (Vec<Trade>, [String; 3]) {
    let file = std::fs::File::open(fixture("binance-spot-2025/trades.jsonl.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let (mut trades, mut archive) = (Vec::new(), [const { String::new() }; 3]);
    for line in text.lines() {
        let item: Value = serde_json::from_str(line).unwrap();
        let (item, trade) = (&item["Item"], &item["Item"]["kind"]["Trade"]);
        let instrument = item["instrument"].as_u64().unwrap() as usize;
        let id = trade["id"].as_str().unwrap();
        let (price, qty) = (number(line, "price"), number(line, "amount"));
        let time = chrono::DateTime::parse_from_rfc3339(item["time_exchange"].as_str().unwrap()).unwrap();
        let (ts_us, buy) = (time.timestamp_micros(), trade["side"] == "Buy");
        let maker = if buy { "False" } else { "True" };
        writeln!(archive[instrument], "{id},{price},{qty},0,{ts_us},{maker},True").unwrap();
        trades.push(Trade {
            venue: "binance-spot".to_owned(),
            symbol: SYMBOLS[instrument].0.to_owned(),
            ts_us,
            seq: id.parse().unwrap(),
            trade_id: id.to_owned(),
            price: scaled(price, 12),
            qty: scaled(qty, 10),
            buy,
            count: 1,
        });
    }
    (trades, archive)
}

/// A zip of one deflated entry: local header, data, and the first bytes of a directory.
fn zipped(name: &str, text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    let data = encoder.finish().unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(text.as_bytes());
    let mut bytes = b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0".to_vec();
    for value in [crc.sum(), data.len() as u32, text.len() as u32] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(name.as_bytes());
    bytes.extend(data);
    bytes.extend(b"PK\x01\x02");
    bytes
}

/// The three files as the archive has them, each with its checksum.
fn archive(folder: &Path, texts: &[String; 3]) -> PathBuf {
    let archive = folder.join("archive");
    std::fs::create_dir(&archive).unwrap();
    for ((_, native), text) in SYMBOLS.iter().zip(texts) {
        let name = format!("{native}-trades-2025-03-25");
        let path = archive.join(format!("{name}.zip"));
        std::fs::write(&path, zipped(&format!("{name}.csv"), text)).unwrap();
        let sum = std::process::Command::new("sha256sum")
            .arg(&path)
            .output()
            .unwrap()
            .stdout;
        let digest = String::from_utf8(sum)
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned();
        std::fs::write(
            archive.join(format!("{name}.zip.CHECKSUM")),
            format!("{digest}  {name}.zip\n"),
        )
        .unwrap();
    }
    archive
}

fn backfill<'a>(format: &'a str, lake: &'a str, path: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["backfill", "--format", format, "--lake", lake, path][..], more].concat()
}

fn versions(lake: &Path, table: &str) -> usize {
    std::fs::read_dir(lake.join(table).join("_delta_log")).unwrap().count()
}

#[test]
fn an_archive_of_zips_becomes_silver_and_bars_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (mut trades, texts) = recorded();
    let archive = archive(folder, &texts);
    let (lake, glob) = (folder.join("lake"), archive.join("*.zip"));
    let (lake_uri, glob) = (lake.to_str().unwrap(), glob.to_str().unwrap());
    let told = stdout(folder, &backfill("binance-trades", lake_uri, glob, &[]));
    assert!(told.contains("3 files, 11032 rows, 0 bad"), "{told}");

    let key = |trade: &Trade| (trade.symbol.clone(), trade.seq);
    let mut silver = LakeFolder(lake.clone()).silver();
    silver.sort_by_key(key);
    trades.sort_by_key(key);
    assert_eq!(silver, trades);
    assert_bars_equal_the_fold(&lake, &trades);
    assert_eq!(LakeFolder(lake.clone()).count("bronze.trades", "offset"), 11_032);

    // Loading again does nothing at all.
    let before = ["bronze/trades", "silver/trades", "gold/ohlcv_1m"].map(|table| versions(&lake, table));
    let told = stdout(folder, &backfill("binance-trades", lake_uri, glob, &[]));
    assert!(
        told.contains("already loaded") && told.contains("3 files, 0 rows, 0 bad"),
        "{told}"
    );
    assert_eq!(
        before,
        ["bronze/trades", "silver/trades", "gold/ohlcv_1m"].map(|table| versions(&lake, table))
    );
}

#[test]
fn what_is_damaged_is_set_aside_and_the_rest_loads() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (_, [btc, eth, sol]) = recorded();
    let lake = folder.join("lake");
    let lake_uri = lake.to_str().unwrap();
    // Wrong column counts, values that are none, a header, and a last line that is cut off.
    let mut lines: Vec<&str> = eth.lines().collect();
    let header = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match";
    lines.insert(0, header);
    lines.insert(3, "1,2,3");
    lines.insert(5, "2,abc,1,0,1742944020715000,True,True");
    lines.insert(7, "x,2000,1,0,1742944020715000,True,True");
    lines.insert(9, "3,2000,1,0,1742944020715000,maybe,True");
    let cut = lines.last().unwrap()[..20].to_owned();
    *lines.last_mut().unwrap() = &cut;
    let eth_path = folder.join("ETHUSDT-trades-2025-03-25.csv");
    std::fs::write(&eth_path, lines.join("\r\n")).unwrap();
    let eth_lines = eth.lines().count();
    let told = stdout(
        folder,
        &backfill("binance-trades", lake_uri, eth_path.to_str().unwrap(), &[]),
    );
    assert!(told.contains(&format!("{} rows, 5 bad", eth_lines - 1)), "{told}");
    for (line, why) in [
        (4, "3 columns"),
        (6, "`abc`"),
        (8, "'x'"),
        (10, "`maybe`"),
        (lines.len(), "columns"),
    ] {
        let named = told
            .lines()
            .find(|told| told.trim().starts_with(&format!("line {line}:")));
        assert!(
            named.is_some_and(|named| named.contains(why)),
            "line {line} {why}: {told}"
        );
    }
    let listed = stdout(folder, &["dlq", "list", "--lake", lake_uri, "--format", "json"]);
    let dead: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(dead.len(), 5, "{listed}");
    assert!(
        dead.iter()
            .any(|dead| dead["offset"] == 4 && dead["payload"] == "1,2,3" && dead["error_class"] == "column_count")
    );

    // A zip that was cut off: what was in it up to there.
    let whole = zipped("BTCUSDT-trades-2025-03-25.csv", &btc);
    let btc_path = folder.join("BTCUSDT-trades-2025-03-25.zip");
    std::fs::write(&btc_path, &whole[..whole.len() / 2]).unwrap();
    let args = backfill("binance-trades", lake_uri, btc_path.to_str().unwrap(), &[]);
    let ended = output(folder, &args);
    let told = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(
        told.contains("the file is damaged") && told.contains("is cut off"),
        "{told}"
    );
    let silver = LakeFolder(lake.clone()).silver();
    let loaded = silver.iter().filter(|trade| trade.symbol == "BTC-USDT").count();
    assert!(loaded > 1000 && loaded < btc.lines().count(), "{loaded}");

    // The limit holds, and a file of another format is refused whole.
    let sol_path = folder.join("SOLUSDT-trades-2025-03-25.csv");
    let sol_bad: String = sol.lines().map(|line| format!("{line}\n{}\n", &line[..10])).collect();
    std::fs::write(&sol_path, sol_bad).unwrap();
    let sol_path = sol_path.to_str().unwrap();
    for (args, says) in [
        (
            backfill("binance-trades", lake_uri, sol_path, &["--max-bad-rows", "10"]),
            "--max-bad-rows",
        ),
        (backfill("us-equities-ticks", lake_uri, sol_path, &[]), "7 columns"),
        (backfill("jsonl", lake_uri, sol_path, &[]), "none of its lines fits"),
    ] {
        let ended = output(folder, &args);
        let told = String::from_utf8(ended.stdout).unwrap();
        assert!(
            ended.status.code() == Some(1) && told.contains(says),
            "{args:?}: {told}"
        );
    }
    assert!(!LakeFolder(lake).silver().iter().any(|trade| trade.symbol == "SOL-USDT"));
}

#[test]
fn a_changed_file_is_reported_and_replaced_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (_, texts) = recorded();
    let archive = archive(folder, &texts);
    let lake = folder.join("lake");
    let btc = archive.join("BTCUSDT-trades-2025-03-25.zip");
    let (lake_uri, path) = (lake.to_str().unwrap(), btc.to_str().unwrap());
    stdout(folder, &backfill("binance-trades", lake_uri, path, &[]));
    let rows = texts[0].lines().count();

    let shorter: String = texts[0].lines().skip(10).map(|line| format!("{line}\n")).collect();
    std::fs::write(&btc, zipped("a.csv", &shorter)).unwrap();
    let ended = output(folder, &backfill("binance-trades", lake_uri, path, &[]));
    let told = String::from_utf8(ended.stdout).unwrap();
    assert!(told.contains("CHECKSUM"), "{told}");
    std::fs::remove_file(archive.join("BTCUSDT-trades-2025-03-25.zip.CHECKSUM")).unwrap();
    let ended = output(folder, &backfill("binance-trades", lake_uri, path, &[]));
    let told = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.code() == Some(1) && told.contains("has changed"), "{told}");
    assert_eq!(LakeFolder(lake.clone()).count("bronze.trades", "offset"), rows);

    let told = stdout(folder, &backfill("binance-trades", lake_uri, path, &["--replace"]));
    assert!(told.contains("rebuild --from 2025-03-25 --to 2025-03-26"), "{told}");
    assert_eq!(LakeFolder(lake.clone()).count("bronze.trades", "offset"), rows - 10);
    let told = stdout(folder, &backfill("binance-trades", lake_uri, path, &["--replace"]));
    assert!(told.contains("already loaded"), "{told}");

    // Back to what it was: loaded anew.
    std::fs::write(&btc, zipped("BTCUSDT-trades-2025-03-25.csv", &texts[0])).unwrap();
    stdout(folder, &backfill("binance-trades", lake_uri, path, &["--replace"]));
    assert_eq!(LakeFolder(lake).count("bronze.trades", "offset"), rows);
}

/// Lines of the archive that never existed, about 70 bytes each, over an hour.
fn made_up(rows: u64) -> String {
    let mut text = String::new();
    for id in 1..=rows {
        let ts = 1_735_689_600_000_000 + id * 3_600_000_000 / rows;
        let (price, qty) = (9_000_000 + id * 7919 % 100_000, id % 977 + 1);
        let maker = if id % 3 == 0 { "True" } else { "False" };
        writeln!(
            text,
            "{id},{}.{:02},0.{qty:08},{qty}.00000000,{ts},{maker},True",
            price / 100,
            price % 100
        )
        .unwrap();
    }
    text
}

#[test]
fn a_killed_backfill_goes_on_where_it_stood() {
    let kills: u64 = std::env::var("TICKLAKE_KILLS").map_or(5, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let lake = folder.join("lake");
    let text = made_up(900_000);
    let path = folder.join("BTCUSDT-trades-2025-01-01.csv");
    std::fs::write(&path, text).unwrap();
    let args = backfill(
        "binance-trades",
        lake.to_str().unwrap(),
        path.to_str().unwrap(),
        &["--no-refresh"],
    );
    let log = lake.join("bronze/trades/_delta_log");
    let commits = || std::fs::read_dir(&log).map_or(0, Iterator::count);
    let (mut killed, mut seed) = (0, 17u64);
    while killed < kills {
        let child = Running::start(ticklake(folder).args(&args));
        // Somewhere in a second, or right behind a commit.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (before, deadline) = (
            commits(),
            std::time::Instant::now() + std::time::Duration::from_millis(seed >> 54),
        );
        while std::time::Instant::now() < deadline && (killed % 2 == 0 || commits() == before) {
            std::thread::yield_now();
        }
        child.kill();
        killed += 1;
    }
    stdout(folder, &args);
    let offsets = LakeFolder(lake.clone()).bronze_offsets();
    assert!(offsets[&0].iter().copied().eq(1..=900_000), "each line once");
}

#[test]
fn equities_ticks_add_up_to_the_vendor_s_minutes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ticks = fixture("us-equities-ticks/bac_tick_20131007.zip");
    // The shipped format, as a user would bring it; a venue without a rule of prices: every print sets them.
    let mapping = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/import/us_equities_ticks.sql");
    let (plain, ruled) = (folder.join("plain"), folder.join("ruled"));
    let ticks = ticks.to_str().unwrap();
    let loaded = [
        "backfill",
        "--mapping",
        mapping.to_str().unwrap(),
        "--venue",
        "plain",
        ticks,
    ];
    stdout(folder, &[&loaded[..], &["--lake", plain.to_str().unwrap()]].concat());
    let silver = LakeFolder(plain.clone()).silver();
    assert_eq!(silver.len(), LakeFolder(plain.clone()).count("bronze.trades", "offset"));
    assert_bars_equal_the_fold(&plain, &silver);

    // The venue's own name, and with it the vendor's rule.
    let loaded = ["backfill", "--format", "us-equities-ticks", ticks];
    stdout(folder, &[&loaded[..], &["--lake", ruled.to_str().unwrap()]].concat());
    let minutes = fixture("us-equities-ticks/bac_minute_20131007.zip");
    let equal = |lake: &Path, venue: &str| {
        let candles = [
            "parity",
            "--candles",
            minutes.to_str().unwrap(),
            "--candle-format",
            "us-equities-minutes",
        ];
        let market = ["--venue", venue, "--symbol", "BAC-USD", "--format", "json"];
        let args = [&candles[..], &market, &["--lake", lake.to_str().unwrap()]].concat();
        let output = output(folder, &args);
        assert_eq!(output.status.code(), Some(3), "the vendor's own bars have their faults");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["candles"], 595);
        let equal = |of: &str| report["equal"][of].as_u64().unwrap();
        (equal("prices"), equal("volume"))
    };
    assert_eq!(equal(&plain, "plain"), (559, 592), "every print");
    assert_eq!(equal(&ruled, "us-equities"), (593, 592), "99.66 % and 99.50 %");
    let verified = ["verify", "--lake", ruled.to_str().unwrap()];
    assert!(stdout(folder, &verified).contains("nothing missing"));
}
