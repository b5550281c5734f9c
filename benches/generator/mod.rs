//! Canonical records for benchmarks: seeded, so that two runs read the same bytes; shaped like a busy venue's.
//!
//! About 220 bytes a record, 370 with `raw`, which holds a Binance trade event of the same trade.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// 2025-01-01T00:00:00Z, microseconds.
const START_US: i64 = 1_735_689_600_000_000;
const SYMBOLS: [(&str, &str, i64); 10] = [
    ("BTC-USDT", "BTCUSDT", 6_423_112),
    ("ETH-USDT", "ETHUSDT", 334_210),
    ("SOL-USDT", "SOLUSDT", 18_945),
    ("XRP-USDT", "XRPUSDT", 20_811),
    ("DOGE-USDT", "DOGEUSDT", 31_520),
    ("BNB-USDT", "BNBUSDT", 70_125),
    ("ADA-USDT", "ADAUSDT", 85_420),
    ("AVAX-USDT", "AVAXUSDT", 3_571),
    ("LINK-USDT", "LINKUSDT", 2_024),
    ("TRX-USDT", "TRXUSDT", 25_470),
];

pub struct Generator {
    random: ChaCha8Rng,
    with_raw: bool,
    prices: [i64; SYMBOLS.len()],
    seqs: [i64; SYMBOLS.len()],
    ts: i64,
    text: String,
    key: String,
}

impl Generator {
    pub fn new(seed: u64, with_raw: bool) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            with_raw,
            prices: SYMBOLS.map(|(_, _, price)| price),
            seqs: std::array::from_fn(|index| 4_839_201_000 + 1_000_000_000 * index as i64),
            ts: START_US,
            text: String::new(),
            key: String::new(),
        }
    }

    /// The next record: key and value.
    pub fn next(&mut self) -> (&str, &str) {
        use std::fmt::Write;
        let index = self.random.random_range(0..SYMBOLS.len());
        let (symbol, native, start) = SYMBOLS[index];
        let step = self.random.random_range(-5..=5);
        self.prices[index] = (self.prices[index] + step).max(start / 2);
        self.seqs[index] += 1;
        self.ts += self.random.random_range(1..200);
        let (price, seq, ts) = (self.prices[index], self.seqs[index], self.ts);
        let quantity = self.random.random_range(1..500_000_000);
        let (buy, delay) = (self.random.random_bool(0.5), self.random.random_range(5_000..60_000));
        self.key.clear();
        let _ = write!(self.key, "binance-spot:{symbol}");
        self.text.clear();
        let _ = write!(
            self.text,
            r#"{{"venue":"binance-spot","symbol":"{symbol}","kind":"trade","trade_id":"{seq}","seq":{seq},"price":"{}.{:02}","qty":"{}.{:08}","side":"{}","ts":{ts},"received_at":{},"source":"live","conditions":[]"#,
            price / 100,
            price % 100,
            quantity / 100_000_000,
            quantity % 100_000_000,
            if buy { "buy" } else { "sell" },
            ts + delay,
        );
        if self.with_raw {
            let _ = write!(
                self.text,
                r#","raw":"{{\"e\":\"trade\",\"E\":{},\"s\":\"{native}\",\"t\":{seq},\"p\":\"{}.{:02}000000\",\"q\":\"{}.{:08}\",\"T\":{},\"m\":{}}}""#,
                ts / 1000 + 1,
                price / 100,
                price % 100,
                quantity / 100_000_000,
                quantity % 100_000_000,
                ts / 1000,
                !buy,
            );
        }
        self.text.push('}');
        (&self.key, &self.text)
    }
}
