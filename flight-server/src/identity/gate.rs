//! Judges the credentials of a call: a client certificate, `Basic`, `Bearer` with a log-in of ours, or an API token.
//!
//! Nothing told, and no time taken, says whether a user exists: an unknown one is checked against a hash that nothing fits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ticklake_sql::Clock;

use super::access::{Admitted, Ground, Identity, Standing};
use super::backoff::Backoff;
use super::directory::Directory;
use super::network::Network;
use super::passwords::{Attempt, Passwords};
use super::secrets;
use crate::error::{Error, Result};
use crate::ticket::{Claims, Kind, Signer};

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
    /// Whether a call on the connection was let in; the connection and its calls share it.
    pub let_in: Arc<AtomicBool>,
    /// A reply on this connection has offered the session's cookie.
    pub offered: Arc<AtomicBool>,
}

#[derive(Debug)]
pub struct Gate {
    directory: Directory,
    signer: Signer,
    clock: Clock,
    bearer_lifetime: Duration,
    backoff: Backoff,
    passwords: Passwords,
    /// What no password fits.
    nobody: String,
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
            passwords: Passwords::new(clock.clone()),
            clock,
            bearer_lifetime,
            backoff: Backoff::default(),
            nobody,
        })
    }

    /// Who calls. Without a users file any header is ignored: some clients send `Bearer None`.
    pub async fn identify(&self, authorization: Option<&str>, peer: &Peer) -> Result<Admitted> {
        if self.directory.is_anonymous() {
            return Ok(Admitted {
                identity: Identity::anonymous(),
                standing: Standing::on(Ground::Password),
            });
        }
        if let Some(identity) = peer.names.iter().find_map(|name| self.directory.identity(name)) {
            let standing = Standing::on(Ground::Certificate);
            return Ok(Admitted { identity, standing });
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
                let network = Network::of(peer.addr.map(|addr| addr.ip()));
                self.log_in(&user, &password, network).await
            }
            Some((scheme, text)) if scheme.eq_ignore_ascii_case("bearer") => self.bearer(text.trim()),
            _ => Err(refused()),
        }
    }

    /// A bearer for a caller, good on every replica with the same key for as long as what the caller was let in by.
    pub fn give_bearer(&self, admitted: &Admitted) -> String {
        let Admitted { identity, standing } = admitted;
        let mut claims = Claims {
            user: identity.user.to_string(),
            generation: identity.generation,
            ..Default::default()
        };
        match &standing.ground {
            Ground::Password => {}
            Ground::Token(id) => claims.token_id.clone_from(id),
            Ground::Certificate => claims.certificate = true,
        }
        let left = standing.until_us.map(|until_us| {
            let left_us = u64::try_from(until_us - self.clock.now_us()).unwrap_or_default();
            Duration::from_micros(left_us)
        });
        let lifetime = left.map_or(self.bearer_lifetime, |left| left.min(self.bearer_lifetime));
        BASE64_URL_SAFE_NO_PAD.encode(self.signer.seal(Kind::Bearer, claims, lifetime))
    }

    fn bearer(&self, text: &str) -> Result<Admitted> {
        let users = self.directory.users();
        let now = self.clock.now();
        if text.starts_with(secrets::TOKEN_PREFIX) {
            return users.by_token(text, now).ok_or_else(refused);
        }
        let token = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| refused())?;
        let claims = self.signer.open_any(Kind::Bearer, &token).map_err(|_| refused())?;
        let identity = users.identity(&claims.user).ok_or_else(refused)?;
        // A certificate logs in by itself: its bearer is good beside it, where nobody looks at bearers, and nowhere else.
        if identity.generation != claims.generation || claims.certificate {
            return Err(refused());
        }
        let ground = if claims.token_id.is_empty() {
            Ground::Password
        } else if users.has_token(&claims.user, &claims.token_id, now) {
            Ground::Token(claims.token_id)
        } else {
            return Err(refused());
        };
        let standing = Standing {
            ground,
            until_us: Some(claims.expires_us),
        };
        Ok(Admitted { identity, standing })
    }

    /// The password may also be a token of the user.
    async fn log_in(&self, user: &str, password: &str, network: Network) -> Result<Admitted> {
        self.backoff.check(user, network)?;
        let users = self.directory.users();
        if password.starts_with(secrets::TOKEN_PREFIX) {
            let owner = users.by_token(password, self.clock.now());
            let found = owner.filter(|admitted| admitted.identity.user.as_ref() == user);
            match &found {
                Some(_) => self.backoff.succeeded(user, network),
                None => self.backoff.failed(user, network),
            }
            return found.ok_or_else(refused);
        }
        let identity = users.identity(user);
        let hash = identity.as_ref().and_then(|_| users.users.get(user)?.password.clone());
        let attempt = Attempt {
            user,
            password,
            hash: hash.unwrap_or_else(|| self.nobody.clone()),
            generation: identity.as_ref().map(|identity| identity.generation),
            network,
        };
        let right = self.passwords.check(attempt, &self.backoff).await?;
        let identity = identity.filter(|_| right).ok_or_else(refused)?;
        self.backoff.succeeded(user, network);
        let standing = Standing::on(Ground::Password);
        Ok(Admitted { identity, standing })
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
    use std::sync::atomic::{AtomicI64, Ordering};

    use chrono::DateTime;

    use super::super::users::{READER, UsersFile};
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(60);

    fn gate(path: &Path) -> Gate {
        gate_at(path, Clock::system())
    }

    fn gate_at(path: &Path, clock: Clock) -> Gate {
        let signer = Signer::new(vec![vec![7; 32]], clock.clone()).unwrap();
        let directory = Directory::open(Some(path)).unwrap();
        Gate::new(directory, signer, clock, LIFETIME).unwrap()
    }

    fn by_password(gate: &Gate, user: &str) -> Admitted {
        Admitted {
            identity: gate.directory.identity(user).unwrap(),
            standing: Standing::on(Ground::Password),
        }
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
        let who = async |header: &str| {
            let admitted = gate.identify(Some(header), &peer).await;
            admitted.map(|admitted| admitted.identity.user.to_string())
        };

        for header in [
            basic("alice", "correct horse"),
            basic("alice", &token),
            basic("alice", "correct horse").trim_end_matches('=').to_owned(),
            format!("Bearer {token}"),
            format!("bearer {}", gate.give_bearer(&by_password(&gate, "alice"))),
        ] {
            assert_eq!(who(&header).await.unwrap(), "alice", "{header}");
        }
        let certified = Peer {
            names: vec!["carol".into()],
            ..Default::default()
        };
        let carol = gate.identify(None, &certified).await.unwrap();
        assert_eq!(carol.identity.user.as_ref(), "carol");

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
    async fn guessing_is_slowed_down_for_names_that_exist_and_that_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let mut file = UsersFile::open(&path).unwrap();
        file.add("alice", READER, Some("correct horse")).unwrap();
        let gate = gate(&path);
        let at = |ip: &str| Peer {
            addr: format!("{ip}:1").parse().ok(),
            ..Default::default()
        };
        for (user, guess) in [
            ("alice", "wrong"),
            ("nobody", "wrong"),
            ("bob", "tlk_00_wrong"),
            (&"x".repeat(4_000), "wrong"),
        ] {
            for _ in 0..3 {
                let refused = gate.identify(Some(&basic(user, guess)), &at("10.0.0.1")).await;
                assert!(refused.is_err());
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
    }

    /// Whoever has no password, or is no user, is hashed for like everyone else.
    #[tokio::test]
    async fn no_time_tells_whether_a_user_exists() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let mut file = UsersFile::open(&path).unwrap();
        file.add("alice", READER, Some("correct horse")).unwrap();
        file.add("carol", READER, None).unwrap();
        file.add("dave", READER, Some("correct horse")).unwrap();
        file.revoke("dave").unwrap();
        let gate = Arc::new(gate(&path));
        let both = gate.passwords.hashing().acquire_many_owned(2).await.unwrap();
        let long = "x".repeat(4_000);
        let names = ["alice", "carol", "dave", "nobody", &long];
        let calls = names.map(|name| {
            let (gate, header) = (gate.clone(), basic(name, "wrong"));
            tokio::spawn(async move { gate.identify(Some(&header), &Peer::default()).await })
        });
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while gate.passwords.waiting() < names.len() {
            assert!(
                std::time::Instant::now() < deadline,
                "not all of them wait to be hashed"
            );
            tokio::task::yield_now().await;
        }
        drop(both);
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap_err().to_string(), refused().to_string());
        }
    }

    #[tokio::test]
    async fn a_bearer_stands_on_what_it_was_given_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let now_us = Arc::new(AtomicI64::new(0));
        let now = now_us.clone();
        let clock = Clock::from_fn(move || DateTime::from_timestamp_micros(now.load(Ordering::SeqCst)).unwrap());
        let mut file = UsersFile::open(&path).unwrap();
        file.add("alice", READER, Some("correct horse")).unwrap();
        let at = |seconds: i64| DateTime::from_timestamp(seconds, 0).unwrap();
        let (short, short_text) = file.create_token("alice", at(30)).unwrap();
        let (long, long_text) = file.create_token("alice", at(600)).unwrap();
        let gate = gate_at(&path, clock);
        let peer = Peer::default();
        let certified = Peer {
            names: vec!["alice".into()],
            ..Default::default()
        };
        let exchange = async |header: &str, peer: &Peer| {
            let admitted = gate.identify(Some(header), peer).await.unwrap();
            format!("Bearer {}", gate.give_bearer(&admitted))
        };
        let by_short = exchange(&format!("Bearer {short_text}"), &peer).await;
        let by_long = exchange(&basic("alice", &long_text), &peer).await;
        let by_word = exchange(&basic("alice", "correct horse"), &peer).await;
        let by_certificate = exchange("", &certified).await;
        let stands = async |header: &str, gate: &Gate| gate.identify(Some(header), &peer).await.is_ok();
        assert!(stands(&by_short, &gate).await && stands(&by_long, &gate).await && stands(&by_word, &gate).await);
        // Beside its certificate, and nowhere else.
        assert!(gate.identify(Some(&by_certificate), &certified).await.is_ok());
        assert!(!stands(&by_certificate, &gate).await);

        // One that logs in again gains no time, nor loses what it stands on.
        now_us.store(29_999_999, Ordering::SeqCst);
        let again = exchange(&by_short, &peer).await;
        let word_again = exchange(&by_word, &peer).await;
        assert!(stands(&again, &gate).await && stands(&word_again, &gate).await);
        now_us.store(30_000_000, Ordering::SeqCst);
        assert!(!stands(&by_short, &gate).await && !stands(&again, &gate).await);
        now_us.store(59_999_999, Ordering::SeqCst);
        assert!(stands(&by_long, &gate).await && stands(&word_again, &gate).await);
        let long_again = exchange(&by_long, &peer).await;
        now_us.store(60_000_000, Ordering::SeqCst);
        assert!(!stands(&by_long, &gate).await && !stands(&long_again, &gate).await);
        assert!(!stands(&by_word, &gate).await && !stands(&word_again, &gate).await);

        // A token that is revoked takes its bearers with it, and no other's.
        let by_long = exchange(&basic("alice", &long_text), &peer).await;
        let by_word = exchange(&basic("alice", "correct horse"), &peer).await;
        file.revoke_token(&long).unwrap();
        file.revoke_token(&short).unwrap();
        let signer = gate.signer.clone();
        let directory = Directory::open(Some(&path)).unwrap();
        let later = Gate::new(directory, signer, gate.clock.clone(), LIFETIME).unwrap();
        assert!(!stands(&by_long, &later).await && stands(&by_word, &later).await);
    }

    #[tokio::test]
    async fn a_revoke_voids_bearers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let mut file = UsersFile::open(&path).unwrap();
        file.add("alice", READER, Some("correct horse")).unwrap();
        let bearer = {
            let gate = gate(&path);
            gate.give_bearer(&by_password(&gate, "alice"))
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
        let gate = Gate::new(Directory::open(None).unwrap(), signer, Clock::system(), LIFETIME).unwrap();
        let admitted = gate.identify(Some("Bearer None"), &Peer::default()).await.unwrap();
        assert_eq!(admitted.identity, Identity::anonymous());
    }
}
