//! Rebuild: a named range of trade time computed again from its input, whatever was there. Silver from bronze, then each gold from silver; each
//! table is replaced in one commit.
//!
//! Reading order: `range` says what is rebuilt, `low_water` whether the input still holds it, `staged` collects what a table will be, `silver`
//! and `gold` do it; `stood` tells what others have changed meanwhile; `beside` keeps a result beside its table until it is swapped in, `diff` says
//! what it changes, and `side` finds it again for a later swap.

pub(crate) mod beside;
pub(crate) mod diff;
mod gold;
mod low_water;
mod range;
pub(crate) mod side;
mod silver;
mod staged;
pub(crate) mod stood;

pub use beside::{Beside, Swap, beside_of, clean, ids, range_of};
pub use diff::Diff;
pub use gold::{rebuild as gold, rebuild_beside as gold_beside, swap as gold_swap};
pub use range::RebuildRange;
pub use silver::{rebuild as silver, rebuild_beside as silver_beside, swap as silver_swap};
