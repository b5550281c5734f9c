//! Who runs when: a bounded number of queries at once, a bounded queue before them, and turns among users, so that one with a
//! hundred queries does not keep another from its one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::status::ServerStatus;

/// How many queries of one lane run and wait.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub running: usize,
    pub waiting: usize,
    pub running_per_user: usize,
    pub waiting_per_user: usize,
}

#[derive(Debug)]
pub struct Admission {
    bounds: Bounds,
    state: Mutex<State>,
    status: Arc<ServerStatus>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// Turns given out so far.
    turns: u64,
    users: HashMap<Arc<str>, Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    running: usize,
    waiting: VecDeque<oneshot::Sender<Slot>>,
    last_turn: u64,
}

/// One running query's slot, given back on drop.
#[derive(Debug)]
pub struct Slot {
    admission: Arc<Admission>,
    user: Arc<str>,
    /// Nobody else gets a turn when this one ends: it never began.
    unused: bool,
}

impl Admission {
    pub fn new(bounds: Bounds, status: Arc<ServerStatus>) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            state: Mutex::default(),
            status,
        })
    }

    /// A slot for `user` before `deadline`. A full queue refuses at once.
    pub async fn enter(self: &Arc<Self>, user: &Arc<str>, deadline: Instant) -> Result<Slot> {
        let receiver = {
            let mut state = self.state();
            if state.takes(&self.bounds, user) {
                state.start(user);
                return Ok(self.slot(user));
            }
            self.queue_up(&mut state, user)?
        };
        let _waiting = Waiting { admission: self, user };
        match tokio::time::timeout_at(deadline.into(), receiver).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) => Err(Error::Busy("the server is shutting down".into())),
            Err(_) => Err(Error::Busy(format!(
                "all {} query slots stayed taken until the deadline",
                self.bounds.running
            ))),
        }
    }

    fn queue_up(&self, state: &mut State, user: &Arc<str>) -> Result<oneshot::Receiver<Slot>> {
        let all: usize = state.users.values().map(|queue| queue.waiting.len()).sum();
        let queue = state.users.entry(user.clone()).or_default();
        let (running, waiting) = (self.bounds.running, self.bounds.waiting);
        if all >= waiting {
            return Err(Error::Busy(format!(
                "{running} queries run and {waiting} wait, more are not taken"
            )));
        }
        if queue.waiting.len() >= self.bounds.waiting_per_user {
            return Err(Error::Busy(format!(
                "{} queries of user {user} wait, more are not taken",
                queue.waiting.len()
            )));
        }
        let (sender, receiver) = oneshot::channel();
        queue.waiting.push_back(sender);
        self.status.queued(1);
        Ok(receiver)
    }

    fn slot(self: &Arc<Self>, user: &Arc<str>) -> Slot {
        Slot {
            admission: self.clone(),
            user: user.clone(),
            unused: false,
        }
    }

    /// Gives free slots to those who wait; nobody is told inside the lock.
    fn grant(self: &Arc<Self>) {
        loop {
            let (user, sender) = {
                let mut state = self.state();
                let Some(next) = state.next(&self.bounds) else { return };
                next
            };
            if let Err(mut slot) = sender.send(self.slot(&user)) {
                // It stopped waiting meanwhile; the loop looks for another.
                slot.unused = true;
            }
        }
    }

    fn release(&self, user: &Arc<str>) {
        let mut state = self.state();
        state.running -= 1;
        if let Some(queue) = state.users.get_mut(user) {
            queue.running -= 1;
        }
        state.forget(user);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn takes(&self, bounds: &Bounds, user: &Arc<str>) -> bool {
        let queue = self.users.get(user);
        self.running < bounds.running
            && queue.is_none_or(|q| q.running < bounds.running_per_user && q.waiting.is_empty())
    }

    fn start(&mut self, user: &Arc<str>) {
        self.running += 1;
        self.turns += 1;
        let queue = self.users.entry(user.clone()).or_default();
        queue.running += 1;
        queue.last_turn = self.turns;
    }

    /// The next one to run: of the user with the fewest running, then of the one whose last turn is longest ago.
    fn next(&mut self, bounds: &Bounds) -> Option<(Arc<str>, oneshot::Sender<Slot>)> {
        if self.running >= bounds.running {
            return None;
        }
        let waits = |queue: &Queue| !queue.waiting.is_empty() && queue.running < bounds.running_per_user;
        let (user, _) = self
            .users
            .iter()
            .filter(|(_, queue)| waits(queue))
            .min_by_key(|(_, queue)| (queue.running, queue.last_turn))?;
        let user = user.clone();
        let sender = self.users.get_mut(&user)?.waiting.pop_front()?;
        self.start(&user);
        Some((user, sender))
    }

    fn forget(&mut self, user: &Arc<str>) {
        if self
            .users
            .get(user)
            .is_some_and(|q| q.running == 0 && q.waiting.is_empty())
        {
            self.users.remove(user);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.admission.release(&self.user);
        if !self.unused {
            self.admission.grant();
        }
    }
}

/// Leaves the queue, however the waiting ends.
struct Waiting<'a> {
    admission: &'a Admission,
    user: &'a Arc<str>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        if let Some(queue) = state.users.get_mut(self.user) {
            queue.waiting.retain(|sender| !sender.is_closed());
        }
        state.forget(self.user);
        drop(state);
        self.admission.status.queued(-1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn admission(running: usize, waiting: usize) -> Arc<Admission> {
        let bounds = Bounds {
            running,
            waiting,
            running_per_user: running,
            waiting_per_user: waiting,
        };
        Admission::new(bounds, Arc::default())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn user(name: &str) -> Arc<str> {
        name.into()
    }

    async fn until_waiting(admission: &Admission, n: usize) {
        let waiting = || admission.state().users.values().map(|q| q.waiting.len()).sum::<usize>();
        while waiting() != n {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let admission = admission(1, 0);
        let slot = admission.enter(&user("a"), soon()).await.unwrap();
        let refused = admission.enter(&user("a"), late()).await.unwrap_err();
        assert!(refused.to_string().contains("try again later"), "{refused}");
        drop(slot);
        admission.enter(&user("a"), soon()).await.unwrap();
        assert!(admission.state().users.is_empty());
    }

    #[tokio::test]
    async fn users_take_turns() {
        let admission = admission(1, 10);
        let slot = admission.enter(&user("greedy"), soon()).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (n, name) in ["greedy", "greedy", "greedy", "modest"].into_iter().enumerate() {
            let (admission, order) = (admission.clone(), order.clone());
            tasks.push(tokio::spawn({
                let admission = admission.clone();
                async move {
                    let _slot = admission.enter(&user(name), late()).await.unwrap();
                    order.lock().unwrap().push(name);
                }
            }));
            until_waiting(&admission, n + 1).await;
        }
        drop(slot);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(order.lock().unwrap()[0], "modest");
        assert_eq!(admission.state().running, 0);
        assert!(admission.state().users.is_empty());
    }

    #[tokio::test]
    async fn a_user_has_bounds_of_its_own() {
        let bounds = Bounds {
            running: 3,
            waiting: 10,
            running_per_user: 1,
            waiting_per_user: 1,
        };
        let admission = Admission::new(bounds, Arc::default());
        let _slot = admission.enter(&user("a"), soon()).await.unwrap();
        let waiting = tokio::spawn({
            let admission = admission.clone();
            async move { admission.enter(&user("a"), late()).await.map(|_| ()) }
        });
        until_waiting(&admission, 1).await;
        assert!(admission.enter(&user("a"), late()).await.is_err());
        admission.enter(&user("b"), soon()).await.unwrap();
        waiting.abort();
    }

    #[tokio::test]
    async fn waiting_ends_at_the_deadline_and_leaves_no_trace() {
        let admission = admission(1, 1);
        let slot = admission.enter(&user("a"), soon()).await.unwrap();
        assert!(matches!(admission.enter(&user("b"), soon()).await, Err(Error::Busy(_))));
        until_waiting(&admission, 0).await;
        drop(slot);
        let state = admission.state();
        assert!(state.running == 0 && state.users.is_empty());
    }
}
