//! Answers Fetch requests from the broker's file, in place of Tansu's own service.
//!
//! Tansu's sums up all that is left of a partition for every answer, several times, and sleeps out the wait although it has records:
//! reading 200,000 records stands still for seconds, and every writer waits behind it. This one reads no further than what it answers,
//! answers as soon as there is something, says so when an offset is out of range, and always sends at least one record, however large.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use libsql::{Connection, Database};
use rama::{Context, Service};
use tansu_broker::Error;
use tansu_sans_io::fetch_request::{FetchPartition, FetchTopic};
use tansu_sans_io::fetch_response::{FetchableTopicResponse, PartitionData};
use tansu_sans_io::record::deflated::Frame;
use tansu_sans_io::record::{Header, Record, inflated};
use tansu_sans_io::{ErrorCode, FetchRequest, FetchResponse};
use tansu_storage::{Storage, TopicId};

/// Bytes of one answer at most, whatever the client would take.
const MAX_BYTES: usize = 8 << 20;
/// Longest wait for records.
const MAX_WAIT: Duration = Duration::from_millis(500);
/// How often the end of the log is looked at meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

const PARTITIONS: &str = include_str!("fetch_partitions.sql");
const RECORDS: &str = include_str!("fetch_records.sql");
const HEADERS: &str = include_str!("fetch_headers.sql");

/// Reads beside the engine: the file's write-ahead log lets it.
#[derive(Clone)]
pub struct Fetch<S> {
    pub storage: S,
    pub file: Arc<Database>,
}

impl<S> std::fmt::Debug for Fetch<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fetch")
    }
}

/// A partition as the file has it.
struct Partition {
    id: i64,
    low: i64,
    high: i64,
}

impl<S, State> Service<State, FetchRequest> for Fetch<S>
where
    S: Storage,
    State: Clone + Send + Sync + 'static,
{
    type Response = FetchResponse;
    type Error = Error;

    async fn serve(&self, _: Context<State>, request: FetchRequest) -> Result<FetchResponse, Error> {
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or_default()).min(MAX_WAIT);
        let bytes = request
            .max_bytes
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(MAX_BYTES)
            .min(MAX_BYTES);
        let connection = self.file.connect()?;
        let mut topics = Vec::new();
        for topic in request.topics.unwrap_or_default() {
            topics.push((self.identity(&topic).await?, topic));
        }
        let started = Instant::now();
        loop {
            let mut budget = Budget {
                left: bytes,
                found: false,
            };
            let mut responses = Vec::new();
            for (identity, topic) in &topics {
                responses.push(answer(&connection, identity.as_ref(), topic, &mut budget).await?);
            }
            if budget.found || started.elapsed() >= wait {
                let response = FetchResponse::default()
                    .throttle_time_ms(Some(0))
                    .error_code(Some(ErrorCode::None.into()));
                return Ok(response
                    .session_id(Some(0))
                    .node_endpoints(Some(Vec::new()))
                    .responses(Some(responses)));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Name and id of a topic that exists.
type Identity = (String, Option<[u8; 16]>);

impl<S: Storage> Fetch<S> {
    /// Clients name a topic, newer ones its id.
    async fn identity(&self, topic: &FetchTopic) -> Result<Option<Identity>, Error> {
        let asked = match (&topic.topic, topic.topic_id) {
            (Some(name), _) => TopicId::from(name.as_str()),
            (None, Some(id)) => TopicId::Id(uuid::Uuid::from_bytes(id)),
            (None, None) => return Ok(None),
        };
        let metadata = self.storage.metadata(Some(&[asked])).await?;
        let found = metadata.topics().first();
        Ok(found
            .filter(|topic| topic.error_code == i16::from(ErrorCode::None))
            .and_then(|topic| Some((topic.name.clone()?, topic.topic_id))))
    }
}

/// What the answer may still hold.
struct Budget {
    left: usize,
    /// Something is in it already: a record, or an error that the client should see now.
    found: bool,
}

async fn answer(
    connection: &Connection,
    identity: Option<&Identity>,
    topic: &FetchTopic,
    budget: &mut Budget,
) -> Result<FetchableTopicResponse, Error> {
    let known = match identity {
        Some((name, _)) => partitions(connection, name).await?,
        None => BTreeMap::new(),
    };
    let mut answers = Vec::new();
    for wanted in topic.partitions.iter().flatten() {
        answers.push(match known.get(&wanted.partition) {
            Some(partition) => read(connection, partition, wanted, budget).await?,
            None => failed(wanted.partition, ErrorCode::UnknownTopicOrPartition, budget),
        });
    }
    let topic_id = identity.and_then(|(_, id)| *id).or(topic.topic_id);
    Ok(FetchableTopicResponse::default()
        .topic(topic.topic.clone())
        .topic_id(topic_id)
        .partitions(Some(answers)))
}

async fn partitions(connection: &Connection, topic: &str) -> Result<BTreeMap<i32, Partition>, Error> {
    let mut rows = connection.query(PARTITIONS, [topic]).await?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next().await? {
        found.insert(
            row.get(0)?,
            Partition {
                id: row.get(1)?,
                low: row.get(2)?,
                high: row.get(3)?,
            },
        );
    }
    Ok(found)
}

fn failed(partition: i32, error: ErrorCode, budget: &mut Budget) -> PartitionData {
    budget.found = true;
    partition_data(partition, error, -1, -1)
}

fn partition_data(partition: i32, error: ErrorCode, low: i64, high: i64) -> PartitionData {
    PartitionData::default()
        .partition_index(partition)
        .error_code(error.into())
        .high_watermark(high)
        .last_stable_offset(Some(high))
        .log_start_offset(Some(low))
        .aborted_transactions(Some(Vec::new()))
        .preferred_read_replica(Some(-1))
}

async fn read(
    connection: &Connection,
    partition: &Partition,
    wanted: &FetchPartition,
    budget: &mut Budget,
) -> Result<PartitionData, Error> {
    let offset = wanted.fetch_offset;
    if offset < partition.low || offset > partition.high {
        return Ok(failed(wanted.partition, ErrorCode::OffsetOutOfRange, budget));
    }
    let data = partition_data(wanted.partition, ErrorCode::None, partition.low, partition.high);
    if offset == partition.high || budget.left == 0 {
        return Ok(data.records(None));
    }
    let limit = usize::try_from(wanted.partition_max_bytes)
        .unwrap_or_default()
        .min(budget.left);
    let mut headers = headers(connection, partition.id, offset).await?;
    let mut rows = connection
        .query(RECORDS, (partition.id, offset, partition.high))
        .await?;
    let (mut batches, mut open, mut bytes) = (Vec::new(), None::<OpenBatch>, 0);
    while let Some(row) = rows.next().await? {
        let (key, value): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(3)?, row.get(4)?);
        let size = key.as_ref().map_or(0, Vec::len) + value.as_ref().map_or(0, Vec::len) + RECORD_OVERHEAD;
        if bytes + size > limit && (bytes > 0 || budget.found) {
            break;
        }
        bytes += size;
        let at: i64 = row.get(0)?;
        let kind = Kind {
            attributes: row.get::<Option<i32>>(1)?.unwrap_or_default() as i16,
            producer_id: row.get::<Option<i64>>(5)?.unwrap_or(-1),
            producer_epoch: row.get::<Option<i32>>(6)?.unwrap_or(-1) as i16,
        };
        let timestamp = row.get(2)?;
        if open.as_ref().is_some_and(|open| open.kind != kind) {
            batches.extend(open.take().map(OpenBatch::close).transpose()?);
        }
        let batch = open.get_or_insert_with(|| OpenBatch::new(kind, at, timestamp));
        let mut record = Record::builder()
            .key(key.map(Bytes::from))
            .value(value.map(Bytes::from));
        for (name, value) in headers.remove(&at).unwrap_or_default() {
            let header = Header::builder();
            let header = if let Some(name) = name {
                header.key(Bytes::from(name))
            } else {
                header
            };
            record = record.header(if let Some(value) = value {
                header.value(Bytes::from(value))
            } else {
                header
            });
        }
        batch.push(record, at, timestamp)?;
    }
    batches.extend(open.map(OpenBatch::close).transpose()?);
    budget.left -= bytes.min(budget.left);
    budget.found |= !batches.is_empty();
    Ok(data.records((!batches.is_empty()).then_some(Frame { batches })))
}

/// What a record takes beside key and value, about.
const RECORD_OVERHEAD: usize = 16;

type Headers = Vec<(Option<Vec<u8>>, Option<Vec<u8>>)>;

/// Headers of the records from `offset` on; hardly any producer sends them.
async fn headers(connection: &Connection, partition: i64, offset: i64) -> Result<BTreeMap<i64, Headers>, Error> {
    let mut rows = connection.query(HEADERS, (partition, offset)).await?;
    let mut found: BTreeMap<i64, Headers> = BTreeMap::new();
    while let Some(row) = rows.next().await? {
        found.entry(row.get(0)?).or_default().push((row.get(1)?, row.get(2)?));
    }
    Ok(found)
}

/// What all records of a batch share.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    attributes: i16,
    producer_id: i64,
    producer_epoch: i16,
}

struct OpenBatch {
    kind: Kind,
    base_offset: i64,
    base_timestamp: i64,
    max_timestamp: i64,
    last_offset_delta: i32,
    /// Taken only while a record goes in.
    builder: Option<inflated::Builder>,
}

impl OpenBatch {
    fn new(kind: Kind, base_offset: i64, base_timestamp: i64) -> Self {
        let builder = inflated::Batch::builder()
            .base_offset(base_offset)
            .base_timestamp(base_timestamp)
            .attributes(kind.attributes)
            .producer_id(kind.producer_id)
            .producer_epoch(kind.producer_epoch);
        Self {
            kind,
            base_offset,
            base_timestamp,
            max_timestamp: base_timestamp,
            last_offset_delta: 0,
            builder: Some(builder),
        }
    }

    fn push(&mut self, record: tansu_sans_io::record::Builder, offset: i64, timestamp: i64) -> Result<(), Error> {
        self.last_offset_delta = i32::try_from(offset - self.base_offset)?;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let record = record
            .offset_delta(self.last_offset_delta)
            .timestamp_delta(timestamp - self.base_timestamp);
        self.builder = self.builder.take().map(|builder| builder.record(record));
        Ok(())
    }

    fn close(self) -> Result<tansu_sans_io::record::deflated::Batch, Error> {
        let builder = self.builder.unwrap_or_else(inflated::Batch::builder);
        let batch = builder
            .last_offset_delta(self.last_offset_delta)
            .max_timestamp(self.max_timestamp)
            .build()?;
        Ok(batch.try_into()?)
    }
}
