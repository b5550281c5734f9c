//! Binance frames -> canonical trades: `trade` and `aggTrade`, alone or in the combined wrapper, spot and USD-M futures.
//!
//! Source: <https://github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md>. Unknown events and fields are ignored.
//!
//! ```json
//! {"stream":"btcusdt@trade","data":{"e":"trade","E":1672515782136,"s":"BTCUSDT","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}}
//! {"e":"aggTrade","E":1672515782136,"s":"BTCUSDT","a":12345,"p":"0.001","q":"100","f":100,"l":105,"T":1672515782136,"m":true,"M":true}
//! ```

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::symbols::SymbolMap;
use super::super::{Arrival, FrameError};
use crate::trade::{Fills, Kind, Side, Trade, Venue};

/// What a frame was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Trade,
    /// Answer to a SUBSCRIBE of this id; `error` where it was refused.
    Answer {
        id: Option<u64>,
        error: Option<String>,
    },
    /// The server is about to close its connections.
    Shutdown,
    /// Another stream, an event that carries no trade.
    Other,
}

/// Decodes one market's frames.
#[derive(Debug)]
pub struct Decoder {
    venue: Venue,
    symbols: SymbolMap,
    keep_raw: bool,
}

/// The wrapper of combined streams, the answers to requests, and the raw event's name, whichever are there.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    e: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct EventName<'a> {
    #[serde(borrow)]
    e: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct TradeEvent<'a> {
    #[serde(borrow)]
    s: Cow<'a, str>,
    t: Option<i64>,
    a: Option<i64>,
    f: Option<i64>,
    l: Option<i64>,
    #[serde(borrow)]
    p: Cow<'a, str>,
    #[serde(borrow)]
    q: Cow<'a, str>,
    #[serde(rename = "T")]
    time: i64,
    m: bool,
}

impl Decoder {
    pub fn new(venue: Venue, symbols: SymbolMap, keep_raw: bool) -> Self {
        Self {
            venue,
            symbols,
            keep_raw,
        }
    }

    pub fn venue(&self) -> &Venue {
        &self.venue
    }

    /// Reads one frame; `emit` gets the trade where it holds one.
    pub fn decode(&self, text: &str, arrival: Arrival, emit: &mut dyn FnMut(&Trade<'_>)) -> Result<Frame, FrameError> {
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| FrameError::Json(error.to_string()))?;
        let event = envelope.data.map_or(text, RawValue::get);
        if envelope.data.is_none() && envelope.e.is_none() {
            return Ok(answer(&envelope));
        }
        // `data` of a stream that is no event (a list of tickers) has no name
        let Ok(EventName { e: Some(name) }) = serde_json::from_str(event) else {
            return Ok(Frame::Other);
        };
        match &*name {
            "trade" => self.trade(event, Kind::Trade, arrival, emit),
            "aggTrade" => self.trade(event, Kind::Agg, arrival, emit),
            "serverShutdown" => Ok(Frame::Shutdown),
            _ => Ok(Frame::Other),
        }
    }

    fn trade(
        &self,
        text: &str,
        kind: Kind,
        arrival: Arrival,
        emit: &mut dyn FnMut(&Trade<'_>),
    ) -> Result<Frame, FrameError> {
        let event: TradeEvent<'_> = serde_json::from_str(text).map_err(|error| FrameError::Json(error.to_string()))?;
        let symbol = self
            .symbols
            .get(&event.s)
            .ok_or_else(|| FrameError::UnknownSymbol(event.s.to_string()))?;
        let (id, fills) = match kind {
            Kind::Agg => {
                let (first_id, last_id) = event.f.zip(event.l).ok_or(FrameError::Field("f and l"))?;
                // invalid duplicates of repaired history carry f = l = -1 (change log, 2022-04-12)
                if first_id < 0 || last_id < first_id {
                    return Err(FrameError::Field("f and l"));
                }
                (
                    event.a.ok_or(FrameError::Field("a"))?,
                    Some(Fills {
                        count: last_id - first_id + 1,
                        first_id,
                        last_id,
                    }),
                )
            }
            _ => (event.t.ok_or(FrameError::Field("t"))?, None),
        };
        let mut id_text = itoa::Buffer::new();
        emit(&Trade {
            venue: &self.venue,
            symbol,
            kind,
            trade_id: id_text.format(id),
            seq: id,
            price: &event.p,
            qty: &event.q,
            // m: the buyer is the maker, so the taker sold
            side: Some(if event.m { Side::Sell } else { Side::Buy }),
            ts: micros(event.time).ok_or(FrameError::Field("T"))?,
            received_at: arrival.received_at,
            source: arrival.source,
            conditions: &[],
            ref_trade_id: None,
            fills,
            raw: self.keep_raw.then_some(text),
        });
        Ok(Frame::Trade)
    }
}

fn answer(envelope: &Envelope<'_>) -> Frame {
    // an error comes as {"error":{"code":..,"msg":..},"id":..} or bare as {"code":..,"msg":..,"id":..}
    let error = envelope.error.or(envelope.code).map(|error| error.get().to_owned());
    if error.is_none() && envelope.result.is_none() && envelope.id.is_none() {
        return Frame::Other;
    }
    Frame::Answer {
        id: envelope.id.and_then(|id| id.get().parse().ok()),
        error,
    }
}

/// Time of unknown unit as microseconds: 13 digits are milliseconds, 16 micro-, 19 nanoseconds. Spot history changed its unit in 2025.
pub fn micros(time: i64) -> Option<i64> {
    match time {
        1_000_000_000_000..10_000_000_000_000 => Some(time * 1_000),
        1_000_000_000_000_000..10_000_000_000_000_000 => Some(time),
        1_000_000_000_000_000_000.. => Some(time / 1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trade::Source;

    fn decode(text: &str) -> (Result<Frame, FrameError>, Option<serde_json::Value>) {
        let decoder = Decoder::new(Venue::new("binance-spot"), SymbolMap::binance(), true);
        let arrival = Arrival {
            received_at: 1_735_689_600_153_211,
            source: Source::Live,
        };
        let mut json = None;
        let frame = decoder.decode(text, arrival, &mut |trade| {
            let mut out = Vec::new();
            trade.write_json(&mut out);
            json = Some(serde_json::from_slice(&out).unwrap());
        });
        (frame, json)
    }

    #[test]
    fn a_combined_trade_keeps_its_exact_text() {
        let data = r#"{"e":"trade","E":1735689600123999,"s":"BTCUSDT","t":4839201,"p":"64231.12000000","q":"0.01250000","T":1735689600123456,"m":false,"M":true,"new":[1]}"#;
        let (frame, json) = decode(&format!(r#"{{"stream":"btcusdt@trade","data":{data}}}"#));
        assert_eq!(frame, Ok(Frame::Trade));
        let expected = serde_json::json!({
            "venue": "binance-spot", "symbol": "BTC-USDT", "kind": "trade", "trade_id": "4839201", "seq": 4839201,
            "price": "64231.12000000", "qty": "0.01250000", "side": "buy", "ts": 1735689600123456_i64,
            "received_at": 1735689600153211_i64, "source": "live", "conditions": [], "raw": data,
        });
        assert_eq!(json, Some(expected.clone()));
        assert_eq!(decode(data).1, Some(expected), "the same without the wrapper");
    }

    #[test]
    fn an_aggregate_counts_its_fills_and_milliseconds_are_told_by_digits() {
        let (frame, json) = decode(
            r#"{"e":"aggTrade","E":1633998523963,"s":"LRCBTC","a":9213679,"p":"0.00000638","q":"177.0","f":12368013,"l":12368015,"T":1633998523963,"m":true}"#,
        );
        let json = json.unwrap();
        assert_eq!(frame, Ok(Frame::Trade));
        assert_eq!(
            (json["kind"].as_str(), json["side"].as_str()),
            (Some("agg"), Some("sell"))
        );
        assert_eq!(
            (json["count"].as_i64(), json["ts"].as_i64()),
            (Some(3), Some(1_633_998_523_963_000))
        );
    }

    #[test]
    fn other_frames_are_told_apart() {
        let answer = |id, error: Option<&str>| Frame::Answer {
            id,
            error: error.map(str::to_owned),
        };
        for (text, expected) in [
            (r#"{"result":null,"id":1}"#, answer(Some(1), None)),
            (
                r#"{"error":{"code":2,"msg":"x"},"id":3}"#,
                answer(Some(3), Some(r#"{"code":2,"msg":"x"}"#)),
            ),
            (r#"{"code":2,"msg":"x"}"#, answer(None, Some("2"))),
            (
                r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}"#,
                Frame::Shutdown,
            ),
            (r#"{"e":"serverShutdown","E":1770123456789}"#, Frame::Shutdown),
            (
                r#"{"stream":"x@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"1","A":"1"}}"#,
                Frame::Other,
            ),
            (
                r#"{"stream":"x@kline_1m","data":{"e":"kline","E":1,"s":"BTCUSDT","k":{}}}"#,
                Frame::Other,
            ),
            (
                r#"{"stream":"!miniTicker@arr","data":[{"e":"24hrMiniTicker"}]}"#,
                Frame::Other,
            ),
            ("{}", Frame::Other),
        ] {
            assert_eq!(decode(text), (Ok(expected), None), "{text}");
        }
    }

    #[test]
    fn a_broken_trade_is_an_error_and_no_trade() {
        for text in [
            "",
            "not json",
            r#"{"e":"trade","s":"BTCUSDT"}"#,
            r#"{"e":"trade","s":"BTCUSDT","t":"7","p":"1","q":"1","T":1735689600123456,"m":true}"#,
            r#"{"e":"trade","s":"BTCUSDT","t":7,"p":1.5,"q":"1","T":1735689600123456,"m":true}"#,
            r#"{"e":"trade","s":"BTCUSDT","p":"1","q":"1","T":1735689600123456,"m":true}"#,
            r#"{"e":"trade","s":"BTCUSDT","t":7,"p":"1","q":"1","T":12,"m":true}"#,
            r#"{"e":"trade","s":"NOSUCH","t":7,"p":"1","q":"1","T":1735689600123456,"m":true}"#,
            r#"{"e":"aggTrade","s":"BTCUSDT","a":7,"p":"0","q":"0","f":-1,"l":-1,"T":1735689600123456,"m":true}"#,
        ] {
            let (frame, json) = decode(text);
            assert!(frame.is_err() && json.is_none(), "{text}: {frame:?}");
        }
    }
}
