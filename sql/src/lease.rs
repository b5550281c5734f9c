//! A lease as commits carry it: one job's right to write, fenced by a token in the log of every table that the job writes.
//!
//! Who holds a lease, and until when, is the holder's business (`ticklake_engine::schedule`). Here stands what makes it hold against a holder
//! that was paused for too long: a commit under a lease carries the txn `lease/<job>` with the holder's token, and is refused where the log
//! already has a greater one.

use std::fmt;
use std::sync::Arc;

/// Cheap to clone. [`crate::Lake::under`] puts it on every commit of the tables opened there.
#[derive(Clone)]
pub struct Lease {
    job: Arc<str>,
    app_id: Arc<str>,
    token: i64,
    is_held: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Lease {
    /// `token`: greater than that of every holder before. `is_held`: whether the holder may still count on it, asked right before each put.
    pub fn new(job: &str, token: i64, is_held: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            job: job.into(),
            app_id: format!("lease/{job}").into(),
            token,
            is_held: Arc::new(is_held),
        }
    }

    pub fn job(&self) -> &str {
        &self.job
    }

    /// App id of the txn that carries the token.
    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    pub fn token(&self) -> i64 {
        self.token
    }

    pub fn is_held(&self) -> bool {
        (self.is_held)()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("job", &self.job)
            .field("token", &self.token)
            .finish()
    }
}
