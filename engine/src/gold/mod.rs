//! Gold: one bar per traded window, recomputed from silver whenever a trade of the window comes, changes or goes.
//!
//! Reading order: `interval`, `session` and `calendar` say which windows there are, `options` what is kept; `input` follows silver's log and `windows` turns its news into ranges of windows;
//! `model` computes the bars of a range from silver, `prices` says which trades set their prices, `named` finds the trades that cancels and corrections name,
//! `parts` makes wide bars of minutes; `bar` is a row, `hours` the rows that gold holds, an hour at a time; `neighbours` finds
//! what stands before and after a bar, `replace` puts new bars in the place of old ones, `write` makes files of them, `revisions` keeps
//! what bars said before, `output` commits, and `refresh` does it all in order, `beside` for a table beside gold. `recount` holds what is kept against silver once more.

mod bar;
mod beside;
mod calendar;
mod columns;
mod files;
mod hours;
mod input;
mod interval;
mod model;
mod named;
mod neighbours;
mod options;
mod output;
mod parts;
mod prices;
mod recount;
mod refresh;
mod replace;
mod revisions;
mod session;
mod windows;
mod write;

pub(crate) use files::Files;
pub use interval::Interval;
pub use options::GoldOptions;
pub use prices::PriceRule;
pub use recount::{BarDifference, BarDifferenceKind, Recount, recount};
pub use refresh::Gold;
pub use revisions::KeepRevisions;
pub use session::Session;
