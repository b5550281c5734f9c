//! Trades -> Kafka.
