//! The models under `sql/models/`: one statement a file, values bound as `$name` parameters.

/// Bars of one interval from the silver trades of the touched windows.
pub const OHLCV: &str = include_str!("../models/ohlcv.sql");

/// Which rows of bronze that silver does not hold repeat a row that it does hold.
pub const REPEATS_IN_SILVER: &str = include_str!("../models/repeats_in_silver.sql");

/// The same for conflicting repeats, which quarantine holds.
pub const REPEATS_IN_QUARANTINE: &str = include_str!("../models/repeats_in_quarantine.sql");

/// Bars as they were known at an instant.
pub const KNOWN_AT: &str = include_str!("../models/known_at.sql");

/// What a rebuild changes in a range of silver.trades, and of gold.ohlcv_<interval>.
pub const REBUILT_TRADES: &str = include_str!("../models/rebuilt_trades.sql");
pub const REBUILT_BARS: &str = include_str!("../models/rebuilt_bars.sql");

/// Our bars against a venue's own candles, field by field.
pub const PARITY: &str = include_str!("../models/parity.sql");
