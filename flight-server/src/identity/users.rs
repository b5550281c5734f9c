//! The users file: TOML, mode 0600, replaced whole. `ticklake user` and `ticklake token` write it, servers follow it.
//!
//! ```toml
//! [roles.reader]
//! schemas = ["gold"]          # left out: all
//!
//! [users.alice]
//! role = "reader"
//! password = "$argon2id$..."
//! ```

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::access::{Admitted, Ground, Identity, Standing};
use super::secrets::{self, ScramVerifier};
use crate::error::{Error, Result};

pub const ADMIN: &str = "admin";
pub const READER: &str = "reader";
const MAX_NAME_BYTES: usize = 64;
const MIN_PASSWORD_CHARS: usize = 8;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Users {
    pub roles: BTreeMap<String, Role>,
    pub users: BTreeMap<String, User>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Role {
    /// None: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schemas: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub role: String,
    /// argon2id, as a PHC string; none: tokens and certificates only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Raised by a revoke: bearers that were given out before it are void.
    #[serde(default)]
    pub generation: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scram: Option<ScramVerifier>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, Token>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    pub sha256: String,
    pub expires: DateTime<Utc>,
    /// For the PostgreSQL wire, where the token is the password of the user name `NAME+ID`.
    pub scram: ScramVerifier,
}

impl Users {
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let meta = std::fs::metadata(path).map_err(|e| {
            Error::Config(format!(
                "cannot read the users file {shown}: {e}; make it with `ticklake user add`"
            ))
        })?;
        if meta.mode() & 0o077 != 0 {
            return Err(Error::Config(format!(
                "others can read the users file {shown}; run `chmod 600 {shown}`"
            )));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::Config(format!("cannot read the users file {shown}: {e}")))?;
        let users: Self = toml::from_str(&text)
            .map_err(|e| Error::Config(format!("users file {shown}: {}", e.message().replace('\n', ", "))))?;
        users
            .check()
            .map_err(|e| Error::Config(format!("users file {shown}: {e}")))?;
        Ok(users)
    }

    fn check(&self) -> Result<(), String> {
        for (name, user) in &self.users {
            check_name(name)?;
            if !self.has_role(&user.role) {
                return Err(format!(
                    "user {name} has the role {:?}, which is not defined",
                    user.role
                ));
            }
            if user.password.as_deref().is_some_and(|p| !secrets::is_argon2id(p)) {
                return Err(format!(
                    "the password of user {name} is no argon2id hash; set it with `ticklake user add`"
                ));
            }
        }
        Ok(())
    }

    fn has_role(&self, role: &str) -> bool {
        role == ADMIN || role == READER || self.roles.contains_key(role)
    }

    /// What `name` may do now; None where there is no such user any more.
    pub fn identity(&self, name: &str) -> Option<Identity> {
        let user = self.users.get(name).filter(|user| !user.revoked)?;
        let schemas = self.roles.get(&user.role).and_then(|role| role.schemas.clone());
        Some(Identity {
            user: name.into(),
            admin: user.role == ADMIN,
            schemas: schemas.map(Into::into),
            generation: user.generation,
        })
    }

    /// The user whose token `text` is, unless it has expired.
    pub fn by_token(&self, text: &str, now: DateTime<Utc>) -> Option<Admitted> {
        let (id, secret) = secrets::split_token(text)?;
        let digest = secrets::token_digest(secret);
        let mut found = None;
        for (name, user) in &self.users {
            if let Some(token) = user.tokens.get(id)
                && secrets::digests_equal(&token.sha256, &digest)
                && token.expires > now
            {
                let standing = Standing {
                    ground: Ground::Token(id.to_owned()),
                    until_us: Some(token.expires.timestamp_micros()),
                };
                found = self.identity(name).map(|identity| Admitted { identity, standing });
            }
        }
        found
    }

    /// Whether `name` still has the token `id`, and that has not expired.
    pub fn has_token(&self, name: &str, id: &str, now: DateTime<Utc>) -> bool {
        let token = self.users.get(name).and_then(|user| user.tokens.get(id));
        token.is_some_and(|token| token.expires > now)
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(plain) {
        return Err(format!(
            "{name:?} is no user name; use letters, digits, -, _, . and @, {MAX_NAME_BYTES} at most"
        ));
    }
    Ok(())
}

/// The file as the command line changes it: locked from reading to replacing.
#[derive(Debug)]
pub struct UsersFile {
    path: PathBuf,
    users: Users,
    _lock: File,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserSummary {
    pub user: String,
    pub role: String,
    pub password: bool,
    pub tokens: usize,
    pub revoked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenSummary {
    pub id: String,
    pub user: String,
    pub expires: DateTime<Utc>,
}

impl UsersFile {
    /// Opens the file, or starts an empty one where it is missing.
    pub fn open(path: &Path) -> Result<Self> {
        let lock_path = path.with_extension("lock");
        let cannot =
            |e: std::io::Error| Error::Config(format!("cannot write beside the users file {}: {e}", path.display()));
        let lock = private().truncate(false).open(&lock_path).map_err(cannot)?;
        lock.lock().map_err(cannot)?;
        let users = if path.exists() {
            Users::read(path)?
        } else {
            Users::default()
        };
        Ok(Self {
            path: path.to_owned(),
            users,
            _lock: lock,
        })
    }

    /// Adds `name`, or gives an existing user a new password and role; both end its earlier log-ins.
    pub fn add(&mut self, name: &str, role: &str, password: Option<&str>) -> Result<()> {
        check_name(name).map_err(Error::Config)?;
        if !self.users.has_role(role) {
            return Err(Error::Config(format!(
                "role {role:?} is not defined; use reader or admin, or define [roles.{role}] in {}",
                self.path.display()
            )));
        }
        if let Some(password) = password
            && password.chars().count() < MIN_PASSWORD_CHARS
        {
            return Err(Error::Config(format!(
                "the password has fewer than {MIN_PASSWORD_CHARS} characters; choose a longer one"
            )));
        }
        let before = self.users.users.get(name);
        let user = User {
            role: role.to_owned(),
            password: password.map(secrets::hash_password).transpose()?,
            scram: password.map(secrets::scram_verifier).transpose()?,
            generation: before.map_or(1, |user| user.generation + 1),
            revoked: false,
            tokens: before.map(|user| user.tokens.clone()).unwrap_or_default(),
        };
        self.users.users.insert(name.to_owned(), user);
        self.save()
    }

    /// Ends every log-in, token and certificate of `name`.
    pub fn revoke(&mut self, name: &str) -> Result<()> {
        let user = self.user(name)?;
        user.revoked = true;
        user.generation += 1;
        user.tokens.clear();
        self.save()
    }

    /// A new token of `name`: its id and the text that is never shown again.
    pub fn create_token(&mut self, name: &str, expires: DateTime<Utc>) -> Result<(String, String)> {
        let (id, text, sha256) = secrets::new_token();
        let scram = secrets::scram_verifier(&text)?;
        let user = self.user(name)?;
        if user.revoked {
            return Err(Error::Config(format!("user {name} is revoked; add it again first")));
        }
        user.tokens.insert(id.clone(), Token { sha256, expires, scram });
        self.save()?;
        Ok((id, text))
    }

    pub fn revoke_token(&mut self, id: &str) -> Result<()> {
        let owner = self.users.users.values_mut().find(|user| user.tokens.contains_key(id));
        match owner {
            Some(user) => user.tokens.remove(id),
            None => {
                return Err(Error::Config(format!(
                    "there is no token {id}; `ticklake token list` shows them"
                )));
            }
        };
        self.save()
    }

    pub fn list(&self) -> Vec<UserSummary> {
        let summary = |(name, user): (&String, &User)| UserSummary {
            user: name.clone(),
            role: user.role.clone(),
            password: user.password.is_some(),
            tokens: user.tokens.len(),
            revoked: user.revoked,
        };
        self.users.users.iter().map(summary).collect()
    }

    pub fn list_tokens(&self) -> Vec<TokenSummary> {
        let of = |(name, user): (&String, &User)| {
            let summary = |(id, token): (&String, &Token)| TokenSummary {
                id: id.clone(),
                user: name.clone(),
                expires: token.expires,
            };
            user.tokens.iter().map(summary).collect::<Vec<_>>()
        };
        self.users.users.iter().flat_map(of).collect()
    }

    fn user(&mut self, name: &str) -> Result<&mut User> {
        let found = self.users.users.get_mut(name);
        found.ok_or_else(|| Error::Config(format!("there is no user {name}; `ticklake user list` shows them")))
    }

    /// Whole or not at all: a server never reads half of it.
    fn save(&self) -> Result<()> {
        let cannot =
            |e: std::io::Error| Error::Config(format!("cannot write the users file {}: {e}", self.path.display()));
        let text = toml::to_string(&self.users).map_err(|e| Error::Internal(format!("users file: {e}")))?;
        let partial = self.path.with_extension("partial");
        let mut file = private().truncate(true).open(&partial).map_err(cannot)?;
        file.write_all(text.as_bytes()).map_err(cannot)?;
        file.sync_all().map_err(cannot)?;
        std::fs::rename(&partial, &self.path).map_err(cannot)
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn later(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn users_and_tokens_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let token = {
            let mut file = UsersFile::open(&path).unwrap();
            file.add("alice", READER, Some("correct horse")).unwrap();
            file.add("root", ADMIN, None).unwrap();
            file.create_token("alice", later(10)).unwrap()
        };
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let users = Users::read(&path).unwrap();
        let alice = users.identity("alice").unwrap();
        assert!(!alice.admin && users.identity("root").unwrap().admin);
        assert_eq!(users.identity("bob"), None);
        assert_eq!(
            users.by_token(&token.1, later(0)).unwrap().identity.user.as_ref(),
            "alice"
        );
        assert_eq!(users.by_token(&token.1, later(10)), None, "expired");
        assert_eq!(users.by_token(&format!("{}x", token.1), later(0)), None);
        assert!(users.has_token("alice", &token.0, later(0)) && !users.has_token("alice", &token.0, later(10)));
        assert!(!users.has_token("root", &token.0, later(0)));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("correct horse") && !text.contains(&token.1));

        let mut file = UsersFile::open(&path).unwrap();
        file.revoke_token(&token.0).unwrap();
        assert!(file.list_tokens().is_empty());
        file.revoke("alice").unwrap();
        let users = Users::read(&path).unwrap();
        assert_eq!(users.identity("alice"), None);
        file.add("alice", READER, Some("another one")).unwrap();
        let again = Users::read(&path).unwrap().identity("alice").unwrap();
        assert!(again.generation > alice.generation, "old bearers stay void");
    }

    #[test]
    fn a_wrong_file_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let refused = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Users::read(&path).unwrap_err().to_string()
        };
        assert!(refused("", 0o644).contains("chmod 600"));
        assert!(refused("[users.a]\nrole = 'writer'", 0o600).contains("writer"));
        assert!(refused("[users.a]\nrole = 'reader'\npassword = 'plain'", 0o600).contains("argon2id"));
        assert!(refused("[users.a]\nrol = 'reader'", 0o600).contains("rol"));
        assert!(refused("[users.'a b']\nrole = 'reader'", 0o600).contains("user name"));
        assert!(
            Users::read(&dir.path().join("none"))
                .unwrap_err()
                .to_string()
                .contains("ticklake user add")
        );
    }

    #[test]
    fn a_role_has_its_schemas() {
        let text = "[roles.reader]\nschemas = ['gold']\n[users.a]\nrole = 'reader'\n[users.b]\nrole = 'admin'";
        let users: Users = toml::from_str(text).unwrap();
        let a = users.identity("a").unwrap();
        assert!(a.may_read("gold") && !a.may_read("silver"));
        assert!(users.identity("b").unwrap().may_read("silver"));
    }
}
