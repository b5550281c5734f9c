//! Slows guessing down: after a few failures a user name may not be tried from a peer for a while that doubles. The same for
//! names that exist and names that do not.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A forgotten password is mistyped a few times.
const FREE_FAILURES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Failures are forgotten after this.
const KEEP: Duration = Duration::from_secs(600);
/// Names and peers remembered; an attacker's flood pushes out its own oldest.
const MAX_REMEMBERED: usize = 10_000;

#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<(String, Option<IpAddr>), Failures>>);

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn pause(&self) -> Duration {
        match self.count.checked_sub(FREE_FAILURES) {
            None => Duration::ZERO,
            Some(over) => FIRST_PAUSE.saturating_mul(1 << over.min(10)).min(LONGEST_PAUSE),
        }
    }
}

impl Backoff {
    /// How long `user` must still wait at `peer`, if at all.
    pub fn wait(&self, user: &str, peer: Option<IpAddr>) -> Option<Duration> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = all.get(&(user.to_owned(), peer))?;
        failures
            .pause()
            .checked_sub(failures.last.elapsed())
            .filter(|left| !left.is_zero())
    }

    pub fn failed(&self, user: &str, peer: Option<IpAddr>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_REMEMBERED {
            all.retain(|_, f| f.last.elapsed() < KEEP);
        }
        if all.len() >= MAX_REMEMBERED
            && let Some(oldest) = all.iter().min_by_key(|(_, f)| f.last).map(|(key, _)| key.clone())
        {
            all.remove(&oldest);
        }
        let failures = all.entry((user.to_owned(), peer)).or_insert(Failures {
            count: 0,
            last: Instant::now(),
        });
        failures.count = if failures.last.elapsed() < KEEP {
            failures.count + 1
        } else {
            1
        };
        failures.last = Instant::now();
    }

    pub fn succeeded(&self, user: &str, peer: Option<IpAddr>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(user.to_owned(), peer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_pause_a_name_at_a_peer() {
        let backoff = Backoff::default();
        let (here, there) = ("10.0.0.1".parse().ok(), "10.0.0.2".parse().ok());
        for _ in 0..FREE_FAILURES - 1 {
            backoff.failed("alice", here);
            assert_eq!(backoff.wait("alice", here), None);
        }
        backoff.failed("alice", here);
        assert!(backoff.wait("alice", here).is_some());
        assert_eq!(backoff.wait("alice", there), None);
        assert_eq!(backoff.wait("bob", here), None);
        backoff.succeeded("alice", here);
        assert_eq!(backoff.wait("alice", here), None);
    }

    #[test]
    fn the_pause_doubles_up_to_a_bound() {
        let pause = |count| {
            Failures {
                count,
                last: Instant::now(),
            }
            .pause()
        };
        assert_eq!(pause(2), Duration::ZERO);
        assert_eq!((pause(3), pause(4)), (FIRST_PAUSE, FIRST_PAUSE * 2));
        assert_eq!(pause(1_000), LONGEST_PAUSE);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let backoff = Backoff::default();
        for n in 0..MAX_REMEMBERED + 10 {
            backoff.0.lock().unwrap().insert(
                (n.to_string(), None),
                Failures {
                    count: 1,
                    last: Instant::now(),
                },
            );
        }
        backoff.failed("x", None);
        assert!(backoff.0.lock().unwrap().len() <= MAX_REMEMBERED + 10);
    }
}
