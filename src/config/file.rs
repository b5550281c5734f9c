//! The TOML file as a layer of overrides.

use std::path::{Path, PathBuf};

use toml::Table;

use super::{ConfigError, keys};

/// Read where no `--config` is given, if it is there.
pub const DEFAULT_PATH: &str = "ticklake.toml";

/// A file that was read: its keys are known ones.
pub struct ConfigFile {
    pub path: PathBuf,
    pub table: Table,
}

/// `path` must exist where the user named it; the default may be missing.
pub fn read(path: Option<&Path>) -> Result<Option<ConfigFile>, ConfigError> {
    let named = path.is_some();
    let path = path.unwrap_or(Path::new(DEFAULT_PATH)).to_owned();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ConfigError::Read { path, source }),
    };
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error
            .span()
            .map(|span| text[..span.start.min(text.len())].lines().count().max(1));
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        ConfigError::Syntax {
            path: path.clone(),
            message: format!("{place}{}", error.message().replace('\n', ", ")),
        }
    })?;
    keys::check(&table, &path.display().to_string())?;
    Ok(Some(ConfigFile { path, table }))
}
