//! Rebuild: a named range of trade time computed again from its input, whatever was there. Silver from bronze, then each gold from silver; each
//! table is replaced in one commit.
//!
//! Reading order: `range` says what is rebuilt, `low_water` whether the input still holds it, `staged` collects what a table will be, `silver`
//! and `gold` do it; `beside` keeps a result beside its table until it is swapped in, and `diff` says what it changes.

pub(crate) mod beside;
mod diff;
mod gold;
mod low_water;
mod range;
mod silver;
mod staged;

pub use beside::{Beside, Swap, clean};
pub use diff::Diff;
pub use gold::{rebuild as gold, rebuild_beside as gold_beside};
pub use range::RebuildRange;
pub use silver::{rebuild as silver, rebuild_beside as silver_beside};
