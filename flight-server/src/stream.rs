//! A running query as Flight frames: schema first, batches in the client's types, each message under 2 MiB.
//!
//! The query runs on its own runtime and hands frames over a bounded channel; when the client goes away, the deadline
//! passes or someone cancels, the task ends and with it everything that it holds.

use std::collections::VecDeque;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::{SendableRecordBatchStream, execute_stream};
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::limits::Slot;
use crate::output;
use crate::runs::Run;

/// Go clients outside ADBC take messages of 4 MiB; half of it leaves room for what surrounds the buffers.
pub const MESSAGE_BYTES: usize = 2 << 20;
/// A row cannot be split.
const MAX_ROW_BYTES: usize = 4 << 20;
/// Frames between the query and the network.
const FRAMES_AHEAD: usize = 4;

pub type FrameStream = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

pub struct Frames {
    pub stream: FrameStream,
    /// JSON object of table -> version, for the initial metadata.
    pub versions: String,
}

/// Everything that a running query holds.
pub struct Query {
    pub engine: Arc<Engine>,
    pub query_id: String,
    pub state: SessionState,
    /// Run in order, one after the other, as one result.
    pub runs: Vec<Run>,
    pub schema: SchemaRef,
    pub slot: Slot,
    pub deadline: Instant,
    pub limit: Duration,
    pub max_rows: u64,
    pub cancel: CancellationToken,
}

pub fn start(query: Query, queries: &Handle, versions: String) -> Frames {
    let (sender, receiver) = mpsc::channel(FRAMES_AHEAD);
    let (end, ended) = oneshot::channel();
    query.engine.status.stream_opened();
    queries.spawn(run(query, sender, end));
    let frames = ReceiverStream::new(receiver).chain(futures::stream::once(ended).filter_map(|end| ready(last(end))));
    Frames {
        stream: Box::pin(frames),
        versions,
    }
}

/// How a query ended goes beside the frames: a full channel must not turn an error into a shorter result.
type End = Result<(), Status>;

fn last(end: Result<End, oneshot::error::RecvError>) -> Option<Result<FlightData, Status>> {
    match end {
        Ok(Ok(())) => None,
        Ok(Err(status)) => Some(Err(status)),
        Err(_) => Some(Err(Status::internal("the query ended without saying why; try again"))),
    }
}

async fn run(query: Query, sender: mpsc::Sender<Result<FlightData, Status>>, end: oneshot::Sender<End>) {
    let ending = Ending {
        engine: query.engine.clone(),
        query_id: query.query_id.clone(),
    };
    let started = Instant::now();
    let (cancel, deadline, limit) = (query.cancel.clone(), query.deadline, query.limit);
    let send_all = send_frames(query, &sender);
    let outcome = tokio::select! {
        () = sender.closed() => return,
        () = cancel.cancelled() => Err(Error::Cancelled),
        () = tokio::time::sleep_until(deadline.into()) => Err(Error::Deadline(limit)),
        outcome = send_all => outcome,
    };
    let outcome = match outcome {
        Ok(frames) => {
            let elapsed_ms = started.elapsed().as_millis();
            tracing::debug!(query_id = ending.query_id, frames, elapsed_ms, "query");
            Ok(())
        }
        Err(error) => Err(ending.engine.fail(error)),
    };
    // Nobody listens where the client went away.
    let _ = end.send(outcome);
}

/// Gives back what `running` and the counters hold, however the task ends.
struct Ending {
    engine: Arc<Engine>,
    query_id: String,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.engine.finished(&self.query_id);
        self.engine.status.stream_closed();
    }
}

async fn send_frames(query: Query, sender: &mpsc::Sender<Result<FlightData, Status>>) -> Result<u64> {
    let status = query.engine.status.clone();
    let counters = status.clone();
    let schema = query.schema.clone();
    let rows = Rows {
        state: query.state,
        runs: query.runs.into(),
        stream: None,
        schema: query.schema,
        pieces: Vec::new(),
        rows: 0,
        max_rows: query.max_rows,
        _slot: query.slot,
    };
    let batches = futures::stream::try_unfold(rows, async |mut rows| Ok(rows.next().await?.map(|batch| (batch, rows))));
    let batches = batches.map_err(|error: Error| FlightError::from_external_error(Box::new(error)));
    let mut total = 0;
    let mut frames = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(usize::MAX)
        .build(
            batches
                .inspect_ok(move |batch| counters.sent(batch.num_rows() as u64, 0))
                .boxed(),
        );
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(unwrap_ours)?;
        total += 1;
        status.sent(0, frame.data_body.len() as u64);
        if sender.send(Ok(frame)).await.is_err() {
            break;
        }
    }
    Ok(total)
}

fn unwrap_ours(error: FlightError) -> Error {
    match error {
        FlightError::ExternalError(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::Internal(other.to_string()),
        },
        FlightError::Arrow(inner) => inner.into(),
        other => Error::Internal(other.to_string()),
    }
}

/// The rows of all runs in the announced types, in pieces that fit a message.
struct Rows {
    state: SessionState,
    runs: VecDeque<Run>,
    stream: Option<SendableRecordBatchStream>,
    schema: SchemaRef,
    /// Last one first.
    pieces: Vec<RecordBatch>,
    rows: u64,
    max_rows: u64,
    _slot: Slot,
}

impl Rows {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(piece) = self.pieces.pop() {
                return Ok(Some(piece));
            }
            let Some(stream) = &mut self.stream else {
                let Some(run) = self.runs.pop_front() else {
                    return Ok(None);
                };
                self.stream = Some(execute(&self.state, &run).await?);
                continue;
            };
            match stream.next().await.transpose()? {
                None => self.stream = None,
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => {
                    self.rows += batch.num_rows() as u64;
                    if self.rows > self.max_rows {
                        let text = format!(
                            "the result has more than {} rows; add a LIMIT or a filter",
                            self.max_rows
                        );
                        return Err(Error::Limit(text));
                    }
                    split(output::batch(&batch, &self.schema)?, &mut self.pieces)?;
                    self.pieces.reverse();
                }
            }
        }
    }
}

async fn execute(state: &SessionState, run: &Run) -> Result<SendableRecordBatchStream> {
    let mut state = state.clone();
    state.mark_start_execution();
    let plan = run.physical(&state).await?;
    Ok(execute_stream(plan, state.task_ctx())?)
}

/// Halves `batch` until each piece's buffers fit a message.
pub fn split(batch: RecordBatch, pieces: &mut Vec<RecordBatch>) -> Result<()> {
    let bytes = sliced_bytes(&batch)?;
    if bytes <= MESSAGE_BYTES {
        pieces.push(batch);
        return Ok(());
    }
    if batch.num_rows() <= 1 {
        if bytes > MAX_ROW_BYTES {
            let text =
                format!("a row of the result has {bytes} bytes, more than the {MAX_ROW_BYTES} a message may have");
            return Err(Error::Limit(text));
        }
        pieces.push(batch);
        return Ok(());
    }
    let half = batch.num_rows() / 2;
    split(batch.slice(0, half), pieces)?;
    split(batch.slice(half, batch.num_rows() - half), pieces)
}

fn sliced_bytes(batch: &RecordBatch) -> Result<usize> {
    batch
        .columns()
        .iter()
        .try_fold(0, |sum, column| Ok(sum + column.to_data().get_slice_memory_size()?))
}

/// A result that is there already (catalog calls) as frames.
pub fn from_batch(batch: RecordBatch) -> FrameStream {
    let schema = batch.schema();
    let mut pieces = Vec::new();
    let result = split(batch, &mut pieces).map(|()| pieces);
    let batches = match result {
        Ok(pieces) => futures::stream::iter(
            pieces
                .into_iter()
                .filter(|b| b.num_rows() > 0)
                .map(Ok)
                .collect::<Vec<_>>(),
        ),
        Err(error) => futures::stream::iter(vec![Err(FlightError::from_external_error(Box::new(error)))]),
    };
    let frames = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(usize::MAX)
        .build(batches);
    Box::pin(frames.map_err(|error| Status::from(unwrap_ours(error))))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn pieces(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<RecordBatch>> {
        let mut pieces = Vec::new();
        split(RecordBatch::try_from_iter(columns).unwrap(), &mut pieces).map(|()| pieces)
    }

    #[test]
    fn messages_are_split_by_real_bytes() {
        // One fat row among many small ones: equal row counts would leave a piece far too big.
        let texts: Vec<String> = (0..10_000)
            .map(|i| "x".repeat(if i == 7 { 1 << 20 } else { 300 }))
            .collect();
        let pieces = pieces(vec![("t", Arc::new(StringArray::from(texts)) as ArrayRef)]).unwrap();
        assert!(pieces.len() > 1);
        assert!(pieces.iter().all(|p| sliced_bytes(p).unwrap() <= MESSAGE_BYTES));
        assert_eq!(pieces.iter().map(RecordBatch::num_rows).sum::<usize>(), 10_000);
    }

    #[test]
    fn a_row_between_two_and_four_mib_is_sent_alone() {
        let texts = vec!["a".to_owned(), "x".repeat(3 << 20), "b".to_owned()];
        let pieces = pieces(vec![("t", Arc::new(StringArray::from(texts)) as ArrayRef)]).unwrap();
        assert_eq!(pieces.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1, 1, 1]);
    }

    #[test]
    fn a_row_that_fits_no_message_is_an_error() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(5 << 20)]));
        assert!(matches!(pieces(vec![("t", text)]), Err(Error::Limit(_))));
        let small: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert_eq!(pieces(vec![("i", small)]).unwrap().len(), 1);
    }
}
