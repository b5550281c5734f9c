//! The rules of prices under `sql/prices/`: one SELECT a rule, from the columns of silver.trades to what a trade counts for beside volume.

/// (name in the configuration, text), in the order of listings.
pub const RULES: [(&str, &str); 3] = [
    ("us-equities-vendor", include_str!("../prices/us_equities_vendor.sql")),
    ("us-equities-sip", include_str!("../prices/us_equities_sip.sql")),
    ("finnhub", include_str!("../prices/finnhub.sql")),
];

/// The text of a shipped rule.
pub fn rule(name: &str) -> Option<&'static str> {
    RULES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
