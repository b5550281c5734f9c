//! A store that fails: the outcome of a commit is either known, or found out by its positions.

use object_store::ObjectStoreExt;
use ticklake_sql::commit::{Committer, Outcome};
use ticklake_sql::{ErrorKind, log};

use crate::commits::{table, txn};
use crate::faulty_store::{Fault, FaultyStore};

#[tokio::test]
async fn a_lost_answer_is_found_in_the_positions() {
    let store = FaultyStore::new();
    let table = table(&store).await;
    let mut committer = Committer::open(&table).await.unwrap();
    store.next_commits([Fault::LoseAnswer]);
    assert_eq!(
        committer.commit(txn("a", 5)).await.unwrap_err().kind(),
        ErrorKind::Retry
    );
    assert_eq!(committer.version(), 0, "an unknown outcome moves nothing");
    committer.refresh().await.unwrap();
    assert_eq!(
        (committer.version(), committer.positions()["a"]),
        (1, 5),
        "moved exactly to the target: it landed"
    );
}

#[tokio::test]
async fn a_lost_answer_never_becomes_a_second_commit() {
    let store = FaultyStore::new();
    let table = table(&store).await;
    let mut committer = Committer::open(&table).await.unwrap();
    store.next_commits([Fault::LoseAnswer]);
    committer.commit(txn("a", 5)).await.unwrap_err();
    // Tried again without looking: its own app id stands in the way.
    let again = committer.commit(txn("a", 5)).await.unwrap();
    assert!(matches!(again, Outcome::Conflict { version: 1, .. }), "{again:?}");
    assert!(log::read(&table, 2).await.unwrap().is_none());
}

#[tokio::test]
async fn a_put_repeated_by_the_client_is_recognised() {
    let store = FaultyStore::new();
    let table = table(&store).await;
    let mut committer = Committer::open(&table).await.unwrap();
    store.next_commits([Fault::RepeatPut]);
    assert_eq!(
        committer.commit(txn("a", 5)).await.unwrap(),
        Outcome::Committed { version: 1 }
    );
    assert_eq!(committer.positions()["a"], 5);
    assert_eq!(*table.committed().borrow(), 1);
}

#[tokio::test]
async fn a_store_that_refuses_for_a_while_delays() {
    let store = FaultyStore::new();
    let table = table(&store).await;
    let mut committer = Committer::open(&table).await.unwrap();
    store.next_commits([Fault::Refuse; 3]);
    for _ in 0..3 {
        assert_eq!(
            committer.commit(txn("a", 5)).await.unwrap_err().kind(),
            ErrorKind::Retry
        );
        committer.refresh().await.unwrap();
        assert!(
            !committer.positions().contains_key("a"),
            "not moved: try the same again"
        );
    }
    assert_eq!(
        committer.commit(txn("a", 5)).await.unwrap(),
        Outcome::Committed { version: 1 }
    );
}

#[tokio::test]
async fn a_torn_entry_is_named() {
    let store = FaultyStore::new();
    let table = table(&store).await;
    let entry = deltalake::logstore::commit_uri_from_version(Some(1));
    table
        .log_store()
        .object_store(None)
        .put(&entry, "{\"txn\":{\"appId\":".into())
        .await
        .unwrap();
    let error = log::read(&table, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(
        error.to_string().contains("entry 1 of its log cannot be read"),
        "{error}"
    );
}
