//! What the producer tells about itself while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::feed::FeedStatus;
use crate::feed::status::ErrorNote;

#[derive(Debug, Default)]
pub struct ProduceStatus {
    pub feed: Arc<FeedStatus>,
    /// Acknowledged by the broker.
    pub delivered: AtomicU64,
    /// Refused by the broker for what they are.
    pub rejected: AtomicU64,
    /// Came back from a failed producer or a missing topic, and were sent again.
    pub resent: AtomicU64,
    /// Times that librdkafka's queue was found full.
    pub queue_full: AtomicU64,
    /// Producers made after a fatal error.
    pub renewals: AtomicU64,
    /// Given up at the drain deadline.
    pub undelivered: AtomicU64,
    pub partitions: AtomicU64,
    target: Mutex<(String, String)>,
    last_error: Mutex<Option<ErrorNote>>,
}

impl ProduceStatus {
    /// Records that the feed has made.
    pub fn pushed(&self) -> u64 {
        self.feed.trades.load(Ordering::Relaxed) + self.feed.undecoded.load(Ordering::Relaxed)
    }

    pub fn set_target(&self, brokers: &str, topic: &str) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = (brokers.to_owned(), topic.to_owned());
    }

    pub fn set_error(&self, message: String, at: i64) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(ErrorNote { message, at });
    }

    pub fn last_error(&self) -> Option<ErrorNote> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn snapshot(&self) -> Value {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (brokers, topic) = self.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let waiting = self
            .pushed()
            .saturating_sub(count(&self.delivered))
            .saturating_sub(count(&self.rejected));
        json!({
            "brokers": brokers,
            "topic": topic,
            "partitions": count(&self.partitions),
            "delivered": count(&self.delivered),
            "rejected": count(&self.rejected),
            "waiting": waiting,
            "resent": count(&self.resent),
            "queue_full": count(&self.queue_full),
            "renewals": count(&self.renewals),
            "undelivered": count(&self.undelivered),
            "last_error": self.last_error().map(|error| error.to_json()),
            "feed": self.feed.snapshot(),
        })
    }
}
