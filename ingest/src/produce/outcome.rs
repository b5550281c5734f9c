//! What became of records that librdkafka took: counted when acknowledged, kept for another try when not.
//!
//! Lives on librdkafka's callback, so a success costs one addition.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use ticklake_sql::Clock;

use super::ProduceStatus;

/// A record on its way back. As many as librdkafka's queue held at most.
#[derive(Debug)]
pub(super) struct Returned {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// Outcomes of one producer and its successors.
#[derive(Debug)]
pub(super) struct Outcomes {
    pub status: Arc<ProduceStatus>,
    clock: Clock,
    fatal: AtomicBool,
    topic_missing: AtomicBool,
    returned: Mutex<VecDeque<Returned>>,
    has_returned: AtomicBool,
}

impl Outcomes {
    pub fn new(status: Arc<ProduceStatus>, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            status,
            clock,
            fatal: AtomicBool::new(false),
            topic_missing: AtomicBool::new(false),
            returned: Mutex::default(),
            has_returned: AtomicBool::new(false),
        })
    }

    pub fn is_fatal(&self) -> bool {
        self.fatal.load(Ordering::Acquire)
    }

    pub fn set_fatal(&self, fatal: bool) {
        self.fatal.store(fatal, Ordering::Release);
    }

    /// True once after records came back because the topic is not there.
    pub fn take_topic_missing(&self) -> bool {
        self.topic_missing.swap(false, Ordering::AcqRel)
    }

    pub fn has_returned(&self) -> bool {
        self.has_returned.load(Ordering::Acquire)
    }

    /// Records that came back since the last call.
    pub fn take_returned(&self) -> VecDeque<Returned> {
        let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_returned.store(false, Ordering::Release);
        std::mem::take(&mut returned)
    }

    pub fn give_back(&self, records: impl IntoIterator<Item = Returned>) {
        let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
        returned.extend(records);
        self.has_returned.store(!returned.is_empty(), Ordering::Release);
    }

    /// A record that no retry can deliver.
    pub fn reject(&self, code: RDKafkaErrorCode) {
        self.status.rejected.fetch_add(1, Ordering::Relaxed);
        self.note(format!("record refused: {code}"));
    }

    pub fn note(&self, message: String) {
        tracing::warn!(message, "producer");
        self.status.set_error(message, self.clock.now_us());
    }
}

/// True where the record itself is the trouble: the same bytes would be refused again.
pub(super) fn is_permanent(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{InvalidMessage, InvalidMessageSize, InvalidRecord, InvalidTimestamp, MessageSizeTooLarge};
    matches!(
        code,
        MessageSizeTooLarge | InvalidMessage | InvalidMessageSize | InvalidRecord | InvalidTimestamp
    )
}

pub(super) fn is_topic_missing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    matches!(code, UnknownTopic | UnknownPartition | UnknownTopicOrPartition)
}

/// Ties librdkafka's callbacks to the outcomes.
#[derive(Debug, Clone)]
pub(super) struct Callbacks(pub Arc<Outcomes>);

impl ClientContext for Callbacks {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.0.set_fatal(true);
        }
        self.0.note(format!("{error}: {reason}"));
    }
}

impl ProducerContext for Callbacks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let outcomes = &self.0;
        let Err((error, message)) = result else {
            outcomes.status.delivered.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        if is_permanent(code) {
            outcomes.reject(code);
            return;
        }
        if is_topic_missing(code) {
            outcomes.topic_missing.store(true, Ordering::Release);
        }
        if !outcomes.has_returned() {
            outcomes.note(format!("records came back and are sent again: {code}"));
        }
        let bytes = |part: Option<&[u8]>| part.unwrap_or_default().to_vec();
        outcomes.give_back([Returned {
            key: bytes(message.key()),
            value: bytes(message.payload()),
        }]);
    }
}
