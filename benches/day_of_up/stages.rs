//! The stages of `up` with its default settings, driven half a second at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ticklake_engine::EngineStatus;
use ticklake_engine::gold::{Gold, GoldOptions};
use ticklake_engine::maintenance::{OptimizeOptions, VacuumOptions};
use ticklake_engine::schedule::{self, Every, JobOptions, Maintain, ScheduleOptions};
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_ingest::bronze::{self, BronzeOptions, BronzeReport, BronzeStatus};
use ticklake_ingest::feed::sim::instruments::choose;
use ticklake_ingest::feed::sim::{Market, SimOptions};
use ticklake_ingest::kafka::KafkaOptions;
use ticklake_ingest::trade::Venue;
use ticklake_sql::Lake;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::figures::ms_since;
use crate::topic::{self, Topic};
use crate::{COMMIT_AGE, MovedClock};

const INTERVALS: [&str; 2] = ["1m", "5m"];
const CHECKPOINT: &str = "1m";
const OPTIMIZE: &str = "10m";
/// Where `up` keeps its own lake.
const VACUUM: &str = "1h";
/// Longest wait for one commit of ingest.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Stages {
    time: MovedClock,
    trades_per_commit: u64,
    market: Market,
    topic: Topic,
    sent: u64,
    status: Arc<BronzeStatus>,
    shutdown: CancellationToken,
    ingest: JoinHandle<ticklake_ingest::Result<BronzeReport>>,
    jobs: JoinHandle<ticklake_engine::Result<()>>,
    silver: Silver,
    gold: Vec<Gold>,
    times: [(&'static str, Vec<f64>); 4],
}

impl Stages {
    pub async fn start(lake: &Lake, time: &MovedClock, trades_per_commit: u64) -> Self {
        let brokers = topic::brokers();
        let name = format!("day-of-up-{}", ticklake_sql::Clock::system().now_us());
        let topic = Topic::open(&brokers, &name);
        let options = SimOptions::default();
        let instruments = choose(options.symbol_count, &[]).unwrap();
        let market = Market::new(Venue::new(&options.venue), &instruments, options.seed, time.now_us());
        let (status, shutdown) = (Arc::<BronzeStatus>::default(), CancellationToken::new());
        let options = BronzeOptions {
            kafka: KafkaOptions::new(brokers),
            topic: name,
            // The clock on the wall has no say in when a commit happens.
            commit_rows: trades_per_commit,
            commit_age: Duration::from_secs(86_400),
            ..BronzeOptions::default()
        };
        let ingest = tokio::spawn(bronze::run(options, lake.clone(), status.clone(), shutdown.clone()));
        let silver = Silver::open(lake.clone(), SilverOptions::default()).await.unwrap();
        let mut gold = Vec::new();
        for interval in INTERVALS {
            let options = GoldOptions {
                interval: interval.to_owned(),
                ..GoldOptions::default()
            };
            gold.push(Gold::open(lake.clone(), options).await.unwrap());
        }
        let jobs = tokio::spawn(schedule::run(
            lake.clone(),
            upkeep(),
            ScheduleOptions::default(),
            Arc::<EngineStatus>::default(),
            shutdown.clone(),
        ));
        Self {
            time: time.clone(),
            trades_per_commit,
            market,
            topic,
            sent: 0,
            status,
            shutdown,
            ingest,
            jobs,
            silver,
            gold,
            times: ["ingest", "silver", "gold 1m", "gold 5m"].map(|stage| (stage, Vec::new())),
        }
    }

    /// The trades of the half second that begins now, through every stage.
    pub async fn half_second(&mut self) {
        let began = Instant::now();
        self.produce();
        self.await_bronze().await;
        self.times[0].1.push(ms_since(began));
        let began = Instant::now();
        let report = self.silver.refresh().await.unwrap();
        assert_eq!((report.rows_out, report.quarantined), (self.trades_per_commit, 0));
        self.times[1].1.push(ms_since(began));
        for (gold, times) in self.gold.iter_mut().zip(&mut self.times[2..]) {
            let began = Instant::now();
            let report = gold.refresh().await.unwrap();
            assert!(report.changed());
            times.1.push(ms_since(began));
        }
    }

    fn produce(&mut self) {
        let from_us = self.time.now_us();
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for number in 0..self.trades_per_commit {
            let ts = from_us + (COMMIT_AGE.as_micros() as u64 * number / self.trades_per_commit) as i64;
            let trade = self.market.next_trade(ts, ts);
            key.clear();
            value.clear();
            trade.write_key(&mut key);
            trade.write_json(&mut value);
            self.topic.send(None, &key, &value);
        }
        self.topic.flush();
        self.sent += self.trades_per_commit;
    }

    async fn await_bronze(&mut self) {
        let began = Instant::now();
        while self.status.snapshot()["rows"] != self.sent {
            assert!(
                !self.ingest.is_finished(),
                "ingest has ended: {}",
                self.status.snapshot()
            );
            assert!(began.elapsed() < PATIENCE, "no commit: {}", self.status.snapshot());
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    /// Milliseconds of each run since the last call, stage by stage.
    pub fn take_times(&mut self) -> Vec<(&'static str, Vec<f64>)> {
        let stages = self.times.iter_mut();
        stages.map(|(stage, times)| (*stage, std::mem::take(times))).collect()
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.ingest.await.unwrap().unwrap();
        self.jobs.await.unwrap().unwrap();
        self.topic.delete();
    }
}

/// What `up` runs beside the refreshes.
fn upkeep() -> Vec<JobOptions> {
    let every = |text| Every::parse(text).unwrap();
    vec![
        JobOptions::checkpoint(every(CHECKPOINT)),
        JobOptions::maintain(Maintain::Optimize(OptimizeOptions::default()), every(OPTIMIZE)),
        JobOptions::maintain(Maintain::Vacuum(VacuumOptions::default()), every(VACUUM)),
    ]
}
