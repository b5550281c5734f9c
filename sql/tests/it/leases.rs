//! Commits under a lease: its holder's all land, one that another has taken over writes nothing, wherever it wakes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ticklake_sql::commit::{Commit, Committer, Outcome};
use ticklake_sql::{Error, ErrorKind, Lease, Table, TableName, log};

use crate::commits::{table, txn};
use crate::faulty_store::FaultyStore;

/// The same table as a job sees it. `lease/job` is never given up by itself: what is refused here is refused by the log alone.
async fn under(table: &Table, token: i64) -> Table {
    let lease = Lease::new("job", token, || true);
    table
        .lake()
        .under(lease)
        .table(&TableName::silver_trades())
        .await
        .unwrap()
}

fn check_lost(outcome: Result<Outcome, Error>, recorded: i64) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lease, "{error}");
    let Error::LeaseLost { recorded: found, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(found, Some(recorded));
}

#[tokio::test]
async fn every_commit_of_a_holder_carries_its_token_and_none_is_in_the_way_of_another() {
    let table = table(&FaultyStore::new()).await;
    let mut one = Committer::open(&under(&table, 3).await).await.unwrap();
    let mut other = Committer::open(&under(&table, 3).await).await.unwrap();
    one.commit(txn("a", 1)).await.unwrap();
    // Planned before the first: the token they share does not exclude it.
    assert_eq!(
        other.commit(txn("b", 1)).await.unwrap(),
        Outcome::Committed { version: 2 }
    );
    for version in [1, 2] {
        let entry = log::read(&table, version).await.unwrap().unwrap();
        let tokens: Vec<_> = entry.txns.iter().filter(|txn| txn.app_id == "lease/job").collect();
        assert_eq!(tokens.len(), 1);
        assert_eq!(tokens[0].version, 3);
    }
    assert_eq!(table.positions().await.unwrap().1["lease/job"], 3);
}

#[tokio::test]
async fn a_lease_that_was_taken_over_writes_nothing() {
    let table = table(&FaultyStore::new()).await;
    let mut paused = Committer::open(&under(&table, 1).await).await.unwrap();
    paused.commit(txn("a", 1)).await.unwrap();
    let mut next = Committer::open(&under(&table, 2).await).await.unwrap();
    let fence = Commit {
        operation: "LEASE".into(),
        ..Commit::default()
    };
    next.commit(fence).await.unwrap();
    // It has not seen the other's commit, and finds it where its own should go.
    check_lost(paused.commit(txn("a", 2)).await, 2);
    // Now it has, and once more from the beginning.
    check_lost(paused.commit(txn("a", 2)).await, 2);
    let mut woken = Committer::open(&under(&table, 1).await).await.unwrap();
    check_lost(woken.commit(txn("a", 2)).await, 2);
    assert_eq!(
        next.commit(txn("a", 2)).await.unwrap(),
        Outcome::Committed { version: 3 }
    );
    // Who writes without a lease is not asked for one.
    let mut by_hand = Committer::open(&table).await.unwrap();
    assert_eq!(
        by_hand.commit(txn("c", 1)).await.unwrap(),
        Outcome::Committed { version: 4 }
    );
    // Another job's lease is another's business.
    let other_job = Lease::new("other", 1, || true);
    let other = table
        .lake()
        .under(other_job)
        .table(&TableName::silver_trades())
        .await
        .unwrap();
    let mut other = Committer::open(&other).await.unwrap();
    assert_eq!(
        other.commit(txn("d", 1)).await.unwrap(),
        Outcome::Committed { version: 5 }
    );
}

#[tokio::test]
async fn a_lease_whose_time_is_over_writes_nothing() {
    let table = table(&FaultyStore::new()).await;
    let is_held = Arc::new(AtomicBool::new(true));
    let asked = is_held.clone();
    let lease = Lease::new("job", 1, move || asked.load(Ordering::SeqCst));
    let leased = table
        .lake()
        .under(lease)
        .table(&TableName::silver_trades())
        .await
        .unwrap();
    let mut committer = Committer::open(&leased).await.unwrap();
    committer.commit(txn("a", 1)).await.unwrap();
    is_held.store(false, Ordering::SeqCst);
    check_lost(committer.commit(txn("a", 2)).await, 1);
    assert_eq!(table.positions().await.unwrap().0, 1);
}
