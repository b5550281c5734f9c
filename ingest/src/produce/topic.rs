//! Makes the topic where it is missing, and leaves one that exists as it is.

use std::sync::Arc;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::ProduceOptions;
use crate::error::{Error, Result};

/// The broker's own default, since Kafka 2.4.
const DEFAULT_REPLICATION: i32 = -1;

/// librdkafka's log lines as events; connection troubles are shown by who waits for them.
pub(super) struct QuietContext;

impl ClientContext for QuietContext {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

/// Returns the number of partitions.
pub(super) async fn ensure(options: &ProduceOptions) -> Result<usize> {
    let kafka = &options.kafka;
    let admin: AdminClient<QuietContext> = options
        .client_config()?
        .create_with_context(QuietContext)
        .map_err(|source| kafka.error("cannot make a Kafka client for the broker", source))?;
    let admin = Arc::new(admin);
    if let Some(partitions) = find(&admin, options).await? {
        if partitions != options.partitions as usize {
            tracing::info!(
                topic = options.topic,
                partitions,
                "the topic exists with its own number of partitions"
            );
        }
        return Ok(partitions);
    }
    let replication = options.replication.unwrap_or(DEFAULT_REPLICATION);
    match create(&admin, options, replication).await? {
        // an embedded or old broker has no default
        Err(RDKafkaErrorCode::InvalidReplicationFactor | RDKafkaErrorCode::InvalidRequest)
            if options.replication.is_none() =>
        {
            create(&admin, options, 1)
                .await?
                .map_err(|code| refused(options, code))?;
        }
        created => created.map_err(|code| refused(options, code))?,
    }
    tracing::info!(topic = options.topic, partitions = options.partitions, "topic made");
    Ok(options.partitions as usize)
}

/// Partitions of the topic if there is one. All topics are listed, because asking for one by name may make it with the broker's defaults.
async fn find(admin: &Arc<AdminClient<QuietContext>>, options: &ProduceOptions) -> Result<Option<usize>> {
    let (admin, timeout) = (Arc::clone(admin), options.connect_timeout);
    let listing = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(None, timeout)).await;
    let metadata = listing
        .map_err(|error| Error::Internal(format!("listing topics ended abruptly: {error}")))?
        .map_err(|source| Error::Unreachable {
            brokers: options.kafka.bootstrap_servers.clone(),
            source,
        })?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == options.topic);
    Ok(topic
        .map(|topic| topic.partitions().len())
        .filter(|partitions| *partitions > 0))
}

async fn create(
    admin: &AdminClient<QuietContext>,
    options: &ProduceOptions,
    replication: i32,
) -> Result<Result<(), RDKafkaErrorCode>> {
    let topic = NewTopic::new(&options.topic, options.partitions, TopicReplication::Fixed(replication));
    let admin_options = AdminOptions::new()
        .request_timeout(Some(options.connect_timeout))
        .operation_timeout(Some(options.connect_timeout));
    let mut results = admin
        .create_topics([&topic], &admin_options)
        .await
        .map_err(|source| options.kafka.error("cannot make the topic", source))?;
    Ok(match results.pop() {
        Some(Ok(_)) | Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(code),
        None => Err(RDKafkaErrorCode::Fail),
    })
}

fn refused(options: &ProduceOptions, code: RDKafkaErrorCode) -> Error {
    let message = format!(
        "the broker at {} refused to make topic `{}` with {} partitions: {code}; make it by hand or change the setting",
        options.kafka.bootstrap_servers, options.topic, options.partitions
    );
    Error::Invalid(message)
}
