//! Files that may change while the server runs: looked at every second and read again when they have changed.
//!
//! A file that is not taken keeps what was there, is tried again every second, because what was in the way may pass without a change of the file,
//! and is an alarm in status and metrics until it is taken.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ticklake_sql::Clock;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::status::ServerStatus;

/// A revoke must hold on every replica within five seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Changes whenever a file is replaced or written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// Files that are read together, as they were before they were last read.
#[derive(Debug, Clone)]
pub struct Files {
    paths: Vec<PathBuf>,
    taken: Option<Vec<Option<Stamp>>>,
}

/// Where a file that is not taken is told.
#[derive(Debug, Clone)]
pub struct Alarm {
    /// `users`, `certificates`.
    pub name: &'static str,
    pub status: Arc<ServerStatus>,
    pub clock: Clock,
}

impl Files {
    /// To be called before the files are read first: what is written meanwhile is a change.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let taken = Some(stamps(&paths));
        Self { paths, taken }
    }

    /// Follows the files until `stop`.
    pub async fn follow(mut self, alarm: Alarm, stop: CancellationToken, read: impl Fn() -> Result<()> + Send) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            self.look(&alarm, &read);
        }
    }

    fn look(&mut self, alarm: &Alarm, read: &impl Fn() -> Result<()>) {
        let now = Some(stamps(&self.paths));
        if now == self.taken {
            return;
        }
        match read() {
            Ok(()) => {
                self.taken = now;
                alarm.status.file_taken(alarm.name);
                tracing::info!(files = alarm.name, "read again");
            }
            Err(error) => {
                self.taken = None;
                let message = error.to_string();
                if alarm.status.file_refused(alarm.name, message.clone()) {
                    let message = format!("{message}; what was read before it stays");
                    tracing::error!(files = alarm.name, error = message, "a changed file is not taken");
                    alarm.status.noted(alarm.clock.now_us(), message);
                }
            }
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    paths.iter().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Stamp {
        inode: meta.ino(),
        bytes: meta.len(),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::Error;

    fn alarm() -> Alarm {
        Alarm {
            name: "users",
            status: Arc::default(),
            clock: Clock::system(),
        }
    }

    #[test]
    fn a_file_that_could_not_be_read_is_read_once_it_can_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let mut files = Files::new(vec![path.clone()]);
        let (alarm, reads, open_files) = (alarm(), Cell::new(0), Cell::new(false));
        let read = || {
            reads.set(reads.get() + 1);
            if open_files.get() {
                Ok(())
            } else {
                Err(Error::Config("too many open files".into()))
            }
        };
        files.look(&alarm, &read);
        assert_eq!(reads.get(), 0, "nothing has changed");
        std::fs::write(&path, "another").unwrap();
        for n in 1..=2 {
            files.look(&alarm, &read);
            assert_eq!(reads.get(), n, "tried again, though the file is as it was");
        }
        let shown = alarm.status.snapshot();
        assert!(
            shown["files_not_taken"]["users"]
                .as_str()
                .unwrap()
                .contains("open files")
        );
        assert!(shown["last_error"]["message"].as_str().unwrap().contains("open files"));
        let line = "ticklake_serve_file_not_taken{file=\"users\"}";
        assert!(alarm.status.prometheus().contains(&format!("{line} 1\n")));
        open_files.set(true);
        files.look(&alarm, &read);
        files.look(&alarm, &read);
        assert_eq!(reads.get(), 3, "taken, and left alone");
        assert_eq!(alarm.status.snapshot()["files_not_taken"], serde_json::json!({}));
        assert!(alarm.status.prometheus().contains(&format!("{line} 0\n")));
    }

    #[test]
    fn a_change_while_it_is_read_first_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let mut files = Files::new(vec![path.clone()]);
        // Whoever reads now has read "one" when this comes.
        std::fs::write(&path, "another").unwrap();
        let reads = Cell::new(0);
        files.look(&alarm(), &|| {
            reads.set(reads.get() + 1);
            Ok(())
        });
        assert_eq!(reads.get(), 1);
    }
}
