//! A zip of 20,000,000 Binance-style trades, 1.57 GB of text, to bronze and to sorted silver: once one after the other, once side by side as
//! `ticklake backfill` does it; one JSON line a figure.
//!
//! `cargo bench -p ticklake-engine --bench backfill`; TICKLAKE_BENCH_ROWS (20,000,000), TICKLAKE_BENCH_DIR (the zip is kept between runs).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ticklake_engine::backfill::{self, BackfillOptions, Progress};
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_sql::{Clock, Durability, Lake, LakeOptions};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: usize = 2;
const NAME: &str = "BTCUSDT-trades-2025-01-06";
/// 2025-01-06T00:00:00Z.
const START_US: u64 = 1_736_121_600_000_000;
const DAY_US: u64 = 86_400_000_000;

fn main() {
    let rows = std::env::var("TICKLAKE_BENCH_ROWS").map_or(20_000_000, |rows| rows.parse().unwrap());
    let dir = std::env::var("TICKLAKE_BENCH_DIR")
        .map_or_else(|_| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from)
        .join(format!("backfill-{rows}"));
    std::fs::create_dir_all(&dir).unwrap();
    let zip = dir.join(format!("{NAME}.zip"));
    if !zip.exists() {
        write_zip(&zip, rows);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let started = Instant::now();
        let lake = lake(&dir.join("apart"));
        load(&lake, &zip).await;
        figure("backfill_bronze", rows, started);
        let refresh = Instant::now();
        let mut silver = Silver::open(lake, SilverOptions::default()).await.unwrap();
        let report = silver.refresh().await.unwrap();
        assert_eq!(report.rows_out, rows);
        figure("backfill_silver", rows, refresh);
        figure("backfill_apart", rows, started);
        drop(silver);

        let lake = self::lake(&dir.join("together"));
        let started = Instant::now();
        together(lake, &zip, rows).await;
        figure("backfill_together", rows, started);
    });
}

/// Silver follows bronze while the file is loaded.
async fn together(lake: Lake, zip: &Path, rows: u64) {
    let loaded = CancellationToken::new();
    let (follow, done) = (lake.clone(), loaded.clone());
    let follow = tokio::spawn(async move {
        let mut silver = Silver::open(follow, SilverOptions::default()).await.unwrap();
        let mut committed = silver.input().committed();
        let mut out = 0;
        loop {
            let last = done.is_cancelled();
            out += silver.refresh().await.unwrap().rows_out;
            if last {
                return out;
            }
            tokio::select! {
                _ = committed.changed() => {}
                () = done.cancelled() => {}
            }
        }
    });
    load(&lake, zip).await;
    loaded.cancel();
    assert_eq!(follow.await.unwrap(), rows);
}

async fn load(lake: &Lake, zip: &Path) {
    let options = BackfillOptions {
        paths: vec![zip.to_string_lossy().into_owned()],
        format: Some("binance-trades".into()),
        encoders: THREADS,
        ..BackfillOptions::default()
    };
    let progress = Arc::new(Progress::default());
    let report = backfill::run(lake, options, progress, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!((report.bad(), report.failed().count()), (0, 0), "{report:?}");
}

fn lake(dir: &Path) -> Lake {
    let _ = std::fs::remove_dir_all(dir);
    let options = LakeOptions {
        durability: Durability::Sync,
        ..LakeOptions::default()
    };
    Lake::open(dir.to_str().unwrap(), options, Clock::system()).unwrap()
}

fn figure(name: &str, rows: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{{\"name\":\"{name}\",\"rows\":{rows},\"seconds\":{seconds:.2},\"rows_per_s\":{:.0},\"peak_mb\":{}}}",
        rows as f64 / seconds,
        peak_mb()
    );
}

/// Greatest resident memory of this process so far.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kb = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?
            .trim()
            .strip_suffix(" kB")?
            .trim()
            .parse()
            .ok()
    });
    kb.unwrap_or(0u64) / 1024
}

/// One deflated entry with its sizes filled in at the end; the directory's first bytes end it.
fn write_zip(path: &Path, rows: u64) {
    let mut file = std::fs::File::create(path).unwrap();
    let name = format!("{NAME}.csv");
    // Version 2.0, a data descriptor follows.
    file.write_all(b"PK\x03\x04\x14\0\x08\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")
        .unwrap();
    file.write_all(&(name.len() as u16).to_le_bytes()).unwrap();
    file.write_all(&[0, 0]).unwrap();
    file.write_all(name.as_bytes()).unwrap();
    let start = file.stream_position().unwrap();
    let mut encoder = flate2::write::DeflateEncoder::new(BufWriter::new(&mut file), flate2::Compression::default());
    let mut crc = flate2::Crc::new();
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |limit: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % limit
    };
    let (mut price, mut line, mut bytes) = (6_423_112u64, Vec::new(), 0u64);
    for row in 0..rows {
        price = (price + next(11)).saturating_sub(5).max(1_000_000);
        let qty = next(5_000) * next(5_000) + 1;
        let quote = u128::from(price) * u128::from(qty) / 100;
        let ts = START_US + row * DAY_US / rows;
        let maker = if next(2) == 0 { "True" } else { "False" };
        line.clear();
        writeln!(
            line,
            "{},{}.{:02}000000,{}.{:08},{}.{:08},{ts},{maker},True",
            4_200_000_000 + row,
            price / 100,
            price % 100,
            qty / 100_000_000,
            qty % 100_000_000,
            quote / 100_000_000,
            quote % 100_000_000
        )
        .unwrap();
        crc.update(&line);
        bytes += line.len() as u64;
        encoder.write_all(&line).unwrap();
    }
    encoder.finish().unwrap().flush().unwrap();
    let end = file.seek(SeekFrom::End(0)).unwrap();
    for value in [0x0807_4b50, crc.sum(), (end - start) as u32, bytes as u32] {
        file.write_all(&value.to_le_bytes()).unwrap();
    }
    file.write_all(b"PK\x01\x02").unwrap();
}
