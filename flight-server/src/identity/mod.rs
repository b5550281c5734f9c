//! Who calls, and what they may read.
//!
//! Reading order: `access` is what a caller may do; `users` is the file of those who may log in, `secrets` how their
//! passwords and tokens are kept; `directory` follows the file; `gate` judges the credentials of a call, `backoff` slows
//! guessing down; `layer` stands before every RPC.

mod access;

mod secrets;

mod users;

mod directory;

mod backoff;

mod gate;

mod layer;

pub use access::Identity;
pub use directory::Directory;
pub use gate::{Gate, Peer};
pub use layer::GateLayer;
pub use secrets::digests_equal;
pub use users::{TokenSummary, UserSummary, UsersFile};
