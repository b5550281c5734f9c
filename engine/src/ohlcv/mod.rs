//! `ohlcv(ts, seq, trade_id, price, qty, side, count [, counts_for])`: one bar from the trades of one window, in one pass and exactly.
//! `counts_for` is `price` (what is left out or NULL is too), `range` or `volume`: which prices of the bar a trade may set.
//!
//! Reading order: `trades` is the input, `bar` folds it, `wide` holds the sums, `state` and `result` are what a bar looks like between
//! two steps of a plan and at its end; `udaf` and `groups` are the face that DataFusion
//! sees, `runs` and `streaming` the short way through files that are sorted already. The order of the input never matters.

pub mod bar;
pub mod groups;
pub mod result;
pub mod runs;
pub mod state;
pub mod streaming;
pub mod trades;
pub mod udaf;
pub mod wide;

pub use streaming::stream_sorted;
pub use udaf::{ohlcv_udaf, register};
