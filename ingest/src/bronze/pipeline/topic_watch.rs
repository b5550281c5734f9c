//! Looks at the topic from time to time: made again? more partitions? how far is the end?

use std::sync::Arc;
use std::time::Duration;

use ticklake_sql::error::chain;

use super::super::status::BronzeStatus;
use super::super::topic::TopicClient;
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
                if !look_at_end(&shared.topic_client, &shared.status, partition) {
                    return;
                }
            }
        }
        Err(error) => shared.status.noted(&chain(&error)),
    }
}

/// Takes over how far a partition's log goes. False where that is not known: then its lag is old, which is told.
fn look_at_end(topic: &TopicClient, status: &BronzeStatus, partition: i32) -> bool {
    match topic.log_range(partition) {
        Ok(log) => status.log(partition, log),
        Err(error) => {
            status.noted(&format!("lag of partition {partition} is old: {}", chain(&error)));
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::kafka::KafkaOptions;

    #[test]
    fn an_end_that_is_not_known_shows_in_the_status() {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("trades", 1, 1).unwrap();
        let topic = TopicClient::new(&KafkaOptions::new(mock.bootstrap_servers()), "trades").unwrap();
        let status = BronzeStatus::default();
        assert!(look_at_end(&topic, &status, 0));
        let told = status.snapshot();
        assert_eq!(
            (&told["partitions"][0]["log_end"], &told["last_error"]),
            (&0.into(), &().into())
        );
        // A partition that the cluster does not have.
        assert!(!look_at_end(&topic, &status, 7));
        let told = status.snapshot();
        let message = told["last_error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("lag of partition 7 is old: asking for a partition's first and last offset"),
            "{told}"
        );
    }
}
