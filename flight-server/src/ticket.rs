//! Self-contained, signed tokens: tickets, prepared-statement handles and bearers.
//!
//! A token carries everything that the next call needs, so any replica with the key answers it, and no server state can
//! be forgotten, forged or used by another user. Layout: version byte, protobuf [`Claims`], HMAC-SHA256 over both.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use datafusion::arrow::datatypes::Schema;
use hmac::{Hmac, Mac};
use prost::Message;
use rand::RngCore;
use sha2::{Digest, Sha256};
use ticklake_sql::Clock;

use crate::error::{Error, Result};
use crate::options::Secret;
use crate::session::Session;

const VERSION: u8 = 1;
const MAC_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
/// A statement of 10 MB is refused before; this bounds what a forged token can make the server hash.
const MAX_TOKEN_BYTES: usize = 64 << 20;

/// What a token is good for; one kind is never accepted for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    Unspecified = 0,
    /// DoGet of one result.
    Ticket = 1,
    /// A prepared statement, with or without bound values.
    Prepared = 2,
    /// A log-in.
    Bearer = 3,
    /// What a client has set for its session.
    Session = 4,
}

#[derive(Clone, PartialEq, Message)]
pub struct Claims {
    #[prost(enumeration = "Kind", tag = "1")]
    pub kind: i32,
    #[prost(string, tag = "2")]
    pub user: String,
    /// Microseconds since the epoch.
    #[prost(int64, tag = "3")]
    pub expires_us: i64,
    #[prost(string, tag = "4")]
    pub query_id: String,
    /// With `$n` placeholders only.
    #[prost(string, tag = "5")]
    pub sql: String,
    #[prost(uint32, tag = "6")]
    pub parameter_count: u32,
    /// Bound values: an Arrow IPC stream, one row a run of the statement.
    #[prost(bytes = "bytes", optional, tag = "7")]
    pub parameters: Option<Bytes>,
    /// `schema.table` -> Delta version.
    #[prost(btree_map = "string, uint64", tag = "8")]
    pub versions: BTreeMap<String, u64>,
    /// [`crate::profile::Profile::to_code`].
    #[prost(uint32, tag = "9")]
    pub profile: u32,
    #[prost(bytes = "bytes", tag = "10")]
    pub schema_fingerprint: Bytes,
    #[prost(message, optional, tag = "11")]
    pub session: Option<Session>,
    /// Of a bearer: the user's at log-in.
    #[prost(uint32, tag = "12")]
    pub generation: u32,
    /// Of a bearer that was given for an API token: the token's id.
    #[prost(string, tag = "13")]
    pub token_id: String,
    /// Of a bearer that was given for a client certificate.
    #[prost(bool, tag = "14")]
    pub certificate: bool,
}

/// Signs with one key, accepts it and its predecessors.
#[derive(Clone)]
pub struct Signer {
    keys: Vec<Vec<u8>>,
    clock: Clock,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({} keys)", self.keys.len())
    }
}

impl Signer {
    /// `keys`: the current one first, then those whose tokens are still accepted. None: a random one for this process.
    pub fn new(mut keys: Vec<Vec<u8>>, clock: Clock) -> Result<Self> {
        if keys.is_empty() {
            keys.push(new_signing_key().0);
        }
        if keys.iter().any(|k| k.len() < KEY_BYTES) {
            return Err(Error::Config(
                "a signing key is shorter than 32 bytes; make a new one".into(),
            ));
        }
        Ok(Self { keys, clock })
    }

    pub fn seal(&self, kind: Kind, mut claims: Claims, lifetime: Duration) -> Bytes {
        claims.kind = kind as i32;
        let lifetime_us = i64::try_from(lifetime.as_micros()).unwrap_or(i64::MAX);
        claims.expires_us = self.clock.now_us().saturating_add(lifetime_us);
        let mut token = Vec::with_capacity(1 + claims.encoded_len() + MAC_BYTES);
        token.push(VERSION);
        token.extend_from_slice(&claims.encode_to_vec());
        if let Some(mac) = self.keys.first().and_then(|key| mac(key, &token)) {
            token.extend_from_slice(&mac.finalize().into_bytes());
        }
        token.into()
    }

    /// The claims of a token of ours that is of `kind`, for `user`, and has not expired.
    pub fn open(&self, kind: Kind, token: &[u8], user: &str) -> Result<Claims> {
        let claims = self.open_any(kind, token)?;
        if claims.user != user {
            return Err(Error::Ticket("made for another user".into()));
        }
        Ok(claims)
    }

    /// The same whoever the user is, which the claims tell.
    pub fn open_any(&self, kind: Kind, token: &[u8]) -> Result<Claims> {
        if token.len() > MAX_TOKEN_BYTES || token.len() <= MAC_BYTES || token[0] != VERSION {
            return Err(Error::Ticket("not one of this server's; run the query again".into()));
        }
        let (signed, signature) = token.split_at(token.len() - MAC_BYTES);
        let genuine = self
            .keys
            .iter()
            .any(|key| mac(key, signed).is_some_and(|mac| mac.verify_slice(signature).is_ok()));
        if !genuine {
            return Err(Error::Ticket("not signed by this server; run the query again".into()));
        }
        let claims = Claims::decode(&signed[1..])
            .map_err(|_| Error::Ticket("made by another version of the server; run the query again".into()))?;
        if claims.kind != kind as i32 {
            return Err(Error::Ticket("meant for another call".into()));
        }
        if claims.expires_us <= self.clock.now_us() {
            return Err(Error::Ticket("expired; run the query again".into()));
        }
        Ok(claims)
    }
}

/// A key that signs tokens, for a file that replicas share.
pub fn new_signing_key() -> Secret {
    let mut key = vec![0; KEY_BYTES];
    rand::rng().fill_bytes(&mut key);
    Secret(key)
}

fn mac(key: &[u8], data: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(data);
    Some(mac)
}

/// Differs for schemas that a strict client would call different.
pub fn fingerprint(schema: &Schema) -> Bytes {
    let mut hash = Sha256::new();
    for field in schema.fields() {
        hash.update(format!(
            "{}\u{1}{:?}\u{1}{}\u{2}",
            field.name(),
            field.data_type(),
            field.is_nullable()
        ));
    }
    Bytes::copy_from_slice(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;

    fn clock_at(now_us: Arc<AtomicI64>) -> Clock {
        Clock::from_fn(move || DateTime::from_timestamp_micros(now_us.load(Ordering::SeqCst)).unwrap())
    }

    fn signer(keys: &[u8]) -> Signer {
        let now = Arc::new(AtomicI64::new(1_000_000));
        Signer::new(keys.iter().map(|b| vec![*b; 32]).collect(), clock_at(now)).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            user: "ann".into(),
            sql: "SELECT 1".into(),
            versions: BTreeMap::from([("gold.ohlcv_1m".into(), 7)]),
            parameters: Some(Bytes::from_static(b"p")),
            ..Default::default()
        }
    }

    fn refusal(result: Result<Claims>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_token_carries_its_claims() {
        let signer = signer(&[1]);
        let token = signer.seal(Kind::Ticket, claims(), Duration::from_secs(60));
        let opened = signer.open(Kind::Ticket, &token, "ann").unwrap();
        assert_eq!(opened.sql, "SELECT 1");
        assert_eq!(opened.versions["gold.ohlcv_1m"], 7);
        assert_eq!(opened.expires_us, 61_000_000);
    }

    #[test]
    fn another_replica_and_a_new_key_accept_it() {
        let token = signer(&[1]).seal(Kind::Ticket, claims(), Duration::from_secs(60));
        assert!(signer(&[2, 1]).open(Kind::Ticket, &token, "ann").is_ok());
        assert!(refusal(signer(&[2]).open(Kind::Ticket, &token, "ann")).contains("not signed"));
    }

    #[test]
    fn foreign_and_mistaken_tokens_are_refused() {
        let signer = signer(&[1]);
        let token = signer.seal(Kind::Ticket, claims(), Duration::from_secs(60));
        assert!(refusal(signer.open(Kind::Ticket, &token, "bob")).contains("another user"));
        assert!(refusal(signer.open(Kind::Prepared, &token, "ann")).contains("another call"));
        assert!(signer.open(Kind::Ticket, b"", "ann").is_err());
        assert!(signer.open(Kind::Ticket, &[1; 33], "ann").is_err());
    }

    #[test]
    fn an_expired_token_is_refused() {
        let now = Arc::new(AtomicI64::new(0));
        let signer = Signer::new(vec![vec![1; 32]], clock_at(now.clone())).unwrap();
        let token = signer.seal(Kind::Ticket, claims(), Duration::from_secs(1));
        now.store(999_999, Ordering::SeqCst);
        assert!(signer.open(Kind::Ticket, &token, "ann").is_ok());
        now.store(1_000_000, Ordering::SeqCst);
        assert!(refusal(signer.open(Kind::Ticket, &token, "ann")).contains("expired"));
    }

    #[test]
    fn a_short_key_is_refused() {
        assert!(Signer::new(vec![vec![1; 31]], Clock::system()).is_err());
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let signer = signer(&[1]);
            let mut token = signer.seal(Kind::Ticket, claims(), Duration::from_secs(60)).to_vec();
            let at = at.index(token.len());
            token[at] ^= 1 << bit;
            prop_assert!(signer.open(Kind::Ticket, &token, "ann").is_err());
        }

        #[test]
        fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(signer(&[1]).open(Kind::Ticket, &noise, "ann").is_err());
        }
    }
}
