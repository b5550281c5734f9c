//! What can be wrong with a configuration. Every message names the key, where it was set, and what to write instead.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the configuration file {} is not TOML: {message}", path.display())]
    Syntax { path: PathBuf, message: String },
    #[error("unknown key {key} in {origin}{}", hint(nearest))]
    UnknownKey {
        key: String,
        origin: String,
        nearest: Option<String>,
    },
    #[error("{key} in {origin}: {message}")]
    Value {
        key: String,
        origin: String,
        message: String,
    },
}

fn hint(nearest: &Option<String>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean {nearest}?"),
        None => "; `ticklake config show` lists every key".to_owned(),
    }
}
