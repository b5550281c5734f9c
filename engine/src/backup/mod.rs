//! Copies of a lake as it was at one instant, and tables set back to a version.
//!
//! Reading order: `pin` chooses the versions, `owed` finds what is still to be read beside them, `copy` carries files and logs to another lake, which
//! is then a lake like any other and is restored by copying it back; `rollback` sets one table back in place, and `restorable` tells which versions
//! it can go back to.

mod copy;
mod owed;
mod pin;
mod restorable;
mod rollback;

pub use copy::{CopiedTable, copy};
pub use rollback::{RolledBack, To, rollback};
