//! Silver: valid trades, each once. Reads the bronze versions it has not read, sets aside what breaks a rule, removes repeats by key.
//!
//! Reading order: `rules` judges one row, `key` and `repeats` say which rows are the same trade and which one survives, `settle` turns that
//! into inserts and deletes; `ranges` and `held` find the few files that may hold a repeat; `chunk`, `plan`, `write` and `refresh` do the work,
//! `release` judges quarantined trades again.
//! Not a model in SQL: whether a row stays depends on rows of any date that it names by key, and on an order no join keeps; files are rewritten.

pub(crate) mod chunk;
pub(crate) mod columns;
pub(crate) mod file_reader;
mod held;
pub mod key;
mod options;
pub(crate) mod output;
pub(crate) mod plan;
pub mod ranges;
pub(crate) mod read;
pub(crate) mod refresh;
mod release;
mod repeats;
pub(crate) mod rows;
pub mod rules;
mod settle;
pub(crate) mod write;

pub use options::SilverOptions;
pub use refresh::{Silver, dropped_total};
pub use release::Released;

#[cfg(test)]
pub(crate) mod tests;
