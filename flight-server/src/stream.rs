//! A running query as a stream of Flight frames in the client's types.
//!
//! The query runs on its own runtime and hands frames over a bounded channel; when the client goes away, the deadline
//! passes or someone cancels, the task ends and with it everything that it holds.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::FlightData;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::frames::{self, Encoder, split};
use crate::limits::Slot;
use crate::output;
use crate::runs::Runs;

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
    /// Run in order, one after the other, as one result.
    pub runs: Runs,
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
    let mut encoder = Encoder::default();
    let mut total = 1;
    if sender.send(Ok(encoder.schema(&query.schema))).await.is_err() {
        return Ok(total);
    }
    let mut rows = Rows {
        runs: query.runs,
        stream: None,
        schema: query.schema,
        pieces: Vec::new(),
        rows: 0,
        max_rows: query.max_rows,
        _slot: query.slot,
    };
    while let Some(batch) = rows.next().await? {
        let frame = encoder.batch(&batch)?;
        total += 1;
        status.sent(batch.num_rows() as u64, frame.data_body.len() as u64);
        if sender.send(Ok(frame)).await.is_err() {
            break;
        }
    }
    Ok(total)
}

/// The rows of all runs in the announced types, in pieces that fit a message.
struct Rows {
    runs: Runs,
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
                match self.runs.start_next().await? {
                    Some(stream) => self.stream = Some(stream),
                    None => return Ok(None),
                }
                continue;
            };
            match stream.next().await.transpose()? {
                None => self.stream = None,
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

/// A result that is there already (catalog calls) as frames.
pub fn from_batch(batch: RecordBatch) -> Result<FrameStream> {
    let frames = frames::all(batch)?.into_iter().map(Ok);
    Ok(Box::pin(futures::stream::iter(frames)))
}
