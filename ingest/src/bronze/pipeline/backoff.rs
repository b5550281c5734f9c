//! Waiting between tries of something that has to succeed in the end: doubling, capped, never giving up by itself.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

const FIRST: Duration = Duration::from_millis(50);
const CAP: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// The next wait: up to a quarter shorter than planned, so that instances do not march in step.
    pub fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (self.0 * 2).min(CAP);
        wait.mul_f64(rand::random_range(0.75..=1.0))
    }

    /// Waits; false where `abandon` came first.
    pub async fn wait(&mut self, abandon: &CancellationToken) -> bool {
        tokio::select! {
            () = tokio::time::sleep(self.next()) => true,
            () = abandon.cancelled() => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_stay_there() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.next()).collect();
        assert!(waits[0] <= FIRST);
        assert!(waits.iter().all(|wait| *wait <= CAP));
        assert!(waits[11] >= CAP.mul_f64(0.75));
    }
}
