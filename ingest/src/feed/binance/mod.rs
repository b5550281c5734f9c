//! Binance spot, live: `trade` or `aggTrade` streams over one connection that is renewed before the venue ends it.
//!
//! A connection lives 24 h at most; the next one is opened beside it and both are read for a moment, so that a renewal misses nothing.
//! What an interruption missed is counted by id. Source: <https://github.com/binance/binance-spot-api-docs>.

use std::collections::BTreeSet;
use std::time::Duration;

use super::symbols::{SymbolMap, joined, parse_binance};
use super::{FeedContext, Sink};
use crate::error::{Error, Result};
use crate::trade::Venue;

mod client;

mod connection;

pub mod decode;

pub use decode::Decoder;

pub const VENUE: &str = "binance-spot";

/// Which series of trades. Their ids are different series: a symbol's bars are made from one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stream {
    #[default]
    Trade,
    AggTrade,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinanceOptions {
    /// BTC-USDT, or BTCUSDT where the shipped list has it.
    pub symbols: Vec<String>,
    pub stream: Stream,
    /// Scheme, host and port.
    pub ws_url: String,
    /// Keep the exact text of each trade.
    pub keep_raw: bool,
    /// A connection without any frame, pings included, for so long is given up. The venue pings every 20 s.
    pub silence: Duration,
    /// A connection is renewed at this age; the venue ends it at 24 h.
    pub lifetime: Duration,
    /// How long both connections are read at a renewal.
    pub overlap: Duration,
    /// The socket is closed when the producer's queue stays full for so long.
    pub stall: Duration,
    /// Delay before a new connection: doubles from the first to the second, plus up to as much again by chance.
    pub reconnect: (Duration, Duration),
}

impl Default for BinanceOptions {
    fn default() -> Self {
        Self {
            symbols: vec!["BTC-USDT".to_owned(), "ETH-USDT".to_owned()],
            stream: Stream::Trade,
            ws_url: "wss://stream.binance.com:9443".to_owned(),
            keep_raw: true,
            silence: Duration::from_secs(60),
            lifetime: Duration::from_secs(23 * 3_600 + 1_800),
            overlap: Duration::from_secs(1),
            stall: Duration::from_secs(10),
            reconnect: (Duration::from_millis(250), Duration::from_secs(30)),
        }
    }
}

impl BinanceOptions {
    pub fn check(&self) -> Result<()> {
        self.plan().map(|_| ())
    }

    fn plan(&self) -> Result<(connection::Plan, SymbolMap)> {
        let url = self.ws_url.trim_end_matches('/');
        if !(url.starts_with("ws://") || url.starts_with("wss://")) {
            return Err(Error::Invalid(format!(
                "`{}` is no WebSocket address; give it as wss://HOST:PORT",
                self.ws_url
            )));
        }
        let suffix = match self.stream {
            Stream::Trade => "trade",
            Stream::AggTrade => "aggTrade",
        };
        let mut symbols = SymbolMap::default();
        let mut streams = BTreeSet::new();
        for name in &self.symbols {
            let symbol = parse_binance(name)?;
            symbols.add(symbol.as_str());
            streams.insert(format!("{}@{suffix}", joined(symbol.as_str()).to_ascii_lowercase()));
        }
        if streams.is_empty() || streams.len() > connection::MAX_STREAMS {
            let message = format!(
                "Binance takes 1 to {} symbols a connection, not {}",
                connection::MAX_STREAMS,
                streams.len()
            );
            return Err(Error::Invalid(message));
        }
        let url = format!("{url}/stream?timeUnit=MICROSECOND");
        Ok((
            connection::Plan {
                url,
                streams: streams.into_iter().collect(),
                silence: self.silence,
            },
            symbols,
        ))
    }
}

/// Runs until the shutdown; an interruption is never the end of it.
pub async fn run(options: BinanceOptions, sink: Sink, context: FeedContext) -> Result<()> {
    let (plan, symbols) = options.plan()?;
    let decoder = Decoder::new(Venue::new(VENUE), symbols, options.keep_raw);
    client::Client::new(options, plan, decoder, sink, context).run().await;
    Ok(())
}

#[cfg(test)]
mod live_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_names_streams_in_the_venues_words() {
        let symbols = ["BTC-USDT", "ethbtc", "BTCUSDT"].map(str::to_owned).to_vec();
        let options = BinanceOptions {
            symbols,
            ws_url: "ws://127.0.0.1:1/".to_owned(),
            ..BinanceOptions::default()
        };
        let (plan, map) = options.plan().unwrap();
        assert_eq!(plan.url, "ws://127.0.0.1:1/stream?timeUnit=MICROSECOND");
        assert_eq!(plan.streams, ["btcusdt@trade", "ethbtc@trade"]);
        assert_eq!(map.get("ETHBTC").unwrap().as_str(), "ETH-BTC");
    }

    #[test]
    fn unusable_settings_are_refused() {
        let with = |symbols: Vec<String>, ws_url: &str| BinanceOptions {
            symbols,
            ws_url: ws_url.to_owned(),
            ..BinanceOptions::default()
        };
        let many = (0..1_025).map(|n| format!("A{n}-USDT")).collect();
        for options in [
            with(vec![], "wss://x"),
            with(vec!["NOSUCHUSDT".to_owned()], "wss://x"),
            with(vec!["BTC-USDT".to_owned()], "https://x"),
            with(many, "wss://x"),
        ] {
            assert_eq!(options.check().unwrap_err().kind(), crate::ErrorKind::Invalid);
        }
    }
}
