//! Settings of silver's refresh.

use std::time::Duration;

use super::rules::Rules;

#[derive(Debug, Clone)]
pub struct SilverOptions {
    pub rules: Rules,
    /// Bronze rows of one commit, about: a chunk ends with the bronze version that reaches it. About 600 bytes of memory a row.
    pub chunk_rows: u64,
    /// Where only the position moves, it is committed at most this often.
    pub position_interval: Duration,
    /// Lost races against other writers before a refresh gives up.
    pub attempts: u32,
    pub zstd_level: i32,
}

impl Default for SilverOptions {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            chunk_rows: 250_000,
            position_interval: Duration::from_secs(60),
            attempts: 10,
            zstd_level: 1,
        }
    }
}
