//! Settings of a proof.

use crate::gold::GoldOptions;
use crate::silver::rules::Rules;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Reads every file.
    #[default]
    Full,
    /// Reads logs and listings; files only where those do not add up.
    Cheap,
}

#[derive(Debug, Clone)]
pub struct VerifyOptions {
    pub mode: Mode,
    /// As silver's refresh has them.
    pub rules: Rules,
    /// One entry an interval, as gold's refreshes have them. Tables that do not exist are passed over.
    pub gold: Vec<GoldOptions>,
    /// Files read at once.
    pub files_at_once: usize,
    /// Rows that silver does not hold, looked for at once: about 500 bytes of memory each.
    pub piece_rows: usize,
    /// Differences named a check; all are counted.
    pub named: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Full,
            rules: Rules::default(),
            gold: Vec::new(),
            files_at_once: std::thread::available_parallelism().map_or(2, usize::from).min(8),
            piece_rows: 200_000,
            named: 20,
        }
    }
}
