//! Judges the credentials of a call: a client certificate, `Basic`, `Bearer` with a log-in of ours, or an API token.
//!
//! Nothing told, and no time taken, says whether a user exists: an unknown one is checked against a hash that nothing fits.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ticklake_sql::Clock;
use tokio::sync::Semaphore;

use super::access::Identity;
use super::backoff::Backoff;
use super::directory::Directory;
use super::secrets;
use crate::error::{Error, Result};
use crate::ticket::{Claims, Kind, Signer};

/// argon2 takes 19 MiB and a core for tens of milliseconds.
const HASHES_AT_ONCE: usize = 2;
const MAX_WAITING: usize = 64;
/// A right password is not hashed again for this long.
const KEEP: Duration = Duration::from_secs(60);
const MAX_KEPT: usize = 1_000;
const MAX_CREDENTIAL_BYTES: usize = 8 << 10;
/// Go's Flight client leaves the padding out.
const BASIC: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Who is at the other end of a connection, as far as the connection tells.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    pub addr: Option<SocketAddr>,
    /// Names in the client's certificate, which was verified.
    pub names: Vec<String>,
}

#[derive(Debug)]
pub struct Gate {
    directory: Directory,
    signer: Signer,
    clock: Clock,
    bearer_lifetime: Duration,
    backoff: Backoff,
    /// Keyed hash of user and password -> when it was right, and the generation that it was right for.
    kept: Mutex<HashMap<[u8; 32], (Instant, u32)>>,
    key: [u8; 32],
    /// What no password fits.
    nobody: String,
    hashing: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Gate {
    pub fn new(directory: Directory, signer: Signer, clock: Clock, bearer_lifetime: Duration) -> Result<Self> {
        let nobody = if directory.is_anonymous() {
            String::new()
        } else {
            secrets::hash_password(&BASE64_STANDARD.encode(secrets::random::<32>()))?
        };
        Ok(Self {
            directory,
            signer,
            clock,
            bearer_lifetime,
            backoff: Backoff::default(),
            kept: Mutex::default(),
            key: secrets::random(),
            nobody,
            hashing: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Who calls. Without a users file any header is ignored: some clients send `Bearer None`.
    pub async fn identify(&self, authorization: Option<&str>, peer: &Peer) -> Result<Identity> {
        if self.directory.is_anonymous() {
            return Ok(Identity::anonymous());
        }
        if let Some(known) = peer.names.iter().find_map(|name| self.directory.identity(name)) {
            return Ok(known);
        }
        let Some(authorization) = authorization else {
            return Err(Error::Unauthenticated(
                "log in first: send a user and password, or a token".into(),
            ));
        };
        if authorization.len() > MAX_CREDENTIAL_BYTES {
            return Err(refused());
        }
        match authorization.split_once(' ') {
            Some((scheme, text)) if scheme.eq_ignore_ascii_case("basic") => {
                let (user, password) = decode_basic(text.trim()).ok_or_else(refused)?;
                self.log_in(&user, &password, peer.addr.map(|a| a.ip())).await
            }
            Some((scheme, text)) if scheme.eq_ignore_ascii_case("bearer") => self.bearer(text.trim()),
            _ => Err(refused()),
        }
    }

    /// A bearer for `identity`, good on every replica with the same key.
    pub fn give_bearer(&self, identity: &Identity) -> String {
        let claims = Claims {
            user: identity.user.to_string(),
            generation: identity.generation,
            ..Default::default()
        };
        BASE64_URL_SAFE_NO_PAD.encode(self.signer.seal(Kind::Bearer, claims, self.bearer_lifetime))
    }

    fn bearer(&self, text: &str) -> Result<Identity> {
        if text.starts_with(secrets::TOKEN_PREFIX) {
            let users = self.directory.users();
            return users.by_token(text, self.clock.now()).ok_or_else(refused);
        }
        let token = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| refused())?;
        let claims = self.signer.open_any(Kind::Bearer, &token).map_err(|_| refused())?;
        let identity = self.directory.identity(&claims.user).ok_or_else(refused)?;
        if identity.generation == claims.generation {
            Ok(identity)
        } else {
            Err(refused())
        }
    }

    /// The password may also be a token of the user.
    async fn log_in(&self, user: &str, password: &str, ip: Option<IpAddr>) -> Result<Identity> {
        if let Some(left) = self.backoff.wait(user, ip) {
            return Err(Error::Unauthenticated(format!(
                "too many failed log-ins; try again in {} s",
                left.as_secs() + 1
            )));
        }
        let users = self.directory.users();
        if password.starts_with(secrets::TOKEN_PREFIX) {
            let owner = users.by_token(password, self.clock.now());
            let found = owner.filter(|identity| identity.user.as_ref() == user);
            return self.settle(user, ip, found);
        }
        let identity = users.identity(user);
        let key = secrets::hmac(&self.key, &[user.as_bytes(), &[0], password.as_bytes()])?;
        if let Some(identity) = &identity
            && self.was_right(&key, identity.generation)
        {
            return Ok(identity.clone());
        }
        let hash = identity.as_ref().and_then(|_| users.users.get(user)?.password.clone());
        let matches = self.hash(password, hash.unwrap_or_else(|| self.nobody.clone())).await?;
        let found = identity.filter(|_| matches);
        if let Some(identity) = &found {
            self.keep(key, identity.generation);
        }
        self.settle(user, ip, found)
    }

    fn settle(&self, user: &str, ip: Option<IpAddr>, found: Option<Identity>) -> Result<Identity> {
        match found {
            Some(identity) => {
                self.backoff.succeeded(user, ip);
                Ok(identity)
            }
            None => {
                self.backoff.failed(user, ip);
                tracing::warn!(user, peer = ?ip, "log-in failed");
                Err(refused())
            }
        }
    }

    /// Off the network's threads, two at once.
    async fn hash(&self, password: &str, hash: String) -> Result<bool> {
        let _waiting = Waiting::enter(&self.waiting)?;
        let permit = self.hashing.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Error::Busy("the server is shutting down".into()))?;
        let password = password.to_owned();
        let checked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            secrets::password_matches(&password, &hash)
        });
        checked.await.map_err(|e| Error::Internal(format!("log-in ended: {e}")))
    }

    fn was_right(&self, key: &[u8; 32], generation: u32) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key)
            .is_some_and(|(at, of)| at.elapsed() < KEEP && *of == generation)
    }

    fn keep(&self, key: [u8; 32], generation: u32) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, (at, _)| at.elapsed() < KEEP);
        }
        if kept.len() < MAX_KEPT {
            kept.insert(key, (Instant::now(), generation));
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Result<Self> {
        let before = waiting.fetch_add(1, Ordering::SeqCst);
        let place = Self(waiting);
        if before >= MAX_WAITING {
            return Err(Error::Busy("too many log-ins at once".into()));
        }
        Ok(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The same for every cause.
fn refused() -> Error {
    Error::Unauthenticated("user, password or token is wrong, expired or revoked".into())
}

fn decode_basic(text: &str) -> Option<(String, String)> {
    let text = String::from_utf8(BASIC.decode(text).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::users::{READER, UsersFile};
    use super::*;

    fn gate(path: &Path) -> Gate {
        let signer = Signer::new(vec![vec![7; 32]], Clock::system()).unwrap();
        let directory = Directory::open(Some(path)).unwrap();
        Gate::new(directory, signer, Clock::system(), Duration::from_secs(60)).unwrap()
    }

    fn basic(user: &str, password: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
    }

    #[tokio::test]
    async fn credentials_of_every_kind_are_judged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let mut file = UsersFile::open(&path).unwrap();
        file.add("alice", READER, Some("correct horse")).unwrap();
        file.add("carol", READER, None).unwrap();
        let expires = Clock::system().now() + Duration::from_secs(60);
        let (_, token) = file.create_token("alice", expires).unwrap();
        let gate = gate(&path);
        let peer = Peer::default();
        let who = async |header: &str| gate.identify(Some(header), &peer).await.map(|i| i.user.to_string());

        for header in [
            basic("alice", "correct horse"),
            basic("alice", &token),
            basic("alice", "correct horse").trim_end_matches('=').to_owned(),
            format!("Bearer {token}"),
            format!(
                "bearer {}",
                gate.give_bearer(&gate.directory.identity("alice").unwrap())
            ),
        ] {
            assert_eq!(who(&header).await.unwrap(), "alice", "{header}");
        }
        let certified = Peer {
            names: vec!["carol".into()],
            ..Default::default()
        };
        assert_eq!(gate.identify(None, &certified).await.unwrap().user.as_ref(), "carol");

        let mut texts = Vec::new();
        for header in [
            basic("alice", "wrong"),
            basic("nobody", "wrong"),
            basic("carol", ""),
            basic("carol", &token),
            format!("Bearer {token}x"),
            "Bearer None".to_owned(),
            "Digest x".to_owned(),
            "Basic !".to_owned(),
        ] {
            texts.push(who(&header).await.expect_err(&header).to_string());
        }
        texts.dedup();
        assert_eq!(texts.len(), 1, "nothing tells why: {texts:?}");
        assert!(gate.identify(None, &peer).await.is_err());
    }

    #[tokio::test]
    async fn guessing_is_slowed_down_and_a_right_password_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        UsersFile::open(&path)
            .unwrap()
            .add("alice", READER, Some("correct horse"))
            .unwrap();
        let gate = gate(&path);
        let at = |ip: &str| Peer {
            addr: format!("{ip}:1").parse().ok(),
            names: Vec::new(),
        };
        for user in ["alice", "nobody"] {
            for _ in 0..3 {
                assert!(
                    gate.identify(Some(&basic(user, "wrong")), &at("10.0.0.1"))
                        .await
                        .is_err()
                );
            }
            let refused = gate
                .identify(Some(&basic(user, "correct horse")), &at("10.0.0.1"))
                .await
                .unwrap_err();
            assert!(refused.to_string().contains("too many"), "{refused}");
        }
        gate.identify(Some(&basic("alice", "correct horse")), &at("10.0.0.2"))
            .await
            .unwrap();
        assert_eq!(gate.kept.lock().unwrap().len(), 1);
        // Kept, so it needs none of the places in which passwords are hashed.
        gate.hashing.close();
        gate.identify(Some(&basic("alice", "correct horse")), &at("10.0.0.3"))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_revoke_voids_bearers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let mut file = UsersFile::open(&path).unwrap();
        file.add("alice", READER, Some("correct horse")).unwrap();
        let bearer = {
            let gate = gate(&path);
            gate.give_bearer(&gate.directory.identity("alice").unwrap())
        };
        file.revoke("alice").unwrap();
        file.add("alice", READER, Some("another horse")).unwrap();
        let refused = gate(&path)
            .identify(Some(&format!("Bearer {bearer}")), &Peer::default())
            .await;
        assert!(refused.is_err());
    }

    #[tokio::test]
    async fn without_users_everyone_is_the_anonymous_reader() {
        let signer = Signer::new(vec![], Clock::system()).unwrap();
        let gate = Gate::new(Directory::open(None).unwrap(), signer, Clock::system(), KEEP).unwrap();
        let identity = gate.identify(Some("Bearer None"), &Peer::default()).await.unwrap();
        assert_eq!(identity, Identity::anonymous());
    }
}
