//! The users file as a running server follows it: read again within a second of a change. A file that does not read keeps
//! the users as they were, and is said in the log until it does.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::access::{ANONYMOUS, Identity};
use super::users::Users;
use crate::error::Result;

/// A revoke must hold on every replica within five seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who may log in; without a file, everyone is the anonymous reader.
#[derive(Debug, Clone)]
pub struct Directory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: Option<PathBuf>,
    users: RwLock<Arc<Users>>,
}

/// Changes whenever the file is replaced or written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Directory {
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let users = path.map(Users::read).transpose()?.unwrap_or_default();
        Ok(Self(Arc::new(Shared {
            path: path.map(Path::to_owned),
            users: RwLock::new(Arc::new(users)),
        })))
    }

    /// True without a users file.
    pub fn is_anonymous(&self) -> bool {
        self.0.path.is_none()
    }

    pub fn users(&self) -> Arc<Users> {
        self.0.users.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What `name` may do now.
    pub fn identity(&self, name: &str) -> Option<Identity> {
        if self.is_anonymous() {
            return (name == ANONYMOUS).then(Identity::anonymous);
        }
        self.users().identity(name)
    }

    /// Follows the file until `stop`.
    pub async fn follow(self, stop: CancellationToken) {
        let Some(path) = self.0.path.clone() else { return };
        let mut seen = stamp(&path);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let now = stamp(&path);
            if now == seen {
                continue;
            }
            seen = now;
            match Users::read(&path) {
                Ok(users) => {
                    tracing::info!(path = %path.display(), users = users.users.len(), "users file read again");
                    *self.0.users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
                }
                Err(error) => {
                    tracing::error!(%error, "the changed users file is not taken; the users stay as they were");
                }
            }
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Stamp {
        inode: meta.ino(),
        bytes: meta.len(),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}
