//! Values bound on a connection, found again by the handle without them: flightsql-dbapi ignores the handle that binding
//! returns. Bounded in number and time; every other client never gets here.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

const MAX_BINDINGS: usize = 256;
const MAX_BYTES: usize = 64 << 20;
const KEEP: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Binding {
    peer: SocketAddr,
    handle: Bytes,
    bound: Bytes,
    at: Instant,
}

impl Binding {
    fn bytes(&self) -> usize {
        self.handle.len() + self.bound.len()
    }
}

#[derive(Debug, Default)]
pub struct Bindings(Mutex<VecDeque<Binding>>);

impl Bindings {
    pub fn remember(&self, peer: Option<SocketAddr>, handle: &Bytes, bound: Bytes) {
        let Some(peer) = peer else { return };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|b| b.at.elapsed() < KEEP && !(b.peer == peer && b.handle == *handle));
        let held = |all: &VecDeque<Binding>| all.iter().map(Binding::bytes).sum::<usize>();
        while all.len() == MAX_BINDINGS || !all.is_empty() && held(&all) + bound.len() + handle.len() > MAX_BYTES {
            all.pop_front();
        }
        all.push_back(Binding {
            peer,
            handle: handle.clone(),
            bound,
            at: Instant::now(),
        });
    }

    pub fn recall(&self, peer: Option<SocketAddr>, handle: &Bytes) -> Option<Bytes> {
        let peer = peer?;
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .rfind(|b| b.peer == peer && b.handle == *handle && b.at.elapsed() < KEEP)
            .map(|b| b.bound.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_belongs_to_its_connection() {
        let bindings = Bindings::default();
        let (one, two) = ("127.0.0.1:1".parse().ok(), "127.0.0.1:2".parse().ok());
        let handle = Bytes::from_static(b"h");
        bindings.remember(one, &handle, Bytes::from_static(b"first"));
        bindings.remember(one, &handle, Bytes::from_static(b"second"));
        assert_eq!(bindings.recall(one, &handle).as_deref(), Some(b"second".as_slice()));
        assert_eq!(bindings.recall(two, &handle), None);
        assert_eq!(bindings.recall(None, &handle), None);
    }

    #[test]
    fn the_oldest_make_room() {
        let bindings = Bindings::default();
        let peer = "127.0.0.1:1".parse().ok();
        for n in 0..=MAX_BINDINGS {
            bindings.remember(peer, &Bytes::from(n.to_string()), Bytes::new());
        }
        assert_eq!(bindings.recall(peer, &Bytes::from("0")), None);
        assert!(bindings.recall(peer, &Bytes::from("1")).is_some());
    }

    #[test]
    fn large_ones_make_room_sooner() {
        let bindings = Bindings::default();
        let peer = "127.0.0.1:1".parse().ok();
        let large = Bytes::from(vec![0; MAX_BYTES / 3]);
        for n in ["a", "b", "c"] {
            bindings.remember(peer, &Bytes::from(n), large.clone());
        }
        assert_eq!(bindings.recall(peer, &Bytes::from("a")), None);
        assert!(bindings.recall(peer, &Bytes::from("b")).is_some());
    }
}
