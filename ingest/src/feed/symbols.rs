//! Canonical BASE-QUOTE names and the venue's own.
//!
//! Binance joins base and quote without a mark, so its name is split by a list and never by guessing a suffix.

use std::collections::HashMap;

use ticklake_sql::symbols;

use crate::error::{Error, Result};
use crate::trade::Symbol;

/// Venue name -> canonical symbol, of one feed.
#[derive(Debug, Clone, Default)]
pub struct SymbolMap {
    canonical: HashMap<String, Symbol>,
}

impl SymbolMap {
    /// The shipped list for Binance.
    pub fn binance() -> Self {
        let mut map = Self::default();
        for pair in symbols::pairs(symbols::BINANCE_PAIRS) {
            map.add(pair);
        }
        map
    }

    /// Adds a canonical pair under the joined name. `-PERP` marks a contract of a futures market, which the venue's name tells already.
    pub fn add(&mut self, pair: &str) {
        let pair = pair.trim_end_matches("-PERP");
        self.canonical.insert(joined(pair), Symbol::new(pair));
    }

    /// The canonical symbol of the venue's own name.
    pub fn get(&self, venue_name: &str) -> Option<&Symbol> {
        self.canonical.get(venue_name)
    }
}

/// What the user named, BTC-USDT or a listed BTCUSDT, as canonical symbol.
pub fn parse_binance(name: &str) -> Result<Symbol> {
    let upper = name.trim().to_ascii_uppercase();
    let known = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match upper.split_once('-') {
        Some((base, quote)) if known(base) && known(quote) => Ok(Symbol::new(&upper)),
        None if known(&upper) => SymbolMap::binance().get(&upper).cloned().ok_or_else(|| {
            Error::Invalid(format!(
                "symbol `{name}` is not in the shipped list of Binance pairs; write it as BASE-QUOTE"
            ))
        }),
        _ => Err(Error::Invalid(format!(
            "symbol `{name}` is not a pair; write it as BASE-QUOTE, for example BTC-USDT"
        ))),
    }
}

/// The name under which Binance knows a canonical symbol: `BTCUSDT`.
pub fn joined(pair: &str) -> String {
    pair.chars()
        .filter(|char| *char != '-')
        .map(|char| char.to_ascii_uppercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_and_listed_names_are_taken_and_suffixes_are_not_guessed() {
        for (given, expected) in [
            ("BTC-USDT", "BTC-USDT"),
            ("btc-usdt", "BTC-USDT"),
            ("ETHBTC", "ETH-BTC"),
            ("FOO-BAR", "FOO-BAR"),
        ] {
            assert_eq!(parse_binance(given).unwrap().as_str(), expected);
        }
        for refused in ["FOOUSDT", "", "BTC-", "-USDT", "BTC-USDT-X", "BTC/USDT", "ticker@all"] {
            assert_eq!(
                parse_binance(refused).unwrap_err().kind(),
                crate::ErrorKind::Invalid,
                "{refused}"
            );
        }
    }

    #[test]
    fn the_shipped_list_has_no_two_pairs_of_one_name() {
        let pairs: Vec<&str> = symbols::pairs(symbols::BINANCE_PAIRS).collect();
        assert_eq!(SymbolMap::binance().canonical.len(), pairs.len());
        assert!(pairs.iter().all(|pair| pair.split('-').count() == 2));
    }
}
