//! Names under which positions stand in a table's log, `ticklake/<table>/<what>...`: those that more than one part of the program reads.

use crate::TableName;

/// Carried by every commit that takes files out of the table: two of them exclude each other.
pub fn writer(table: &TableName) -> String {
    format!("ticklake/{table}/writer")
}

/// The version of `input` that the table, which is derived from it, has read.
pub fn input(table: &TableName, input: &TableName) -> String {
    format!("ticklake/{table}/input/{input}")
}

/// The first date that retention has left whole, days since the epoch.
pub fn low_water(table: &TableName) -> String {
    format!("ticklake/{table}/low-water")
}

/// What `<cluster>/<topic id>/<partition>` follows; the version is the consumer's next offset.
pub fn kafka_prefix(table: &TableName) -> String {
    format!("ticklake/{table}/kafka/")
}

/// What `<cluster>/<topic>/<topic id>` follows; the version tells how many topics of that name there have been.
pub fn kafka_topic_prefix(table: &TableName) -> String {
    format!("ticklake/{table}/kafka-topic/")
}
