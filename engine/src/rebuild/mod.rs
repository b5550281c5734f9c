//! Rebuild: a named range of trade time computed again from its input, whatever was there. Silver from bronze, then each gold from silver; each
//! table is replaced in one commit.
//!
//! Reading order: `range` says what is rebuilt, `low_water` whether the input still holds it, `staged` collects what a table will be, `silver`
//! and `gold` do it.

mod gold;
mod low_water;
mod range;
mod silver;
mod staged;

pub use gold::rebuild as gold;
pub use range::RebuildRange;
pub use silver::rebuild as silver;
