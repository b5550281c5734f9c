//! The audit lines of `up`, whose terminal belongs to its first block: a file in the data folder, and the one before it. Roles write theirs to their
//! log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What the server calls its audit lines.
pub const TARGET: &str = "ticklake_flight_server::audit";
const FILE: &str = "audit.log";
/// Then the file is set aside, and the one that was set aside before goes.
const MAX_BYTES: u64 = 64 << 20;

/// Opened by its first line, for the folder is made by then.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    max_bytes: u64,
    open: Option<(File, u64)>,
}

impl AuditLog {
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            path: folder.join(FILE),
            max_bytes: MAX_BYTES,
            open: None,
        }
    }

    /// The file and its length.
    fn open(&mut self) -> io::Result<&mut (File, u64)> {
        let full = self.open.as_ref().is_some_and(|(_, bytes)| *bytes >= self.max_bytes);
        if full {
            self.open = None;
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
        }
        match &mut self.open {
            Some(open) => Ok(open),
            none => {
                if let Some(folder) = self.path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                // Statements are nobody else's business.
                let file = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o600)
                    .open(&self.path)?;
                let bytes = file.metadata()?.len();
                Ok(none.insert((file, bytes)))
            }
        }
    }
}

impl Write for AuditLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (file, bytes) = self.open()?;
        let written = file.write(line)?;
        *bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_file_is_private_goes_on_and_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data").join(FILE);
        let log = || AuditLog {
            max_bytes: 8,
            ..AuditLog::in_folder(path.parent().unwrap())
        };
        log().write_all(b"one\n").unwrap();
        let mut again = log();
        for line in [b"two\n", b"six\n", b"ten\n"] {
            again.write_all(line).unwrap();
        }
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "six\nten\n");
        let before = path.with_extension("log.1");
        assert_eq!(std::fs::read_to_string(before).unwrap(), "one\ntwo\n");
    }
}
