//! Trades as the barter library writes them to JSON lines: numbers are JSON numbers, read here as the text that they are.
//!
//! ```json
//! {"Item":{"time_exchange":"2025-03-25T23:07:00.715Z","time_received":"2025-03-25T23:07:00.847021081Z","exchange":"binance_spot",
//!  "instrument":0,"kind":{"Trade":{"id":"4744868157","price":87232.0,"amount":0.00012,"side":"Sell"}}}}
//! ```

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::coinbase::rfc3339_micros;
use super::super::{FrameError, binance};
use super::Out;
use super::lines::Lines;
use crate::error::Result;
use crate::trade::{Kind, Side, Source, Symbol, Trade, Venue};

pub struct Normalised {
    lines: Lines,
    /// By the file's number.
    symbols: Vec<Symbol>,
    venue: Venue,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "Item", borrow)]
    item: Option<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    time_exchange: Cow<'a, str>,
    #[serde(borrow)]
    time_received: Cow<'a, str>,
    #[serde(borrow)]
    exchange: Cow<'a, str>,
    instrument: usize,
    #[serde(borrow)]
    kind: ItemKind<'a>,
}

#[derive(Deserialize)]
struct ItemKind<'a> {
    #[serde(rename = "Trade", borrow)]
    trade: Option<TradeFields<'a>>,
}

#[derive(Deserialize)]
struct TradeFields<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    amount: &'a RawValue,
    #[serde(borrow)]
    side: Cow<'a, str>,
}

/// True for a line of this shape.
pub fn is_item(line: &str) -> bool {
    serde_json::from_str::<Line<'_>>(line).is_ok_and(|line| line.item.is_some())
}

impl Normalised {
    pub fn new(lines: Lines, instruments: &[String]) -> Self {
        let symbols = instruments.iter().map(|name| Symbol::new(name)).collect();
        Self {
            lines,
            symbols,
            venue: Venue::new(binance::VENUE),
        }
    }

    pub fn peek_time(&mut self) -> Result<Option<i64>> {
        let line = self.lines.peek()?.map(serde_json::from_str::<Line<'_>>);
        Ok(line.and_then(|line| rfc3339_micros(&line.ok()?.item?.time_received)))
    }

    pub fn read(&mut self, out: &mut Out<'_>) -> Result<bool> {
        let Some(text) = self.lines.next()? else {
            return Ok(false);
        };
        out.frame();
        let item = serde_json::from_str::<Line<'_>>(text).map(|line| line.item);
        let result = match &item {
            Err(error) => Err(FrameError::Json(error.to_string())),
            Ok(None) => Ok(()),
            Ok(Some(item)) => emit(item, &self.venue, &self.symbols, &mut |trade| out.trade(trade)),
        };
        if let Err(error) = result {
            out.broken(&self.venue, text, &error);
        }
        Ok(true)
    }
}

fn emit(
    item: &Item<'_>,
    venue: &Venue,
    symbols: &[Symbol],
    emit: &mut dyn FnMut(&Trade<'_>),
) -> Result<(), FrameError> {
    let Some(trade) = &item.kind.trade else { return Ok(()) };
    if item.exchange != "binance_spot" {
        return Err(FrameError::Field("exchange"));
    }
    let unknown = || FrameError::UnknownSymbol(format!("instrument {}", item.instrument));
    let side = match &*trade.side {
        "Buy" => Side::Buy,
        "Sell" => Side::Sell,
        _ => return Err(FrameError::Field("side")),
    };
    emit(&Trade {
        venue,
        symbol: symbols.get(item.instrument).ok_or_else(unknown)?,
        kind: Kind::Trade,
        trade_id: &trade.id,
        seq: trade.id.parse().map_err(|_| FrameError::Field("id"))?,
        price: trade.price.get(),
        qty: trade.amount.get(),
        side: Some(side),
        ts: rfc3339_micros(&item.time_exchange).ok_or(FrameError::Field("time_exchange"))?,
        received_at: rfc3339_micros(&item.time_received).ok_or(FrameError::Field("time_received"))?,
        source: Source::Replay,
        conditions: &[],
        ref_trade_id: None,
        fills: None,
        raw: None,
    });
    Ok(())
}
