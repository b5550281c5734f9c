//! kill -9 at the worst moments of each job and at random ones, while rows come in. `TICKLAKE_KILLS` sets how many (10).

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ticklake_engine::gold::{Gold, GoldOptions, recount};
use ticklake_engine::rebuild;
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_sql::{Clock, Durability, Lake, LakeOptions, TableName};

use crate::lake::{Row, TestLake, row};

const DEADLINE: Duration = Duration::from_secs(60);

fn kills() -> u32 {
    std::env::var("TICKLAKE_KILLS")
        .ok()
        .map_or(10, |text| text.parse().expect("TICKLAKE_KILLS is a number"))
}

pub fn start(lake: &TestLake, job: &str, times: u32, failpoint: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_maintain"))
        .args([lake.lake.uri(), job, &times.to_string()])
        .env("TICKLAKE_FAILPOINT", failpoint)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// True where it ended well by itself.
pub fn ended(mut process: Child) -> bool {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status.success();
        }
        assert!(Instant::now() < deadline, "maintenance does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

async fn land(lake: &TestLake, commits: std::ops::Range<i64>) {
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    for commit in commits {
        let trades: Vec<Row> = (commit * 20..commit * 20 + 20).map(|id| row(id, "7.25")).collect();
        lake.land(&trades).await;
        silver.refresh().await.unwrap();
    }
}

async fn rows(lake: &TestLake) -> [Vec<String>; 2] {
    [
        lake.lines(&TableName::bronze_trades()).await,
        lake.lines(&TableName::silver_trades()).await,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn optimize_killed_before_and_after_its_commit_changes_no_row() {
    let lake = TestLake::new().await;
    land(&lake, 0..8).await;
    for failpoint in ["optimize-files-written", "optimize-committed"] {
        let before = rows(&lake).await;
        assert!(
            !ended(start(&lake, "optimize", 1, failpoint)),
            "{failpoint} was not reached"
        );
        assert_eq!(rows(&lake).await, before, "after {failpoint}");
        land(&lake, 100..104).await;
    }
    let before = rows(&lake).await;
    assert!(ended(start(&lake, "optimize", 1, "")));
    assert_eq!(rows(&lake).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_partitioned_otherwise_is_whole_before_and_after_a_kill() {
    let lake = TestLake::new().await;
    land(&lake, 0..8).await;
    let silver = TableName::silver_trades();
    let ids = lake.column(&silver, "trade_id").await;
    let columns = async || lake.lake.table(&silver).await.unwrap().spec().partition_columns.clone();
    for (failpoint, partitioned) in [
        ("cluster-files-written", &["date"][..]),
        ("cluster-committed", &["symbol", "date"]),
    ] {
        assert!(
            !ended(start(&lake, "cluster", 1, failpoint)),
            "{failpoint} was not reached"
        );
        assert_eq!(columns().await, partitioned, "after {failpoint}");
        assert_eq!(lake.column(&silver, "trade_id").await, ids, "after {failpoint}");
    }
    land(&lake, 8..10).await;
    assert!(ended(start(&lake, "cluster", 1, "")));
    let mut ids = lake.column(&silver, "trade_id").await;
    ids.dedup();
    assert_eq!(ids.len(), 200, "each trade once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_swap_killed_before_and_after_its_commit_is_made_good_by_the_next() {
    for failpoint in ["rebuild-swap-planned", "rebuild-swapped-in"] {
        let lake = TestLake::new().await;
        land(&lake, 0..8).await;
        let whole = rows(&lake).await;
        // Silver has lost a file: the rebuild beside it has something to bring back.
        let name = TableName::silver_trades();
        let silver = lake.lake.table(&name).await.unwrap();
        let (_, adds) = silver.files(None).await.unwrap();
        let gone = ticklake_sql::commit::removal(&adds[0], lake.lake.clock().now(), true);
        crate::lake::commit(&silver, "ticklake/silver.trades/writer", Vec::new(), vec![gone]).await;
        let range = rebuild::RebuildRange::new(crate::lake::T0, crate::lake::T0 + crate::lake::DAY, &[]).unwrap();
        let (options, swap) = (SilverOptions::default(), rebuild::Swap::No);
        let beside = rebuild::silver_beside(&lake.lake, &options, &range, false, "kept", swap)
            .await
            .unwrap();
        assert_eq!((beside.diff.rows_before, beside.diff.added), (140, 20));
        assert!(
            !ended(start(&lake, "swap", 1, failpoint)),
            "{failpoint} was not reached"
        );
        let is_in = failpoint == "rebuild-swapped-in";
        assert_eq!(rows(&lake).await == whole, is_in, "after {failpoint}");
        assert_eq!(lake.lake.rebuilt_tables().await.unwrap(), [name.rebuilt("kept")]);
        assert!(ended(start(&lake, "swap", 1, "")));
        assert_eq!(rows(&lake).await, whole, "after {failpoint} and another swap");
        assert_eq!(lake.lake.rebuilt_tables().await.unwrap(), []);
    }
}

/// Silver, at the time of the processes: what it has read vacuum may delete.
async fn refresh_now(lake: &TestLake) {
    let options = LakeOptions {
        durability: Durability::Os,
        ..LakeOptions::default()
    };
    let lake = Lake::open(lake.lake.uri(), options, Clock::system()).unwrap();
    let at_once = SilverOptions {
        position_interval: Duration::ZERO,
        ..SilverOptions::default()
    };
    let mut silver = Silver::open(lake, at_once).await.unwrap();
    silver.refresh().await.unwrap();
}

fn files_on_disk(lake: &TestLake) -> usize {
    let folder = std::path::Path::new(lake.lake.uri()).join("bronze/trades/ingest_date=2025-01-02");
    std::fs::read_dir(folder).unwrap().count()
}

/// Makes the data files two days old, as far as a listing tells: younger ones it leaves to their writers.
fn age(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path);
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            let file = std::fs::File::options().append(true).open(&path).unwrap();
            let then = Clock::system().now() - chrono::TimeDelta::days(2);
            file.set_modified(then.into()).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_killed_after_its_deletes_finds_them_done() {
    let lake = TestLake::new().await;
    land(&lake, 0..8).await;
    assert!(ended(start(&lake, "optimize", 1, "")));
    refresh_now(&lake).await;
    let before = rows(&lake).await;
    assert_eq!(files_on_disk(&lake), 9);
    let deadline = Instant::now() + DEADLINE;
    // Until the window of two seconds is past, there is nothing to delete.
    while files_on_disk(&lake) > 1 {
        assert!(Instant::now() < deadline, "vacuum deletes nothing");
        assert!(!ended(start(&lake, "vacuum", 1, "vacuum-deleted")));
        assert_eq!(rows(&lake).await, before);
    }
    assert!(ended(start(&lake, "vacuum", 1, "")));
    assert_eq!((rows(&lake).await, files_on_disk(&lake)), (before, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_killed_takes_out_whole_partitions_or_nothing() {
    let lake = TestLake::new().await;
    land(&lake, 0..8).await;
    let before = rows(&lake).await;
    assert!(!ended(start(&lake, "retention", 1, "retention-planned")));
    assert_eq!(rows(&lake).await, before);
    // bronze's commit lands, silver's does not come.
    assert!(!ended(start(&lake, "retention", 1, "retention-committed")));
    let [bronze, silver] = rows(&lake).await;
    assert!(bronze.is_empty());
    assert_eq!(silver, before[1], "silver is a table of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_beside_killed_before_and_after_its_swap_changes_no_row() {
    let lake = TestLake::new().await;
    land(&lake, 0..8).await;
    let gold = GoldOptions::default();
    let refresh = async || {
        let mut gold = Gold::open(lake.lake.clone(), gold.clone()).await.unwrap();
        gold.refresh().await.unwrap();
    };
    refresh().await;
    let before = rows(&lake).await;
    for failpoint in ["rebuild-laid-beside", "rebuild-swapped-in"] {
        assert!(
            !ended(start(&lake, "rebuild", 1, failpoint)),
            "{failpoint} was not reached"
        );
        assert_eq!(rows(&lake).await, before, "after {failpoint}");
        refresh().await;
        let left = lake.lake.rebuilt_tables().await.unwrap();
        assert_eq!(
            left,
            [TableName::silver_trades().rebuilt("killed")],
            "after {failpoint}"
        );
        lake.lake.drop_rebuilt(&left[0]).await.unwrap();
    }
    assert!(ended(start(&lake, "rebuild", 1, "")));
    assert_eq!(rows(&lake).await, before);
    assert_eq!(lake.lake.rebuilt_tables().await.unwrap(), []);
    let mut found = Vec::new();
    recount(&lake.lake, &gold, &Default::default(), |difference| {
        found.push(difference)
    })
    .await
    .unwrap();
    assert_eq!(found, []);
    // What a kill has left goes when it is a day old.
    assert!(!ended(start(&lake, "rebuild", 1, "rebuild-laid-beside")));
    for (days, left) in [(0, 1), (2, 0)] {
        let system = Clock::system();
        let clock = Clock::from_fn(move || system.now() + chrono::TimeDelta::days(days));
        let later = Lake::open(lake.lake.uri(), LakeOptions::default(), clock).unwrap();
        rebuild::clean(&later).await.unwrap();
        assert_eq!(lake.lake.rebuilt_tables().await.unwrap().len(), left);
    }
    assert_eq!(rows(&lake).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_random_moments_lose_and_double_nothing() {
    let lake = TestLake::new().await;
    land(&lake, 0..10).await;
    for kill in 0..kills() {
        let mut jobs = [start(&lake, "optimize", 1000, ""), start(&lake, "optimize", 1000, "")];
        let from = 10 + i64::from(kill) * 4;
        land(&lake, from..from + 4).await;
        for job in &mut jobs {
            std::thread::sleep(Duration::from_millis(rand::random_range(0..120)));
            job.kill().unwrap();
            job.wait().unwrap();
        }
    }
    let expected = (10 + kills() as usize * 4) * 20;
    let [bronze, silver] = rows(&lake).await;
    assert_eq!((bronze.len(), silver.len()), (expected, expected));
    let mut ids = lake.column(&TableName::silver_trades(), "trade_id").await;
    ids.dedup();
    assert_eq!(ids.len(), expected, "each trade once");
    assert!(ended(start(&lake, "optimize", 1, "")));
    assert_eq!(rows(&lake).await, [bronze, silver]);
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_killed_at_random_moments_deletes_nothing_that_is_needed() {
    let lake = TestLake::new().await;
    land(&lake, 0..8).await;
    for kill in 0..kills() {
        let from = 8 + i64::from(kill) * 4;
        land(&lake, from..from + 4).await;
        assert!(ended(start(&lake, "optimize", 1, "")));
        refresh_now(&lake).await;
        let before = rows(&lake).await;
        age(std::path::Path::new(lake.lake.uri()));
        let mut vacuum = start(&lake, "vacuum", 1000, "");
        std::thread::sleep(Duration::from_millis(rand::random_range(0..200)));
        vacuum.kill().unwrap();
        vacuum.wait().unwrap();
        assert_eq!(rows(&lake).await, before);
    }
    let before = rows(&lake).await;
    let deadline = Instant::now() + DEADLINE;
    while files_on_disk(&lake) > 1 {
        assert!(Instant::now() < deadline, "vacuum does not come to its end");
        assert!(ended(start(&lake, "vacuum", 1, "")));
    }
    assert_eq!(rows(&lake).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_killed_at_random_moments_takes_out_whole_partitions_or_nothing() {
    for _ in 0..kills() {
        let lake = TestLake::new().await;
        land(&lake, 0..4).await;
        let before = rows(&lake).await;
        let mut retention = start(&lake, "retention", 1, "");
        std::thread::sleep(Duration::from_millis(rand::random_range(0..80)));
        retention.kill().unwrap();
        retention.wait().unwrap();
        for (now, before) in rows(&lake).await.iter().zip(&before) {
            assert!(now.is_empty() || now == before, "part of a partition went");
        }
        assert!(ended(start(&lake, "retention", 1, "")));
        // Silver's date stays: no bars have been made of it yet.
        assert_eq!(rows(&lake).await, [Vec::new(), before[1].clone()]);
    }
}
