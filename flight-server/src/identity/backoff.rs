//! Slows guessing down: after a few failures a user name may not be tried from a network for a while that doubles. The same for
//! names that exist and names that do not.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::network::Network;
use crate::error::{Error, Result};

/// A forgotten password is mistyped a few times.
const FREE_FAILURES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Failures are forgotten after this.
const KEEP: Duration = Duration::from_secs(600);
/// Networks remembered; one more pushes out the one that has been quiet for longest.
const MAX_NETWORKS: usize = 10_000;
/// Names of one network that are told apart. The others share one pause, so that a flood of names pushes out nobody's, nor its own.
const MAX_NAMES: usize = 64;
/// Of a name, in the log: what is sent as one may be of any length.
const SHOWN_CHARS: usize = 64;

#[derive(Debug, Default)]
pub struct Backoff {
    /// Names are remembered by their hash: nothing of what was sent is kept.
    hasher: RandomState,
    networks: Mutex<HashMap<Network, Guesses>>,
}

/// What one network has guessed.
#[derive(Debug)]
struct Guesses {
    names: HashMap<Name, Failures>,
    last: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Hashed(u64),
    AnyOther,
}

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

impl Guesses {
    fn name(&self, hash: u64) -> Name {
        let name = Name::Hashed(hash);
        if self.names.contains_key(&name) || self.names.len() < MAX_NAMES {
            name
        } else {
            Name::AnyOther
        }
    }

    fn failed(&mut self, hash: u64) {
        self.last = Instant::now();
        if self.names.len() >= MAX_NAMES {
            self.names.retain(|_, failures| failures.last.elapsed() < KEEP);
        }
        let name = self.name(hash);
        let failures = self.names.entry(name).or_insert(Failures {
            count: 0,
            last: self.last,
        });
        failures.count = if failures.last.elapsed() < KEEP {
            failures.count.saturating_add(1)
        } else {
            1
        };
        failures.last = self.last;
    }
}

impl Backoff {
    /// Refuses where `user` must still wait at `network`.
    pub fn check(&self, user: &str, network: Network) -> Result<()> {
        match self.wait(user, network) {
            None => Ok(()),
            Some(left) => Err(Error::Unauthenticated(format!(
                "too many failed log-ins; try again in {} s",
                left.as_secs() + 1
            ))),
        }
    }

    fn wait(&self, user: &str, network: Network) -> Option<Duration> {
        let hash = self.hasher.hash_one(user);
        let networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let guesses = networks.get(&network)?;
        let failures = guesses.names.get(&guesses.name(hash))?;
        failures
            .pause()
            .checked_sub(failures.last.elapsed())
            .filter(|left| !left.is_zero())
    }

    /// Counts a wrong log-in, and says so: no more often than the pauses let through.
    pub fn failed(&self, user: &str, network: Network) {
        let shown: String = user.chars().take(SHOWN_CHARS).collect();
        tracing::warn!(user = shown, peer = %network, "log-in failed");
        let hash = self.hasher.hash_one(user);
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if !networks.contains_key(&network) {
            make_room(&mut networks);
        }
        let guesses = networks.entry(network).or_insert(Guesses {
            names: HashMap::new(),
            last: Instant::now(),
        });
        guesses.failed(hash);
    }

    pub fn succeeded(&self, user: &str, network: Network) {
        let name = Name::Hashed(self.hasher.hash_one(user));
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guesses) = networks.get_mut(&network) {
            guesses.names.remove(&name);
        }
    }
}

fn make_room(networks: &mut HashMap<Network, Guesses>) {
    if networks.len() < MAX_NETWORKS {
        return;
    }
    networks.retain(|_, guesses| guesses.last.elapsed() < KEEP);
    if networks.len() >= MAX_NETWORKS
        && let Some(quietest) = networks.iter().min_by_key(|(_, g)| g.last).map(|(network, _)| *network)
    {
        networks.remove(&quietest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(n: usize) -> Network {
        Network::of(Some(std::net::Ipv4Addr::from_bits(u32::try_from(n).unwrap()).into()))
    }

    fn fail(backoff: &Backoff, user: &str, network: Network) {
        for _ in 0..FREE_FAILURES {
            backoff.failed(user, network);
        }
    }

    #[test]
    fn failures_pause_a_name_at_a_network() {
        let backoff = Backoff::default();
        let (here, there) = (network(1), network(2));
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
    fn a_flood_of_names_pushes_out_nobody() {
        let backoff = Backoff::default();
        let (victim, flood) = (network(1), network(2));
        fail(&backoff, "alice", victim);
        fail(&backoff, "alice", flood);
        for n in 0..2 * MAX_NETWORKS {
            backoff.failed(&n.to_string(), flood);
        }
        assert!(backoff.wait("alice", victim).is_some());
        assert!(backoff.wait("alice", flood).is_some());
        // Names that are told apart no longer wait together, whether they exist or not.
        assert!(backoff.wait("bob", flood).is_some());
        let networks = backoff.networks.lock().unwrap();
        assert_eq!(networks[&flood].names.len(), MAX_NAMES + 1);
    }

    #[test]
    fn networks_are_bounded() {
        let backoff = Backoff::default();
        for n in 0..MAX_NETWORKS + 10 {
            backoff.failed("alice", network(n));
        }
        assert_eq!(backoff.networks.lock().unwrap().len(), MAX_NETWORKS);
    }
}
