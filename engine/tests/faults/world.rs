//! A small lake in memory in which every job finds something to do, copied as often as a test likes.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{NaiveDate, TimeDelta};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ticklake_engine::backfill::{self, BackfillOptions, Progress};
use ticklake_engine::gold::{Gold, GoldOptions};
use ticklake_engine::silver::rules::Rules;
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_engine::verify::{Report, VerifyOptions, verify};
use ticklake_sql::{Clock, Lake, LakeOptions, TableName};
use tokio_util::sync::CancellationToken;

/// The first instant of 2025.
const T0: i64 = 1_735_689_600_000_000;
const URL: &str = "memory:///lake";

/// Columns that say when and how often something was computed or written, not what.
const INCIDENTAL: [&str; 3] = ["computed_at", "revision", "ingested_at"];

pub struct World {
    pub store: Arc<InMemory>,
    /// Seconds that the lake's clock is ahead of the machine's.
    pub ahead_s: Arc<AtomicI64>,
    /// The files that were loaded, and one that was not.
    pub files: Arc<tempfile::TempDir>,
}

impl World {
    /// Two files loaded and refreshed to the end under strict rules, one loaded and not refreshed, one not loaded. In them: trades over two hours, repeats,
    /// contradictions, trades that break a rule, and trades that break it only while the rules are strict.
    pub async fn new() -> Self {
        let world = Self {
            store: Arc::default(),
            ahead_s: Arc::default(),
            files: Arc::new(tempfile::tempdir().unwrap()),
        };
        let early = |id: i64| line(id, -7_200 + id, "5.5");
        let first: Vec<String> = (0..120).map(|id| line(id, id * 60, "7.25")).collect();
        let second: Vec<String> = (120..200)
            .map(|id| line(id, id * 30, "7.5"))
            .chain([line(3, 180, "7.25"), line(4, 240, "9"), line(900, 10, "-1")])
            // Early alone; early twice; early, and contradicting what is there.
            .chain([early(500), early(501), early(501), early(150)])
            .collect();
        let third: Vec<String> = (200..260)
            .map(|id| line(id, id * 20, "8"))
            .chain([line(121, 121 * 30, "7.5"), line(122, 122 * 30, "1")])
            .collect();
        let fourth: Vec<String> = (260..300).map(|id| line(id, id * 10, "6")).collect();
        for (name, lines) in [("a", &first), ("b", &second), ("c", &third), ("d", &fourth)] {
            let mut text = "venue,symbol,trade_id,seq,price,qty,side,ts\n".to_owned();
            lines.iter().for_each(|line| writeln!(text, "{line}").unwrap());
            std::fs::write(world.file(name), text).unwrap();
        }
        let lake = world.lake();
        for name in ["a", "b"] {
            world.load(&lake, name).await.unwrap();
            refresh_with(&lake, strict()).await;
        }
        world.load(&lake, "c").await.unwrap();
        world
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(format!("{name}.csv"))
    }

    pub async fn load(&self, lake: &Lake, name: &str) -> ticklake_engine::Result<()> {
        let options = BackfillOptions {
            paths: vec![self.file(name).to_string_lossy().into_owned()],
            format: Some("csv".to_owned()),
            slice_bytes: 1500,
            ..BackfillOptions::default()
        };
        let report = backfill::run(lake, options, Arc::new(Progress::default()), CancellationToken::new()).await?;
        match report.files.into_iter().next().unwrap().outcome {
            backfill::Outcome::Failed(error) => Err(error),
            _ => Ok(()),
        }
    }

    pub fn lake(&self) -> Lake {
        self.over(self.store.clone())
    }

    /// The same lake seen through another store.
    pub fn over(&self, store: Arc<dyn ObjectStore>) -> Lake {
        let (system, ahead) = (Clock::system(), self.ahead_s.clone());
        let clock = Clock::from_fn(move || system.now() + TimeDelta::seconds(ahead.load(Ordering::SeqCst)));
        Lake::with_store(URL, store, LakeOptions::default(), clock).unwrap()
    }

    pub fn pass_days(&self, days: i64) {
        self.ahead_s.fetch_add(days * 86_400, Ordering::SeqCst);
    }

    pub async fn copy(&self) -> Self {
        let copy = Arc::new(InMemory::new());
        let objects: Vec<_> = self.store.list(None).try_collect().await.unwrap();
        for object in objects {
            let bytes = self.store.get(&object.location).await.unwrap().bytes().await.unwrap();
            copy.put(&object.location, bytes.into()).await.unwrap();
        }
        Self {
            store: copy,
            ahead_s: Arc::new(AtomicI64::new(self.ahead_s.load(Ordering::SeqCst))),
            files: self.files.clone(),
        }
    }

    /// The rows of every table in every column but the incidental ones, sorted, and the proof that they belong together.
    pub async fn contents(&self) -> (Vec<(String, Vec<String>)>, Report) {
        contents(&self.lake()).await
    }
}

pub async fn contents(lake: &Lake) -> (Vec<(String, Vec<String>)>, Report) {
    let mut tables = Vec::new();
    for table in lake.tables().await.unwrap() {
        // What bars said before depends on when they were computed.
        if *table.name() != TableName::gold_ohlcv_revisions() && table.name().schema() != "system" {
            tables.push((table.name().to_string(), lines(&table).await));
        }
    }
    let options = VerifyOptions {
        gold: vec![gold()],
        ..VerifyOptions::default()
    };
    (tables, verify(lake, None, &options).await.unwrap())
}

/// `id` at so many seconds of 2025.
fn line(id: i64, second: i64, price: &str) -> String {
    let side = ["buy", "sell"][id as usize % 2];
    let symbol = ["BTC-USDT", "ETH-USDT"][id as usize % 2];
    format!("sim,{symbol},{id},{id},{price},0.5,{side},{}", T0 + second * 1_000_000)
}

/// Nothing before 2025.
pub fn strict() -> SilverOptions {
    SilverOptions {
        rules: Rules {
            earliest: NaiveDate::from_ymd_opt(2025, 1, 1).unwrap(),
            ..Rules::default()
        },
        ..SilverOptions::default()
    }
}

/// A refresh that was cut short is not waited for.
pub fn gold() -> GoldOptions {
    GoldOptions {
        take_over_after: Duration::from_millis(20),
        ..GoldOptions::default()
    }
}

/// Silver and gold to the end of their input.
pub async fn refresh(lake: &Lake) {
    refresh_with(lake, strict()).await;
}

async fn refresh_with(lake: &Lake, options: SilverOptions) {
    Silver::open(lake.clone(), options)
        .await
        .unwrap()
        .refresh()
        .await
        .unwrap();
    let mut gold = Gold::open(lake.clone(), gold()).await.unwrap();
    gold.refresh().await.unwrap();
}

async fn lines(table: &ticklake_sql::Table) -> Vec<String> {
    let store = table.log_store().object_store(None);
    let format = FormatOptions::default().with_null("-");
    let mut lines = Vec::new();
    for add in table.files(None).await.unwrap().1 {
        let path = object_store::path::Path::parse(&add.path).unwrap();
        let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .unwrap()
            .build()
            .unwrap();
        for batch in reader.map(Result::unwrap) {
            let schema = batch.schema();
            let columns: Vec<_> = schema
                .fields()
                .iter()
                .zip(batch.columns())
                .filter(|(field, _)| !INCIDENTAL.contains(&field.name().as_str()))
                .map(|(_, column)| ArrayFormatter::try_new(column, &format).unwrap())
                .collect();
            lines.extend((0..batch.num_rows()).map(|row| {
                let values = columns.iter().map(|column| column.value(row).to_string());
                values.collect::<Vec<_>>().join("|")
            }));
        }
    }
    lines.sort();
    lines
}
