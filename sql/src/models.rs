//! The models under `sql/models/`: one statement a file, values bound as `$name` parameters.

/// Bars of one interval from the silver trades of the touched windows.
pub const OHLCV: &str = include_str!("../models/ohlcv.sql");
