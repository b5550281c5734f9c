//! The keys that sign tickets and log-ins: a file of one key a line, in hex. The first signs, the others are still accepted, so a
//! key is replaced by putting a new line on top.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ticklake_flight_server::{Secret, new_signing_key};

use crate::config::Settings;
use crate::exit::Usage;

const FILE: &str = "server.key";
const KEY_BYTES: usize = 32;

/// The keys of a server: those of the setting or its file, else of `server.key` in the data folder, which is made where it is missing.
pub fn keys(settings: &Settings) -> anyhow::Result<Vec<Secret>> {
    let serve = &settings.serve;
    if !serve.signing_key.is_empty() {
        return Ok(vec![Secret(serve.signing_key.clone().into_bytes())]);
    }
    if !serve.signing_key_file.is_empty() {
        let path = Path::new(&serve.signing_key_file);
        return read(path).map_err(|error| Usage(format!("signing key file {}: {error}", path.display())).into());
    }
    let path = Path::new(&settings.up.data_dir).join(FILE);
    match read_or_make(&path) {
        Ok(keys) => Ok(keys),
        Err(error) if error.is::<Usage>() => Err(error),
        Err(error) => {
            tracing::warn!(path = %path.display(), error = format!("{error:#}"), "no signing key is kept; tickets and log-ins end with this process");
            Ok(Vec::new())
        }
    }
}

fn read_or_make(path: &Path) -> anyhow::Result<Vec<Secret>> {
    if path.exists() {
        return read(path);
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    // Whole or not at all, readable by its owner alone; where another process was quicker, its key counts.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let key = new_signing_key();
    writeln!(file, "{}", hex(&key.0))?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(vec![key]),
        Err(raced) if raced.error.kind() == ErrorKind::AlreadyExists => read(path),
        Err(failed) => Err(failed.error.into()),
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Secret>> {
    let meta = std::fs::metadata(path)?;
    let shown = path.display();
    if meta.mode() & 0o077 != 0 {
        return Err(Usage(format!(
            "others can read the signing key {shown}; run `chmod 600 {shown}`"
        ))
        .into());
    }
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Option<Vec<_>> = lines
        .map(|line| unhex(line).filter(|key| key.len() >= KEY_BYTES))
        .collect();
    match keys {
        Some(keys) if !keys.is_empty() => Ok(keys.into_iter().map(Secret).collect()),
        _ => Err(Usage(format!(
            "{shown} holds no signing keys; each line is {} hex digits or more, as `openssl rand -hex {KEY_BYTES}` makes them",
            KEY_BYTES * 2
        ))
        .into()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (text.len().is_multiple_of(2) && text.is_ascii()).then_some(())?;
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn texts(keys: &[Secret]) -> Vec<Vec<u8>> {
        keys.iter().map(|key| key.0.clone()).collect()
    }

    #[test]
    fn a_key_is_made_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data/server.key");
        let made = read_or_make(&path).unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(texts(&read_or_make(&path).unwrap()), texts(&made));
        let old = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{}\n{old}", "ab".repeat(32))).unwrap();
        let both = read_or_make(&path).unwrap();
        assert_eq!(both.len(), 2);
        assert_eq!(both[1].0, made[0].0);
    }

    #[test]
    fn a_wrong_file_is_no_new_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.key");
        for text in ["", "short", "zz"] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert!(read_or_make(&path).unwrap_err().is::<Usage>(), "{text}");
        }
        std::fs::write(&path, "ab".repeat(32)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read_or_make(&path).unwrap_err().to_string().contains("chmod 600"));
    }
}
