//! Looks at the topic from time to time: made again? more partitions? how far is the end?

use std::sync::Arc;
use std::time::Duration;

use ticklake_sql::error::chain;

use super::shared::Shared;

/// Runs until the run ends.
pub async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.abandon.cancelled() => return,
            () = shared.shutdown.cancelled() => return,
            () = tokio::time::sleep(shared.options.topic_check_interval.max(Duration::from_millis(50))) => {}
        }
        let looking = shared.clone();
        if tokio::task::spawn_blocking(move || look(&looking)).await.is_err() {
            return;
        }
    }
}

fn look(shared: &Shared) {
    shared.topic_client.serve();
    match shared.topic_client.describe() {
        Ok(described) => {
            *shared.observed.lock() = Some(described);
            for partition in 0..described.map_or(0, |topic| topic.partitions) {
                if shared.shutdown.is_cancelled() {
                    return;
                }
                match shared.topic_client.log_range(partition) {
                    Ok(log) => shared.status.log(partition, log),
                    Err(error) => {
                        return shared
                            .status
                            .noted(&format!("lag of partition {partition} is old: {}", chain(&error)));
                    }
                }
            }
        }
        Err(error) => shared.status.noted(&chain(&error)),
    }
}
