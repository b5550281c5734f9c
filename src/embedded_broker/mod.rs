//! A Kafka-protocol broker inside the process, for the first run and for tests: the Tansu crates over one SQLite file.
//!
//! Reading order: `server` accepts connections and heals a storage engine that died, `requests` answers one connection,
//! `fetch` reads records, `location` names the file to Tansu, `trim` forgets records that bronze holds. Never what a published figure is measured against.

mod fetch;

mod location;

mod requests;

mod server;

mod trim;

pub use server::{BrokerOptions, EmbeddedBroker};
pub use trim::Trimmer;
