//! Nothing that a version inside the window needs is deleted, nothing that a derived table has still to read, and all the rest is.

use std::path::PathBuf;

use ticklake_sql::{ErrorKind, History, TableName, log};

use super::*;
use crate::maintenance::{VacuumOptions, optimize, vacuum};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn daily() -> VacuumOptions {
    VacuumOptions {
        full_every: None,
        ..VacuumOptions::default()
    }
}

fn full() -> VacuumOptions {
    VacuumOptions {
        full: true,
        ..VacuumOptions::default()
    }
}

/// Ages every file on disk, as the store sees it, to the test's clock.
fn age(lake: &TestLake, name: &TableName) {
    let now = DateTime::from_timestamp_micros(lake.now_us.load(Ordering::SeqCst)).unwrap();
    for path in on_disk(lake, name) {
        let file = std::fs::File::options().append(true).open(path).unwrap();
        file.set_modified((now - chrono::TimeDelta::days(30)).into()).unwrap();
    }
}

async fn run(lake: &TestLake, name: &TableName, options: &VacuumOptions) -> crate::maintenance::VacuumReport {
    let tables = lake.lake.tables().await.unwrap();
    vacuum(&table(lake, name).await, &tables, options).await.unwrap()
}

async fn refresh(lake: &TestLake) {
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    silver.refresh().await.unwrap();
    let mut gold = Gold::open(lake.lake.clone(), GoldOptions::default()).await.unwrap();
    gold.refresh().await.unwrap();
}

/// Each row as it was at `version`.
async fn rows_at(table: &Table, version: u64) -> usize {
    let snapshot = table.load(Some(version)).await.unwrap();
    let mut rows = 0;
    for uri in snapshot.get_file_uris().unwrap() {
        let file = std::fs::File::open(uri.strip_prefix("file://").unwrap_or(&uri)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        rows += reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>();
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_inside_the_window_stay_whole() {
    let lake = filled(6, 10).await;
    let name = TableName::silver_trades();
    let silver = table(&lake, &name).await;
    let old = lake.version(&name).await;
    optimize(&silver, &options()).await.unwrap();
    refresh(&lake).await;
    pass(&lake, 4 * DAY);
    // Four days later: every version is inside the window of five.
    let report = run(&lake, &name, &daily()).await;
    assert_eq!((report.files, on_disk(&lake, &name).len()), (0, 7));
    assert_eq!(rows_at(&silver, old).await, 60);
    assert_eq!(rows_at(&silver, 3).await, 30);

    pass(&lake, 2 * DAY);
    lake.land(&[trade(60)]).await;
    refresh(&lake).await;
    let dry = VacuumOptions {
        dry_run: true,
        ..daily()
    };
    let report = run(&lake, &name, &dry).await;
    assert_eq!(
        (report.files, on_disk(&lake, &name).len()),
        (6, 8),
        "a dry run deletes nothing"
    );
    let report = run(&lake, &name, &daily()).await;
    assert_eq!((report.files, on_disk(&lake, &name).len()), (6, 2), "the small files");
    assert!(report.bytes > 0);
    let newest = lake.version(&name).await;
    for version in old + 1..=newest {
        assert!(rows_at(&silver, version).await >= 60, "version {version}");
    }
    assert_eq!(
        run(&lake, &name, &daily()).await.files,
        0,
        "the log up to there is done with"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_derived_still_finds_what_it_has_to_read() {
    let lake = filled(3, 10).await;
    let name = TableName::bronze_trades();
    // Silver has not seen these; optimize takes their files out of bronze.
    for commit in 3..6 {
        lake.land(&(commit * 10..commit * 10 + 10).map(trade).collect::<Vec<_>>())
            .await;
    }
    pass(&lake, Duration::from_secs(7200));
    let bronze = table(&lake, &name).await;
    optimize(&bronze, &options()).await.unwrap();
    pass(&lake, 20 * DAY);
    age(&lake, &name);
    let before = on_disk(&lake, &name);
    for options in [daily(), full()] {
        assert_eq!(run(&lake, &name, &options).await.files, 0, "{options:?}");
        assert_eq!(on_disk(&lake, &name), before);
    }
    refresh(&lake).await;
    assert_eq!(
        lake.lines(&TableName::silver_trades()).await.len(),
        60,
        "silver read them all"
    );
    // Now it stands behind them, and the files go.
    pass(&lake, 6 * DAY);
    lake.land(&[trade(60)]).await;
    refresh(&lake).await;
    let report = run(&lake, &name, &full()).await;
    assert_eq!((report.files, on_disk(&lake, &name).len()), (6, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_killed_writers_left_is_found_by_the_listing() {
    let lake = filled(3, 10).await;
    let name = TableName::silver_trades();
    let folder = PathBuf::from(lake.lake.uri()).join("silver/trades");
    let young = folder.join("date=2025-01-01/part-young.parquet");
    let old = folder.join("date=2025-01-01/part-old.zstd.parquet");
    let foreign = folder.join("notes.txt");
    pass(&lake, 10 * DAY);
    // Gold's position is as young as its last commit.
    lake.land(&[trade(30)]).await;
    refresh(&lake).await;
    for path in [&old, &foreign] {
        std::fs::write(path, "left behind").unwrap();
        let now = DateTime::from_timestamp_micros(lake.now_us.load(Ordering::SeqCst)).unwrap();
        let file = std::fs::File::options().append(true).open(path).unwrap();
        file.set_modified((now - chrono::TimeDelta::days(9)).into()).unwrap();
    }
    // Stamped by the real clock, which is long after the test's.
    std::fs::write(&young, "being written").unwrap();
    let rows = lake.lines(&name).await;
    assert_eq!(run(&lake, &name, &daily()).await.files, 0, "the log does not know it");
    let report = run(&lake, &name, &full()).await;
    assert_eq!((report.full, report.files), (true, 1));
    assert!(!old.exists() && young.exists() && foreign.exists());
    assert_eq!(lake.lines(&name).await, rows);
    // Weekly: not again now.
    assert!(!run(&lake, &name, &VacuumOptions::default()).await.full);
    pass(&lake, 8 * DAY);
    assert!(run(&lake, &name, &VacuumOptions::default()).await.full);
}

/// A query that began on a version goes on for as long as the floor allows, whatever is optimized and vacuumed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_reader_ends_well() {
    let lake = filled(6, 10).await;
    let name = TableName::silver_trades();
    let silver = table(&lake, &name).await;
    let pinned = silver.load(None).await.unwrap();
    let uris: Vec<String> = pinned.get_file_uris().unwrap().collect();
    let mut read = 0;
    let shortest = VacuumOptions {
        time_travel: Some(Duration::from_secs(3600)),
        ..full()
    };
    for uri in uris {
        // Between two files of the reader: everything that maintenance can do, nine minutes of the floor's hour.
        lake.land(&[trade(100 + read as i64)]).await;
        refresh(&lake).await;
        pass(&lake, Duration::from_secs(540));
        age(&lake, &name);
        optimize(
            &silver,
            &OptimizeOptions {
                min_age: Duration::ZERO,
                thorough: true,
                ..options()
            },
        )
        .await
        .unwrap();
        run(&lake, &name, &shortest).await;
        let file = std::fs::File::open(uri.strip_prefix("file://").unwrap_or(&uri)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        read += reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>();
    }
    assert_eq!(read, 60);
    pass(&lake, DAY);
    lake.land(&[trade(999)]).await;
    refresh(&lake).await;
    assert!(run(&lake, &name, &shortest).await.files >= 6, "and then its files go");
}

/// Where no time is set, the table's own counts: what it says of removed files is what every reader of it may expect.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_setting_the_window_is_the_table_s_own() {
    let history = History {
        removed_files: Duration::from_secs(2 * 3600),
        log: Duration::from_secs(4 * 3600),
    };
    let lake = TestLake::keeping(history).await;
    let name = TableName::silver_trades();
    for commit in 0..3 {
        lake.land(&[trade(commit)]).await;
        refresh(&lake).await;
    }
    pass(&lake, Duration::from_secs(1800));
    optimize(&table(&lake, &name).await, &options()).await.unwrap();
    pass(&lake, Duration::from_secs(7100));
    lake.land(&[trade(3)]).await;
    refresh(&lake).await;
    assert_eq!(run(&lake, &name, &daily()).await.files, 0);
    pass(&lake, Duration::from_secs(200));
    assert_eq!(
        run(&lake, &name, &daily()).await.files,
        3,
        "what optimize took out two hours ago"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_below_the_longest_query_is_refused() {
    let lake = filled(1, 1).await;
    let tables = lake.lake.tables().await.unwrap();
    for time_travel in [Duration::from_secs(60), 8 * DAY] {
        let options = VacuumOptions {
            time_travel: Some(time_travel),
            ..daily()
        };
        let error = vacuum(&tables[0], &tables, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("vacuum.time_travel"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_says_what_was_deleted() {
    let lake = filled(4, 10).await;
    let name = TableName::silver_trades();
    let silver = table(&lake, &name).await;
    optimize(&silver, &options()).await.unwrap();
    refresh(&lake).await;
    pass(&lake, 6 * DAY);
    lake.land(&[trade(70)]).await;
    refresh(&lake).await;
    assert_eq!(run(&lake, &name, &daily()).await.files, 4);
    let entry = log::read(&silver, lake.version(&name).await).await.unwrap().unwrap();
    assert_eq!(entry.info_value("filesDeleted"), Some(&4.into()));
    assert_eq!(entry.txns.len(), 1);
}
