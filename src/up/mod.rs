//! `ticklake up`: broker, feed, lake, jobs and server in one process. With brokers configured, the same without the embedded one.
//!
//! Reading order: `run` starts the stages in the order of the data flow and stops them in it too, so that each drains what the one
//! before it has sent; `stage` keeps one running; `banner` is what the user sees; `broker_upkeep` keeps the embedded log small.

mod banner;

mod broker_upkeep;

mod run;

mod stage;

pub use run::run;
