//! Coinbase Advanced Trade frames -> canonical trades: channel `market_trades`, snapshots and updates. So far for replay only.
//!
//! Source: <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels>.
//! `side` is the maker's, so the taker's is the other one; trades come newest first.
//!
//! ```json
//! {"channel":"market_trades","timestamp":"2026-08-09T21:05:48.25Z","sequence_num":9,"events":[{"type":"update","trades":[
//!  {"product_id":"BTC-USD","trade_id":"1068572091","price":"65083.67","size":"0.01034361","time":"2026-08-09T21:05:48.167634Z","side":"SELL"}]}]}
//! ```

use std::borrow::Cow;
use std::collections::HashMap;

use chrono::DateTime;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Arrival, FrameError};
use crate::trade::{Kind, Side, Symbol, Trade, Venue};

pub const VENUE: &str = "coinbase";

#[derive(Debug)]
pub struct Decoder {
    venue: Venue,
    /// Symbols seen so far: their names are the venue's own.
    symbols: HashMap<String, Symbol>,
    keep_raw: bool,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    events: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    trades: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct TradeFields<'a> {
    #[serde(borrow)]
    product_id: Cow<'a, str>,
    #[serde(borrow)]
    trade_id: Cow<'a, str>,
    #[serde(borrow)]
    price: Cow<'a, str>,
    #[serde(borrow)]
    size: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    side: Cow<'a, str>,
}

impl Decoder {
    pub fn new(keep_raw: bool) -> Self {
        Self {
            venue: Venue::new(VENUE),
            symbols: HashMap::new(),
            keep_raw,
        }
    }

    pub fn venue(&self) -> &Venue {
        &self.venue
    }

    /// Reads one frame; `emit` gets its trades, oldest first. Nothing is emitted from a frame that is broken anywhere.
    pub fn decode(&mut self, text: &str, arrival: Arrival, emit: &mut dyn FnMut(&Trade<'_>)) -> Result<(), FrameError> {
        let broken = |error: serde_json::Error| FrameError::Json(error.to_string());
        let message: Message<'_> = serde_json::from_str(text).map_err(broken)?;
        if message.channel.as_deref() != Some("market_trades") {
            return Ok(());
        }
        let events = message.events.ok_or(FrameError::Field("events"))?;
        let events: Vec<Event<'_>> = serde_json::from_str(events.get()).map_err(broken)?;
        let mut trades = Vec::new();
        for raw in events.iter().flat_map(|event| event.trades.iter().rev()) {
            trades.push(Parsed::new(raw.get())?);
        }
        for trade in &trades {
            self.emit(trade, arrival, emit);
        }
        Ok(())
    }

    fn emit(&mut self, parsed: &Parsed<'_>, arrival: Arrival, emit: &mut dyn FnMut(&Trade<'_>)) {
        let name = &*parsed.fields.product_id;
        if !self.symbols.contains_key(name) {
            self.symbols.insert(name.to_owned(), Symbol::new(name));
        }
        let Some(symbol) = self.symbols.get(name) else { return };
        emit(&Trade {
            venue: &self.venue,
            symbol,
            kind: Kind::Trade,
            trade_id: &parsed.fields.trade_id,
            seq: parsed.seq,
            price: &parsed.fields.price,
            qty: &parsed.fields.size,
            side: Some(parsed.side),
            ts: parsed.ts,
            received_at: arrival.received_at,
            source: arrival.source,
            conditions: &[],
            ref_trade_id: None,
            fills: None,
            raw: self.keep_raw.then_some(parsed.raw),
        });
    }
}

/// One trade of a frame, checked.
struct Parsed<'a> {
    fields: TradeFields<'a>,
    seq: i64,
    ts: i64,
    side: Side,
    raw: &'a str,
}

impl<'a> Parsed<'a> {
    fn new(raw: &'a str) -> Result<Self, FrameError> {
        let fields: TradeFields<'a> = serde_json::from_str(raw).map_err(|error| FrameError::Json(error.to_string()))?;
        let seq = fields.trade_id.parse().map_err(|_| FrameError::Field("trade_id"))?;
        let ts = rfc3339_micros(&fields.time).ok_or(FrameError::Field("time"))?;
        let maker = match &*fields.side {
            "BUY" => Side::Buy,
            "SELL" => Side::Sell,
            _ => return Err(FrameError::Field("side")),
        };
        Ok(Self {
            seq,
            ts,
            side: maker.opposite(),
            fields,
            raw,
        })
    }
}

/// RFC 3339 text as microseconds since the epoch; what is finer is cut off.
pub fn rfc3339_micros(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|time| time.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trade::Source;

    fn decode(text: &str) -> (Result<(), FrameError>, Vec<serde_json::Value>) {
        let mut trades = Vec::new();
        let arrival = Arrival {
            received_at: 1,
            source: Source::Replay,
        };
        let result = Decoder::new(true).decode(text, arrival, &mut |trade| {
            let mut out = Vec::new();
            trade.write_json(&mut out);
            trades.push(serde_json::from_slice(&out).unwrap());
        });
        (result, trades)
    }

    const NEW: &str = r#"{"product_id":"BTC-USD","trade_id":"12","price":"65083.67","size":"0.01","time":"2026-08-09T21:05:48.167634Z","side":"SELL"}"#;
    const OLD: &str = r#"{"product_id":"BTC-USD","trade_id":"11","price":"65083.60","size":"0.02","time":"2026-08-09T21:05:48.1Z","side":"BUY"}"#;

    #[test]
    fn trades_come_oldest_first_with_the_takers_side() {
        let frame = format!(
            r#"{{"channel":"market_trades","sequence_num":9,"events":[{{"type":"update","trades":[{NEW},{OLD}]}}]}}"#
        );
        let (result, trades) = decode(&frame);
        assert_eq!(result, Ok(()));
        let ids: Vec<_> = trades
            .iter()
            .map(|trade| (trade["seq"].as_i64().unwrap(), trade["side"].as_str().unwrap()))
            .collect();
        assert_eq!(ids, [(11, "sell"), (12, "buy")]);
        assert_eq!(trades[1]["ts"].as_i64(), Some(1_786_309_548_167_634));
        assert_eq!(
            (trades[1]["raw"].as_str(), trades[1]["venue"].as_str()),
            (Some(NEW), Some("coinbase"))
        );
    }

    #[test]
    fn other_channels_are_ignored_and_a_broken_trade_breaks_its_frame() {
        for ignored in [
            r#"{"channel":"heartbeats","events":[{}]}"#,
            r#"{"channel":"l2_data","events":7}"#,
            "{}",
        ] {
            assert_eq!(decode(ignored), (Ok(()), vec![]), "{ignored}");
        }
        for (from, to) in [
            ("\"12\"", "\"x\""),
            ("SELL", "MID"),
            ("2026-", "26-"),
            ("\"65083.67\"", "1.5"),
            ("size", "sise"),
        ] {
            let frame = format!(
                r#"{{"channel":"market_trades","events":[{{"trades":[{},{OLD}]}}]}}"#,
                NEW.replace(from, to)
            );
            let (result, trades) = decode(&frame);
            assert!(result.is_err() && trades.is_empty(), "{frame}");
        }
    }
}
