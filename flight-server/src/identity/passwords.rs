//! Checks passwords against their argon2id hashes: off the network's threads, two at once, in a queue that is bounded in all and for each
//! network. A right password is not hashed again for a minute, and many calls with the same one wait for one of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ticklake_sql::Clock;
use tokio::sync::Semaphore;

use super::backoff::Backoff;
use super::network::Network;
use super::secrets;
use crate::error::{Error, Result};

/// argon2 takes 19 MiB and a core for tens of milliseconds.
const HASHES_AT_ONCE: usize = 2;
const MAX_WAITING: usize = 64;
/// Of one network, so that random names from there leave room for others.
const MAX_WAITING_PER_NETWORK: usize = 16;
/// A right password is not hashed again for this long.
const KEEP: Duration = Duration::from_secs(60);
const MAX_KEPT: usize = 1_000;

/// Of user and password, under a key of this process.
type Digest = [u8; 32];

/// A password as it was sent.
pub struct Attempt<'a> {
    pub user: &'a str,
    pub password: &'a str,
    /// What it must fit.
    pub hash: String,
    /// The user's; None: there is no such user, and nothing is kept.
    pub generation: Option<u32>,
    pub network: Network,
}

#[derive(Debug)]
pub struct Passwords {
    key: [u8; 32],
    clock: Clock,
    /// When it was right, in microseconds since the epoch, and the generation that it was right for.
    kept: Mutex<HashMap<Digest, (i64, u32)>>,
    /// Whose turn it is among calls with the same user and password.
    turns: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    hashing: Arc<Semaphore>,
    waiting: Mutex<HashMap<Network, usize>>,
}

impl Passwords {
    pub fn new(clock: Clock) -> Self {
        Self {
            key: secrets::random(),
            clock,
            kept: Mutex::default(),
            turns: Mutex::default(),
            hashing: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
            waiting: Mutex::default(),
        }
    }

    /// Whether the password is right. What is wrong is counted in `backoff` before the next one is hashed, so that guesses sent at once
    /// meet the same pause as guesses sent one by one.
    pub async fn check(&self, attempt: Attempt<'_>, backoff: &Backoff) -> Result<bool> {
        let Attempt {
            user,
            password,
            hash,
            generation,
            network,
        } = attempt;
        let digest = secrets::hmac(&self.key, &[user.as_bytes(), &[0], password.as_bytes()])?;
        if self.was_right(&digest, generation) {
            return Ok(true);
        }
        let turn = self.turn(digest);
        let _turn = turn.lock().await;
        if self.was_right(&digest, generation) {
            return Ok(true);
        }
        let _place = self.wait(network)?;
        let permit = self.hashing.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Error::Busy("the server is shutting down".into()))?;
        backoff.check(user, network)?;
        let password = password.to_owned();
        let checked = tokio::task::spawn_blocking(move || (secrets::password_matches(&password, &hash), permit));
        let (right, _permit) = checked
            .await
            .map_err(|e| Error::Internal(format!("log-in ended: {e}")))?;
        match generation.filter(|_| right) {
            Some(generation) => self.keep(digest, generation),
            None => backoff.failed(user, network),
        }
        Ok(right && generation.is_some())
    }

    fn was_right(&self, digest: &Digest, generation: Option<u32>) -> bool {
        let now = self.clock.now_us();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(digest)
            .is_some_and(|(at, of)| is_fresh(*at, now) && Some(*of) == generation)
    }

    fn keep(&self, digest: Digest, generation: u32) {
        let now = self.clock.now_us();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, (at, _)| is_fresh(*at, now));
        }
        if kept.len() < MAX_KEPT {
            kept.insert(digest, (now, generation));
        }
    }

    fn turn(&self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(&digest).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        turns.insert(digest, Arc::downgrade(&turn));
        turn
    }

    /// A place in the queue, until it is dropped.
    fn wait(&self, network: Network) -> Result<Place<'_>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = waiting.get(&network).copied().unwrap_or_default();
        if theirs >= MAX_WAITING_PER_NETWORK || waiting.values().sum::<usize>() >= MAX_WAITING {
            return Err(Error::Busy("too many log-ins at once".into()));
        }
        waiting.insert(network, theirs + 1);
        Ok(Place {
            waiting: &self.waiting,
            network,
        })
    }
}

#[cfg(test)]
impl Passwords {
    pub fn hashing(&self) -> Arc<Semaphore> {
        self.hashing.clone()
    }

    pub fn waiting(&self) -> usize {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .sum()
    }
}

/// A clock that was set back ends it too.
fn is_fresh(at_us: i64, now_us: i64) -> bool {
    u128::try_from(now_us - at_us).is_ok_and(|age_us| age_us < KEEP.as_micros())
}

struct Place<'a> {
    waiting: &'a Mutex<HashMap<Network, usize>>,
    network: Network,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.get_mut(&self.network) {
            Some(theirs) if *theirs > 1 => *theirs -= 1,
            _ => {
                waiting.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Instant;

    use chrono::DateTime;

    use super::*;

    struct Login {
        passwords: Passwords,
        backoff: Backoff,
        hash: String,
        now_us: Arc<AtomicI64>,
    }

    impl Login {
        fn new() -> Arc<Self> {
            let now_us = Arc::new(AtomicI64::new(1_000_000));
            let now = now_us.clone();
            let clock = Clock::from_fn(move || DateTime::from_timestamp_micros(now.load(Ordering::SeqCst)).unwrap());
            Arc::new(Self {
                passwords: Passwords::new(clock),
                backoff: Backoff::default(),
                hash: secrets::hash_password("correct horse").unwrap(),
                now_us,
            })
        }

        async fn try_in(self: Arc<Self>, user: String, password: String, from: u32) -> Result<bool> {
            let attempt = Attempt {
                user: &user,
                password: &password,
                hash: self.hash.clone(),
                generation: Some(1),
                network: Network::of(Some(Ipv4Addr::from_bits(from).into())),
            };
            self.passwords.check(attempt, &self.backoff).await
        }

        fn start(
            self: &Arc<Self>,
            user: impl ToString,
            password: &str,
            from: u32,
        ) -> tokio::task::JoinHandle<Result<bool>> {
            tokio::spawn(self.clone().try_in(user.to_string(), password.to_owned(), from))
        }

        async fn until_waiting(&self, count: usize) {
            let deadline = Instant::now() + Duration::from_secs(10);
            while self.passwords.waiting() != count {
                assert!(
                    Instant::now() < deadline,
                    "{} wait, not {count}",
                    self.passwords.waiting()
                );
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn two_are_hashed_at_once_and_the_queue_is_bounded() {
        let login = Login::new();
        assert_eq!(login.passwords.hashing.available_permits(), 2);
        let both = login.passwords.hashing().acquire_many_owned(2).await.unwrap();
        let of_one: Vec<_> = (0..16).map(|n| login.start(n, "wrong", 1)).collect();
        login.until_waiting(16).await;
        let refused = login.clone().try_in("one more".into(), "wrong".into(), 1).await;
        assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
        // Others still find a place, up to the bound of all.
        let of_others: Vec<_> = (16..64).map(|n| login.start(n, "wrong", 2 + n % 4)).collect();
        login.until_waiting(64).await;
        let refused = login.clone().try_in("alice".into(), "correct horse".into(), 9).await;
        assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
        of_one.iter().chain(&of_others).for_each(|attempt| attempt.abort());
        login.until_waiting(0).await;
        drop(both);
        assert!(login.try_in("alice".into(), "correct horse".into(), 9).await.unwrap());
    }

    #[tokio::test]
    async fn guesses_sent_at_once_meet_the_pause() {
        let login = Login::new();
        let both = login.passwords.hashing().acquire_many_owned(2).await.unwrap();
        let guesses: Vec<_> = (0..12)
            .map(|n| login.start("alice", &format!("guess {n}"), 1))
            .collect();
        login.until_waiting(12).await;
        drop(both);
        let mut paused = 0;
        for guess in guesses {
            match guess.await.unwrap() {
                Ok(right) => assert!(!right),
                Err(error) => {
                    assert!(error.to_string().contains("too many failed"), "{error}");
                    paused += 1;
                }
            }
        }
        // Three are free, and a fourth may be hashed beside the third.
        assert!(paused >= 8, "{paused}");
    }

    #[tokio::test]
    async fn many_calls_with_one_right_password_take_one_place() {
        let login = Login::new();
        let both = login.passwords.hashing().acquire_many_owned(2).await.unwrap();
        let calls: Vec<_> = (0..200).map(|_| login.start("alice", "correct horse", 1)).collect();
        login.until_waiting(1).await;
        drop(both);
        for call in calls {
            assert!(call.await.unwrap().unwrap());
        }
        assert_eq!(login.passwords.waiting(), 0);
    }

    #[tokio::test]
    async fn a_right_password_is_kept_for_a_minute() {
        let login = Login::new();
        let enter = || login.clone().try_in("alice".into(), "correct horse".into(), 1);
        assert!(enter().await.unwrap());
        // Kept, so it needs no place.
        login.passwords.hashing.close();
        login.now_us.fetch_add(59_999_999, Ordering::SeqCst);
        assert!(enter().await.unwrap());
        login.now_us.fetch_add(1, Ordering::SeqCst);
        assert!(enter().await.is_err(), "hashed again");
    }
}
