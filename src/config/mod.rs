//! Configuration: one TOML file, then `TICKLAKE_SECTION__KEY` variables, then flags; what came last wins.
//!
//! Reading order: `settings` lists every key with its default, `file`, `env` and `flags` each make a layer of overrides,
//! `keys` checks a layer against the list, `load` stacks the layers, `units` reads "5s" and "128MB", `secrets` masks.

pub mod settings;

pub mod units;

pub mod error;

pub mod keys;

pub mod file;

pub mod env;

pub mod flags;

pub mod load;

pub mod secrets;

pub use error::ConfigError;
pub use flags::Overrides;
pub use load::load;
pub use settings::Settings;
