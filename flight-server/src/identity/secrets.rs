//! How passwords and tokens are kept: never as they are.
//!
//! Passwords as argon2id hashes and, for the PostgreSQL wire, as SCRAM-SHA-256 verifiers (RFC 5802: StoredKey and ServerKey,
//! never the salted password, which would log in by itself). Tokens are 32 random bytes, so that one SHA-256 is enough.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use rand::RngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// What every token begins with, so that a leaked one is recognised.
pub const TOKEN_PREFIX: &str = "tlk_";
const SCRAM_ITERATIONS: u32 = 100_000;
/// OWASP's least for argon2id: 19 MiB, two passes, one lane.
const ARGON2_KIB: u32 = 19 * 1024;
const ARGON2_PASSES: u32 = 2;

/// What SCRAM-SHA-256 needs to check a log-in, in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScramVerifier {
    pub salt: String,
    pub iterations: u32,
    pub stored_key: String,
    pub server_key: String,
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn argon2() -> Result<Argon2<'static>> {
    let params = Params::new(ARGON2_KIB, ARGON2_PASSES, 1, None).map_err(|e| Error::Internal(e.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The password's PHC string. Takes tens of milliseconds on purpose.
pub fn hash_password(password: &str) -> Result<String> {
    let salt = SaltString::encode_b64(&random::<16>()).map_err(|e| Error::Internal(e.to_string()))?;
    let hash = argon2()?
        .hash_password(password.as_bytes(), &salt)
        .map_err(|e| Error::Internal(format!("the password cannot be hashed: {e}")))?;
    Ok(hash.to_string())
}

/// Takes as long for a wrong password as for a right one.
pub fn password_matches(password: &str, phc: &str) -> bool {
    PasswordHash::new(phc)
        .is_ok_and(|hash| argon2().is_ok_and(|a| a.verify_password(password.as_bytes(), &hash).is_ok()))
}

pub fn is_argon2id(phc: &str) -> bool {
    PasswordHash::new(phc).is_ok_and(|hash| hash.algorithm.as_str() == "argon2id")
}

pub fn scram_verifier(password: &str) -> Result<ScramVerifier> {
    let salt = random::<16>();
    let salted = pbkdf2(password.as_bytes(), &salt, SCRAM_ITERATIONS)?;
    let stored = Sha256::digest(hmac(&salted, &[b"Client Key"])?);
    Ok(ScramVerifier {
        salt: BASE64_STANDARD.encode(salt),
        iterations: SCRAM_ITERATIONS,
        stored_key: BASE64_STANDARD.encode(stored),
        server_key: BASE64_STANDARD.encode(hmac(&salted, &[b"Server Key"])?),
    })
}

/// PBKDF2-HMAC-SHA-256 of one block (RFC 8018), which is what SCRAM calls Hi().
fn pbkdf2(password: &[u8], salt: &[u8], iterations: u32) -> Result<[u8; 32]> {
    let mut last = hmac(password, &[salt, &1u32.to_be_bytes()])?;
    let mut sum = last;
    for _ in 1..iterations {
        last = hmac(password, &[&last])?;
        for (s, l) in sum.iter_mut().zip(last) {
            *s ^= l;
        }
    }
    Ok(sum)
}

pub fn hmac(key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|e| Error::Internal(e.to_string()))?;
    for part in parts {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().into())
}

/// A new token: its id, the text that is shown once, and the digest that is kept.
pub fn new_token() -> (String, String, String) {
    let id: String = random::<6>().iter().map(|b| format!("{b:02x}")).collect();
    let secret = BASE64_URL_SAFE_NO_PAD.encode(random::<32>());
    let digest = token_digest(&secret);
    (id.clone(), format!("{TOKEN_PREFIX}{id}_{secret}"), digest)
}

/// Id and secret of a token's text.
pub fn split_token(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(TOKEN_PREFIX)?.split_once('_')
}

pub fn token_digest(secret: &str) -> String {
    BASE64_STANDARD.encode(Sha256::digest(secret.as_bytes()))
}

/// In constant time.
pub fn digests_equal(a: &str, b: &str) -> bool {
    let key = random::<32>();
    let mac = |text: &str| {
        Hmac::<Sha256>::new_from_slice(&key).ok().map(|mut mac| {
            mac.update(text.as_bytes());
            mac
        })
    };
    match (mac(a), mac(b)) {
        (Some(a), Some(b)) => a.verify_slice(&b.finalize().into_bytes()).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_hash_only() {
        let hash = hash_password("hunter2").unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(password_matches("hunter2", &hash) && is_argon2id(&hash));
        assert!(!password_matches("hunter3", &hash));
        assert!(!password_matches("hunter2", "nonsense"));
        assert_ne!(hash, hash_password("hunter2").unwrap());
    }

    /// The example of RFC 7677 section 3: user "user", password "pencil".
    #[test]
    fn scram_keys_are_those_of_the_rfc() {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let salted = pbkdf2(b"pencil", &salt, 4_096).unwrap();
        let server_key = hmac(&salted, &[b"Server Key"]).unwrap();
        let auth_message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = hmac(&server_key, &[auth_message.as_bytes()]).unwrap();
        assert_eq!(
            BASE64_STANDARD.encode(signature),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        assert!(scram_verifier("x").unwrap().iterations >= 100_000);
    }

    #[test]
    fn a_token_is_kept_as_its_digest() {
        let (id, text, digest) = new_token();
        let (found, secret) = split_token(&text).unwrap();
        assert_eq!(found, id);
        assert!(digests_equal(&token_digest(secret), &digest));
        assert!(!digests_equal(&token_digest("other"), &digest));
        assert!(!digest.contains(secret));
        assert_eq!(split_token("eyJ"), None);
    }
}
