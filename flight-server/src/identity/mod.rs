//! Who calls, and what they may read.
//!
//! Reading order: `access` is what a caller may do; `users` is the file of those who may log in, `secrets` how their
//! passwords and tokens are kept; `directory` follows the file; `gate` judges the credentials of a call; `network` is where guesses come
//! from, `backoff` slows them down, `passwords` bounds what they cost; `layer` stands before every RPC.

mod access;

mod secrets;

mod users;

mod directory;

mod network;

mod backoff;

mod passwords;

mod gate;

mod layer;

pub use access::{Admitted, Identity};
pub use directory::Directory;
pub use gate::{Gate, Peer};
pub use layer::GateLayer;
pub use secrets::digests_equal;
pub use users::{TokenSummary, UserSummary, UsersFile};
