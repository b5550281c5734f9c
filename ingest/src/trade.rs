//! The canonical trade.
