//! The users file as a running server follows it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_util::sync::CancellationToken;

use super::access::{ANONYMOUS, Identity};
use super::users::Users;
use crate::error::Result;
use crate::followed::{Alarm, Files};

/// Who may log in; without a file, everyone is the anonymous reader.
#[derive(Debug, Clone)]
pub struct Directory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: Option<(PathBuf, Files)>,
    users: RwLock<Arc<Users>>,
}

impl Directory {
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let file = path.map(|path| (path.to_owned(), Files::new(vec![path.to_owned()])));
        let users = path.map(Users::read).transpose()?.unwrap_or_default();
        Ok(Self(Arc::new(Shared {
            file,
            users: RwLock::new(Arc::new(users)),
        })))
    }

    /// True without a users file.
    pub fn is_anonymous(&self) -> bool {
        self.0.file.is_none()
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
    pub async fn follow(self, alarm: Alarm, stop: CancellationToken) {
        let Some((path, files)) = self.0.file.clone() else {
            return;
        };
        let read = || {
            let users = Arc::new(Users::read(&path)?);
            *self.0.users.write().unwrap_or_else(PoisonError::into_inner) = users;
            Ok(())
        };
        files.follow(alarm, stop, read).await;
    }
}
