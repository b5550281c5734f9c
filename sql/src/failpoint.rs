//! Places where a test may end the process, as a power cut would: named by `TICKLAKE_FAILPOINT`, and only in builds with feature `services`.

/// Aborts where `TICKLAKE_FAILPOINT` is `name`, on the visit that `TICKLAKE_FAILPOINT_AT` counts to (the first by default).
#[cfg(feature = "services")]
pub fn reach(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static VISITS: AtomicU64 = AtomicU64::new(0);
    if std::env::var("TICKLAKE_FAILPOINT").as_deref() != Ok(name) {
        return;
    }
    let at = std::env::var("TICKLAKE_FAILPOINT_AT")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    if VISITS.fetch_add(1, Ordering::Relaxed) + 1 == at {
        std::process::abort();
    }
}

#[cfg(not(feature = "services"))]
pub fn reach(_name: &str) {}
