//! The formats of historical files under `sql/import/`: one SELECT a format, from the columns of a file as text to those of bronze.trades.

/// (name on the command line, text), in the order of listings.
pub const FORMATS: [(&str, &str); 6] = [
    ("binance-trades", include_str!("../import/binance_trades.sql")),
    ("binance-aggtrades", include_str!("../import/binance_aggtrades.sql")),
    ("us-equities-ticks", include_str!("../import/us_equities_ticks.sql")),
    ("csv", include_str!("../import/csv.sql")),
    ("jsonl", include_str!("../import/jsonl.sql")),
    ("parquet", include_str!("../import/parquet.sql")),
];

/// The text of a shipped format.
pub fn format(name: &str) -> Option<&'static str> {
    FORMATS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
