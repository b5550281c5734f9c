//! Our bars against a venue's own candles.
//!
//! Reading order: `file` opens what the venue published, `candles` and `equities` read it, `compare` holds the bars of gold against it and keeps the outcome in system.parity.

mod candles;
mod compare;
mod equities;
mod file;

pub use candles::{Candle, parse};
pub use compare::{FieldDifference, Parity, ParityOptions, parity};
pub use file::{CandleFormat, read};
