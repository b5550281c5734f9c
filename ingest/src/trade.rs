//! The canonical trade: the one record shape on the Kafka topic, and its JSON encoding.
//!
//! Prices and quantities are decimal text from the venue to silver: nothing here ever makes a float of them.
//! The encoder writes fields in a fixed order without a value tree; the decoder lives with the bronze consumer.

use std::fmt;
use std::sync::Arc;

/// A market of a venue, e.g. `binance-spot`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Venue(Arc<str>);

/// Canonical `BASE-QUOTE`, e.g. `BTC-USDT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(Arc<str>);

macro_rules! name_type {
    ($name:ident) => {
        impl $name {
            pub fn new(name: &str) -> Self {
                Self(name.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(Venue);
name_type!(Symbol);

/// What a record says about trading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Trade,
    /// Several fills of one taker order at one price: `count`, `first_id` and `last_id` tell them.
    Agg,
    Cancel,
    Correct,
}

/// The taker's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Buy,
    Sell,
}

/// How a record came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    Live,
    Repair,
    Replay,
    Sim,
    Import,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Trade => "trade",
            Kind::Agg => "agg",
            Kind::Cancel => "cancel",
            Kind::Correct => "correct",
        }
    }
}

impl Side {
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Buy => "buy",
            Side::Sell => "sell",
        }
    }

    pub fn opposite(self) -> Self {
        match self {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        }
    }
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Live => "live",
            Source::Repair => "repair",
            Source::Replay => "replay",
            Source::Sim => "sim",
            Source::Import => "import",
        }
    }
}

/// One canonical trade, borrowed from the frame that it came in. Times are microseconds since the epoch, UTC.
#[derive(Debug, Clone, PartialEq)]
pub struct Trade<'a> {
    pub venue: &'a Venue,
    pub symbol: &'a Symbol,
    pub kind: Kind,
    /// Identity inside (venue, symbol, kind).
    pub trade_id: &'a str,
    /// Orders the trades of one (venue, symbol).
    pub seq: i64,
    /// Decimal text, as the venue sent it.
    pub price: &'a str,
    /// Decimal text, as the venue sent it.
    pub qty: &'a str,
    /// `None` where the venue does not tell.
    pub side: Option<Side>,
    /// Trade time.
    pub ts: i64,
    /// Arrival at the feed.
    pub received_at: i64,
    pub source: Source,
    /// Sale conditions as the venue codes them.
    pub conditions: &'a [&'a str],
    /// What a cancel or a correction names.
    pub ref_trade_id: Option<&'a str>,
    /// Fills in an aggregate: (count, first id, last id).
    pub fills: Option<Fills>,
    /// Exact text of the trade as the venue sent it.
    pub raw: Option<&'a str>,
}

/// The fills that an aggregate stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fills {
    pub count: i64,
    pub first_id: i64,
    pub last_id: i64,
}

impl Trade<'_> {
    /// Appends the Kafka key, `venue:symbol`: one symbol stays in one partition.
    pub fn write_key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.venue.as_str().as_bytes());
        out.push(b':');
        out.extend_from_slice(self.symbol.as_str().as_bytes());
    }

    /// Appends the record's JSON, optional fields only where they say something.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"venue\":");
        write_string(out, self.venue.as_str());
        out.extend_from_slice(b",\"symbol\":");
        write_string(out, self.symbol.as_str());
        out.extend_from_slice(b",\"kind\":\"");
        out.extend_from_slice(self.kind.as_str().as_bytes());
        out.extend_from_slice(b"\",\"trade_id\":");
        write_string(out, self.trade_id);
        write_integer(out, b",\"seq\":", self.seq);
        out.extend_from_slice(b",\"price\":");
        write_string(out, self.price);
        out.extend_from_slice(b",\"qty\":");
        write_string(out, self.qty);
        if let Some(side) = self.side {
            out.extend_from_slice(b",\"side\":\"");
            out.extend_from_slice(side.as_str().as_bytes());
            out.push(b'"');
        }
        write_integer(out, b",\"ts\":", self.ts);
        write_integer(out, b",\"received_at\":", self.received_at);
        out.extend_from_slice(b",\"source\":\"");
        out.extend_from_slice(self.source.as_str().as_bytes());
        out.extend_from_slice(b"\",\"conditions\":[");
        for (index, condition) in self.conditions.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(out, condition);
        }
        out.push(b']');
        if let Some(ref_trade_id) = self.ref_trade_id {
            out.extend_from_slice(b",\"ref_trade_id\":");
            write_string(out, ref_trade_id);
        }
        if let Some(fills) = self.fills {
            write_integer(out, b",\"count\":", fills.count);
            write_integer(out, b",\"first_id\":", fills.first_id);
            write_integer(out, b",\"last_id\":", fills.last_id);
        }
        if let Some(raw) = self.raw {
            out.extend_from_slice(b",\"raw\":");
            write_string(out, raw);
        }
        out.push(b'}');
    }
}

fn write_integer(out: &mut Vec<u8>, name: &[u8], value: i64) {
    out.extend_from_slice(name);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Copies runs of plain bytes and escapes what RFC 8259 section 7 says must be escaped.
fn write_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut plain_from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..at]);
        plain_from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain_from..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(trade: &Trade<'_>) -> String {
        let mut out = Vec::new();
        trade.write_json(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_trade_is_encoded_as_the_contract_says() {
        let (venue, symbol) = (Venue::new("binance-spot"), Symbol::new("BTC-USDT"));
        let mut trade = Trade {
            venue: &venue,
            symbol: &symbol,
            kind: Kind::Trade,
            trade_id: "4839201",
            seq: 4839201,
            price: "64231.12",
            qty: "0.0125",
            side: Some(Side::Buy),
            ts: 1735689600123456,
            received_at: 1735689600153211,
            source: Source::Live,
            conditions: &[],
            ref_trade_id: None,
            fills: None,
            raw: Some("{\"t\":4839201}"),
        };
        let expected = concat!(
            r#"{"venue":"binance-spot","symbol":"BTC-USDT","kind":"trade","trade_id":"4839201","seq":4839201,"price":"64231.12","qty":"0.0125","#,
            r#""side":"buy","ts":1735689600123456,"received_at":1735689600153211,"source":"live","conditions":[],"raw":"{\"t\":4839201}"}"#
        );
        assert_eq!(json(&trade), expected);

        trade.kind = Kind::Agg;
        trade.side = None;
        trade.raw = None;
        trade.conditions = &["12", "24"];
        trade.ref_trade_id = Some("7");
        trade.fills = Some(Fills {
            count: 3,
            first_id: 10,
            last_id: 12,
        });
        let value: serde_json::Value = serde_json::from_str(&json(&trade)).unwrap();
        assert_eq!(value["conditions"], serde_json::json!(["12", "24"]));
        assert_eq!(
            (value["count"].as_i64(), value["first_id"].as_i64()),
            (Some(3), Some(10))
        );
        assert_eq!(
            (value["last_id"].as_i64(), value["ref_trade_id"].as_str()),
            (Some(12), Some("7"))
        );
        assert!(value.get("side").is_none() && value.get("raw").is_none());

        let mut key = Vec::new();
        trade.write_key(&mut key);
        assert_eq!(key, b"binance-spot:BTC-USDT");
    }

    #[test]
    fn every_ascii_character_survives_the_encoder() {
        let text: String = (0..=127_u8).map(char::from).collect();
        let mut out = Vec::new();
        write_string(&mut out, &text);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }

    proptest! {
        #[test]
        fn any_text_survives_the_encoder(text in any::<String>()) {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
