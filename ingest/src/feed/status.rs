//! What a feed tells about itself while it runs: counters, gaps, the last error.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::trade::{Kind, Symbol};

/// Gaps listed in a snapshot; older ones stay in the counters.
const RECENT_GAPS: usize = 64;

/// Ids that a feed knows it missed, half-open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub symbol: Symbol,
    pub kind: Kind,
    pub from_id: i64,
    pub to_id: i64,
    /// When it was noticed, microseconds since the epoch.
    pub at: i64,
}

/// Where a feed stands with its venue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FeedState {
    #[default]
    Starting,
    Connecting,
    Running,
    /// The socket is closed because the producer's queue stays full.
    Stalled,
    Ended,
}

impl FeedState {
    fn as_str(self) -> &'static str {
        match self {
            FeedState::Starting => "starting",
            FeedState::Connecting => "connecting",
            FeedState::Running => "running",
            FeedState::Stalled => "stalled",
            FeedState::Ended => "ended",
        }
    }
}

#[derive(Debug, Default)]
pub struct FeedStatus {
    pub frames: AtomicU64,
    pub trades: AtomicU64,
    /// Trades whose id was not above the last one: overlap after a reconnect. They are sent all the same.
    pub repeats: AtomicU64,
    /// Frames that say they are trades and do not decode; sent as they are, they become dead letters.
    pub undecoded: AtomicU64,
    /// Connections made, the first one included.
    pub connections: AtomicU64,
    /// Connections given up because nothing came.
    pub silences: AtomicU64,
    /// Connections closed because the producer's queue stayed full.
    pub stalls: AtomicU64,
    pub gaps: AtomicU64,
    pub missed_ids: AtomicU64,
    pub last_trade_ts: AtomicI64,
    pub last_received_at: AtomicI64,
    state: Mutex<FeedState>,
    recent_gaps: Mutex<VecDeque<Gap>>,
    last_error: Mutex<Option<ErrorNote>>,
}

/// An error and its time, microseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorNote {
    pub message: String,
    pub at: i64,
}

impl ErrorNote {
    pub fn to_json(&self) -> Value {
        json!({ "message": self.message, "at": self.at })
    }
}

impl FeedStatus {
    pub fn state(&self) -> FeedState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_state(&self, state: FeedState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub fn add_gap(&self, gap: Gap) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
        self.missed_ids
            .fetch_add(gap.to_id.abs_diff(gap.from_id), Ordering::Relaxed);
        let mut recent = self.recent_gaps.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT_GAPS {
            recent.pop_front();
        }
        recent.push_back(gap);
    }

    pub fn recent_gaps(&self) -> Vec<Gap> {
        self.recent_gaps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    pub fn set_error(&self, message: String, at: i64) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(ErrorNote { message, at });
    }

    pub fn last_error(&self) -> Option<ErrorNote> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn snapshot(&self) -> Value {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let time = |time: &AtomicI64| Some(time.load(Ordering::Relaxed)).filter(|us| *us != 0);
        let gaps: Vec<Value> = self
            .recent_gaps()
            .iter()
            .map(|gap| {
                json!({ "symbol": gap.symbol.as_str(), "kind": gap.kind.as_str(), "from_id": gap.from_id, "to_id": gap.to_id, "at": gap.at })
            })
            .collect();
        json!({
            "state": self.state().as_str(),
            "frames": count(&self.frames),
            "trades": count(&self.trades),
            "repeats": count(&self.repeats),
            "undecoded": count(&self.undecoded),
            "connections": count(&self.connections),
            "silences": count(&self.silences),
            "stalls": count(&self.stalls),
            "gaps": count(&self.gaps),
            "missed_ids": count(&self.missed_ids),
            "recent_gaps": gaps,
            "last_trade_ts": time(&self.last_trade_ts),
            "last_received_at": time(&self.last_received_at),
            "last_error": self.last_error().map(|error| error.to_json()),
        })
    }
}
