//! Our bars against a venue's own candles.
//!
//! Reading order: `candles` reads what the venue published, `compare` holds the bars of gold against it and keeps the outcome in system.parity.

mod candles;
mod compare;

pub use candles::{Candle, parse};
pub use compare::{FieldDifference, Parity, ParityOptions, parity};
