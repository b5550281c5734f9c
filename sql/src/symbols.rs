//! The shipped lists of pairs: how a venue's own name of a pair becomes BASE-QUOTE. Names are looked up, suffixes are never guessed.

/// Common pairs of Binance spot, one canonical name a line; `#` begins a comment.
pub const BINANCE_PAIRS: &str = include_str!("../symbols/binance.txt");

/// Canonical names of a list, without comments.
pub fn pairs(list: &str) -> impl Iterator<Item = &str> {
    list.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}
