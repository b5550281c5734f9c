//! Reading a set of data files of one table: pruned by their statistics, each in the order that it is stored in.
//!
//! `file` is one data file and its bounds, `bounds` prunes with them, `ordered` is the table that DataFusion scans,
//! `session` the context that knows the bar aggregate and how to stream it.

pub mod bounds;
pub mod file;
pub mod ordered;
pub mod session;

pub use file::DataFile;
pub use ordered::OrderedScan;
