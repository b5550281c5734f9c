//! Notices missing trades by the venue's own ids, which grow by one a symbol (market facts: Binance `t` and `a`, Coinbase `trade_id`).
//!
//! Only watches: a repeated trade is sent on, because silver removes repeats and a venue that starts its ids anew must not be muted.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::status::{FeedStatus, Gap};
use crate::trade::{Kind, Symbol, Trade};

/// The last id of each series of a feed; outlives its connections.
#[derive(Debug, Default)]
pub struct GapWatch {
    last_ids: HashMap<(Symbol, Kind), i64>,
}

impl GapWatch {
    pub fn see(&mut self, trade: &Trade<'_>, status: &FeedStatus) {
        let series = (trade.symbol.clone(), trade.kind);
        let Some(last) = self.last_ids.get_mut(&series) else {
            self.last_ids.insert(series, trade.seq);
            return;
        };
        if trade.seq <= *last {
            status.repeats.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let expected = last.saturating_add(1);
        *last = trade.seq;
        if trade.seq > expected {
            let (symbol, kind) = series;
            tracing::warn!(%symbol, kind = kind.as_str(), from_id = expected, to_id = trade.seq, "trades missed");
            status.add_gap(Gap {
                symbol,
                kind,
                from_id: expected,
                to_id: trade.seq,
                at: trade.received_at,
            });
        }
    }
}
