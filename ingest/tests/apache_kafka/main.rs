//! Kafka -> bronze against Apache Kafka: what only the real broker does. `TICKLAKE_TEST_KAFKA` is its address; without it these tests fail.
//! librdkafka's mock cluster cannot stand in: it never answers the admin call that tells a topic's id.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

mod topics;

mod dead_letters;

mod flow;

mod store_faults;

mod broker;

mod outages;

mod instances;

mod kills;

mod lost_positions;

mod transactions;

mod produce;
