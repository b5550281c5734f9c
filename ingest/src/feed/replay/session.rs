//! Recorded WebSocket sessions: JSON lines `header`, `http`, `connect`, `send`, `recv`, each frame's text as it was sent.
//!
//! The header names the venue and the canonical pairs that were subscribed. A `recv` frame takes the same way as a live one.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::symbols::SymbolMap;
use super::super::{Arrival, FrameError, binance, coinbase};
use super::Out;
use super::lines::Lines;
use crate::error::Result;
use crate::trade::{Source, Trade, Venue};

pub struct Session {
    lines: Lines,
    decoder: VenueDecoder,
}

/// The live feeds' decoders.
enum VenueDecoder {
    Binance(binance::Decoder),
    Coinbase(coinbase::Decoder),
}

#[derive(Deserialize)]
struct Header {
    exchange: String,
    #[serde(default)]
    config: Channels,
}

#[derive(Deserialize, Default)]
struct Channels {
    #[serde(default)]
    trades: Vec<String>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    t: Cow<'a, str>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
}

/// True for a session's first line.
pub fn is_header(line: &str) -> bool {
    serde_json::from_str::<Line<'_>>(line).is_ok_and(|line| line.t == "header")
}

impl Session {
    /// `lines` stand before the header.
    pub fn open(mut lines: Lines, keep_raw: bool) -> Result<Self> {
        let header = lines.next()?.map(serde_json::from_str::<Header>);
        let Some(Ok(header)) = header else {
            return Err(lines.error("header without an exchange"));
        };
        let Some(decoder) = VenueDecoder::of(&header, keep_raw) else {
            let message = format!(
                "sessions of {} cannot be replayed; BINANCE, BINANCE_FUTURES and COINBASE can",
                header.exchange
            );
            return Err(lines.error(&message));
        };
        Ok(Self { lines, decoder })
    }

    pub fn peek_time(&mut self) -> Result<Option<i64>> {
        let line = self.lines.peek()?.map(serde_json::from_str::<Line<'_>>);
        Ok(line.and_then(|line| line.ok()?.ts.and_then(|ts| seconds_as_micros(ts.get()))))
    }

    pub fn read(&mut self, out: &mut Out<'_>) -> Result<bool> {
        let Some(text) = self.lines.next()? else {
            return Ok(false);
        };
        let line = match serde_json::from_str::<Line<'_>>(text) {
            Ok(line) => line,
            Err(error) => {
                let message = format!("no line of a session: {error}");
                return Err(self.lines.error(&message));
            }
        };
        if line.t != "recv" {
            return Ok(true);
        }
        let received_at = line.ts.and_then(|ts| seconds_as_micros(ts.get()));
        let (Some(received_at), Some(frame)) = (received_at, line.data) else {
            return Err(self.lines.error("received frame without time or data"));
        };
        out.frame();
        let arrival = Arrival {
            received_at,
            source: Source::Replay,
        };
        if let Err(error) = self.decoder.decode(&frame, arrival, &mut |trade| out.trade(trade)) {
            out.broken(self.decoder.venue(), &frame, &error);
        }
        Ok(true)
    }
}

impl VenueDecoder {
    fn of(header: &Header, keep_raw: bool) -> Option<Self> {
        let binance = |venue: &str| {
            let mut symbols = SymbolMap::binance();
            header.config.trades.iter().for_each(|pair| symbols.add(pair));
            VenueDecoder::Binance(binance::Decoder::new(Venue::new(venue), symbols, keep_raw))
        };
        match header.exchange.as_str() {
            "BINANCE" => Some(binance(binance::VENUE)),
            "BINANCE_FUTURES" => Some(binance("binance-usdm")),
            "COINBASE" => Some(VenueDecoder::Coinbase(coinbase::Decoder::new(keep_raw))),
            _ => None,
        }
    }

    fn venue(&self) -> &Venue {
        match self {
            VenueDecoder::Binance(decoder) => decoder.venue(),
            VenueDecoder::Coinbase(decoder) => decoder.venue(),
        }
    }

    fn decode(&mut self, text: &str, arrival: Arrival, emit: &mut dyn FnMut(&Trade<'_>)) -> Result<(), FrameError> {
        match self {
            VenueDecoder::Binance(decoder) => decoder.decode(text, arrival, emit).map(|_| ()),
            VenueDecoder::Coinbase(decoder) => decoder.decode(text, arrival, emit),
        }
    }
}

/// Decimal text of seconds as microseconds, without a float in between; finer digits are cut off.
fn seconds_as_micros(text: &str) -> Option<i64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let micros = decimals
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(6)
        .fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'));
    whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_microseconds_exactly() {
        for (text, expected) in [
            ("1633998523.957215", Some(1_633_998_523_957_215)),
            ("1633998523.9", Some(1_633_998_523_900_000)),
            ("1633998523.9572159", Some(1_633_998_523_957_215)),
            ("1633998523", Some(1_633_998_523_000_000)),
            ("1.6e9", None),
            ("null", None),
        ] {
            assert_eq!(seconds_as_micros(text), expected, "{text}");
        }
    }
}
