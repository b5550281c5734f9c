//! What every venue's decoder shares: how a frame came, and why it did not decode.

use crate::trade::Source;

/// When and how a frame came.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Microseconds since the epoch.
    pub received_at: i64,
    pub source: Source,
}

/// Why a frame that should hold a trade holds none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame is no JSON of a known shape: {0}")]
    Json(String),
    #[error("trade without a usable {0}")]
    Field(&'static str),
    #[error("symbol {0} is not subscribed and not in the shipped list")]
    UnknownSymbol(String),
}
