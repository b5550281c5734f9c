//! What the simulator trades: pairs of different price level, volatility and activity, most active first.

use crate::error::{Error, Result};
use crate::trade::Symbol;

/// (symbol, starting price, decimals of a quantity, largest step of the walk in price ticks). The price's decimals are its tick.
#[rustfmt::skip]
const LISTED: &[(&str, &str, u8, i64)] = &[
    ("BTC-USDT", "64231.12", 5, 900),
    ("ETH-USDT", "3421.55", 4, 150),
    ("SOL-USDT", "172.34", 3, 12),
    ("BNB-USDT", "598.70", 3, 20),
    ("XRP-USDT", "0.6123", 0, 3),
    ("DOGE-USDT", "0.15982", 0, 12),
    ("ADA-USDT", "0.4512", 1, 3),
    ("TRX-USDT", "0.13410", 1, 5),
    ("AVAX-USDT", "36.28", 2, 6),
    ("SHIB-USDT", "0.00002341", 0, 4),
    ("DOT-USDT", "7.214", 2, 8),
    ("LINK-USDT", "14.872", 2, 12),
    ("TON-USDT", "5.631", 2, 7),
    ("BCH-USDT", "478.10", 3, 30),
    ("LTC-USDT", "83.47", 3, 8),
    ("NEAR-USDT", "6.702", 1, 12),
    ("UNI-USDT", "9.315", 2, 14),
    ("ICP-USDT", "12.084", 2, 15),
    ("APT-USDT", "9.423", 2, 16),
    ("ETC-USDT", "28.91", 2, 5),
    ("XLM-USDT", "0.11230", 0, 6),
    ("HBAR-USDT", "0.10874", 0, 9),
    ("FIL-USDT", "5.871", 2, 9),
    ("ARB-USDT", "1.1324", 1, 14),
    ("OP-USDT", "2.4871", 1, 31),
    ("ATOM-USDT", "8.432", 2, 9),
    ("INJ-USDT", "25.117", 3, 40),
    ("SUI-USDT", "1.0842", 1, 13),
    ("STX-USDT", "2.1173", 1, 25),
    ("IMX-USDT", "2.2014", 1, 29),
    ("VET-USDT", "0.034870", 0, 40),
    ("GRT-USDT", "0.28914", 0, 33),
    ("RUNE-USDT", "5.284", 2, 12),
    ("ALGO-USDT", "0.18462", 0, 14),
    ("AAVE-USDT", "92.11", 3, 12),
    ("MKR-USDT", "2741.9", 4, 45),
    ("THETA-USDT", "2.0631", 1, 22),
    ("SAND-USDT", "0.43871", 0, 41),
    ("MANA-USDT", "0.44203", 0, 38),
    ("AXS-USDT", "7.4913", 2, 90),
    ("EGLD-USDT", "40.62", 2, 6),
    ("CHZ-USDT", "0.11873", 0, 19),
    ("CRV-USDT", "0.41522", 0, 52),
    ("LDO-USDT", "1.9284", 1, 33),
    ("PEPE-USDT", "0.0000081234", 0, 1800),
    ("WIF-USDT", "2.8713", 1, 64),
    ("ETH-BTC", "0.05327", 3, 2),
    ("SOL-BTC", "0.0026841", 2, 15),
    ("BNB-BTC", "0.009321", 3, 3),
    ("USDC-USDT", "1.0001", 0, 1),
];

/// Symbols that a simulator may have.
pub const MAX_SYMBOLS: usize = 10_000;

/// One traded pair. Prices and quantities are integers of the last decimal place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instrument {
    pub symbol: Symbol,
    pub start_price: i64,
    pub price_scale: u8,
    pub qty_scale: u8,
    pub max_step: i64,
}

impl Instrument {
    fn listed(index: usize) -> Self {
        let (symbol, price, qty_scale, max_step) = LISTED[index % LISTED.len()];
        let price_scale = price.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let start_price = price
            .bytes()
            .filter(u8::is_ascii_digit)
            .fold(0, |ticks, digit| ticks * 10 + i64::from(digit - b'0'));
        Self {
            symbol: Symbol::new(symbol),
            start_price,
            price_scale: price_scale as u8,
            qty_scale,
            max_step,
        }
    }

    /// A pair that is not listed trades like the listed one of the same rank.
    fn named(name: &str, rank: usize) -> Self {
        let listed = LISTED.iter().position(|(symbol, ..)| *symbol == name);
        Self {
            symbol: Symbol::new(name),
            ..Self::listed(listed.unwrap_or(rank))
        }
    }
}

/// The first `count` pairs, or those of the given names.
pub fn choose(count: usize, names: &[String]) -> Result<Vec<Instrument>> {
    let wanted = if names.is_empty() { count } else { names.len() };
    if wanted == 0 || wanted > MAX_SYMBOLS {
        return Err(Error::Invalid(format!(
            "the simulator trades 1 to {MAX_SYMBOLS} symbols, not {wanted}"
        )));
    }
    if names.is_empty() {
        let name = |rank: usize| {
            LISTED
                .get(rank)
                .map_or_else(|| format!("SIM{rank:04}-USDT"), |(symbol, ..)| (*symbol).to_owned())
        };
        return Ok((0..count).map(|rank| Instrument::named(&name(rank), rank)).collect());
    }
    let mut chosen: Vec<Instrument> = Vec::with_capacity(names.len());
    for (rank, name) in names.iter().enumerate() {
        let symbol = super::super::symbols::parse_binance(name)?;
        if chosen.iter().any(|instrument| instrument.symbol == symbol) {
            return Err(Error::Invalid(format!("symbol `{name}` is named twice; name it once")));
        }
        chosen.push(Instrument::named(symbol.as_str(), rank));
    }
    Ok(chosen)
}
