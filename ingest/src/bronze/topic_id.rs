//! A topic's id and number of partitions, from the admin call `rd_kafka_DescribeTopics`, which rdkafka does not expose.
//!
//! The only unsafe code of the workspace. Every pointer that librdkafka hands out here lives as long as the event it came from,
//! nothing borrowed leaves this file, and each object made is destroyed by its guard's drop.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;
use rdkafka_sys::types::RDKafka;

/// The id that Kafka gives a topic when it is made; another topic of the same name has another one (KIP-516).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId([u8; 16]);

impl TopicId {
    pub fn from_bits(most: i64, least: i64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&most.to_be_bytes());
        bytes[8..].copy_from_slice(&least.to_be_bytes());
        Self(bytes)
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// Brokers older than 2.8 give every topic this id: a topic made again cannot be told by it.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 16]
    }
}

/// As Kafka's own tools print it: base64, URL alphabet, no padding.
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicDescription {
    pub id: TopicId,
    /// Partitions are numbered from 0 to below this.
    pub partitions: i32,
}

/// Asks the cluster about `topic`. Blocks up to `timeout`. A topic that does not exist is `UnknownTopicOrPartition`.
pub fn describe<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<TopicDescription, RDKafkaErrorCode> {
    let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let rk: *mut RDKafka = client.native_ptr();
    // SAFETY: `rk` is valid while `client` is borrowed; `name` outlives the collection that copies it; null results are checked before use.
    unsafe {
        let queue = Owned::new(sys::rd_kafka_queue_new(rk), sys::rd_kafka_queue_destroy)?;
        let options = Owned::new(
            sys::rd_kafka_AdminOptions_new(rk, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            sys::rd_kafka_AdminOptions_destroy,
        )?;
        check(sys::rd_kafka_AdminOptions_set_request_timeout(
            options.0,
            timeout_ms,
            std::ptr::null_mut(),
            0,
        ))?;
        let mut names = [name.as_ptr()];
        let topics = Owned::new(
            sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1),
            sys::rd_kafka_TopicCollection_destroy,
        )?;
        sys::rd_kafka_DescribeTopics(rk, topics.0, options.0, queue.0);
        // The request's own timeout answers first; the margin only guards against a queue that never speaks.
        let event = sys::rd_kafka_queue_poll(queue.0, timeout_ms.saturating_add(1000));
        let event = Owned::new(event, sys::rd_kafka_event_destroy).map_err(|_| RDKafkaErrorCode::RequestTimedOut)?;
        check(sys::rd_kafka_event_error(event.0))?;
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            return Err(RDKafkaErrorCode::Fail);
        }
        let mut count = 0;
        let described = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if described.is_null() || count == 0 {
            return Err(RDKafkaErrorCode::UnknownTopicOrPartition);
        }
        let topic = *described;
        let error = sys::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            check(sys::rd_kafka_error_code(error))?;
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null() {
            return Err(RDKafkaErrorCode::Fail);
        }
        let id = TopicId::from_bits(
            sys::rd_kafka_Uuid_most_significant_bits(id),
            sys::rd_kafka_Uuid_least_significant_bits(id),
        );
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
        let partitions = i32::try_from(partitions).map_err(|_| RDKafkaErrorCode::Fail)?;
        Ok(TopicDescription { id, partitions })
    }
}

fn check(code: sys::rd_kafka_resp_err_t) -> Result<(), RDKafkaErrorCode> {
    match code {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(code.into()),
    }
}

/// A librdkafka object that is destroyed on drop.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self, RDKafkaErrorCode> {
        if pointer.is_null() {
            return Err(RDKafkaErrorCode::Fail);
        }
        Ok(Self(pointer, destroy))
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: not null (checked in `new`), made by librdkafka, destroyed once.
        unsafe { (self.1)(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_id_reads_back_what_it_prints() {
        let id = TopicId::from_bits(-1, 0x0123_4567_89ab_cdef);
        let text = id.to_string();
        assert_eq!(text, "__________8BI0VniavN7w");
        assert_eq!(TopicId::parse(&text), Some(id));
        assert!(!id.is_zero());
        assert!(TopicId::from_bits(0, 0).is_zero());
        assert_eq!(TopicId::parse("short"), None);
    }
}
