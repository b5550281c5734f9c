//! A running query as a stream of Flight frames in the client's types.
//!
//! The query runs on its own runtime and hands frames over a bounded channel to a [`Body`]; when the client goes away, the deadline
//! passes or someone cancels, the task ends and with it everything that it holds. It holds its place until the client has taken all of it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow_flight::FlightData;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::{FutureExt, Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::body::{self, Body, End, Frame, Idle};
use crate::engine::Engine;
use crate::error::{Error, Result, humanize};
use crate::frames::{self, Encoder, split};
use crate::output;
use crate::queries::{Query, Running};
use crate::runs::Runs;

/// Frames between the query and the network.
const FRAMES_AHEAD: usize = 4;

pub type FrameStream = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

pub struct Frames {
    pub stream: FrameStream,
    /// Whose times go out with the last frame.
    pub query: Arc<Query>,
    /// JSON objects of table -> version and table -> age, for the initial metadata.
    pub versions: String,
    pub age_ms: String,
}

/// What is computed.
pub struct Work {
    /// Run in order, one after the other, as one result.
    pub runs: Runs,
    pub schema: SchemaRef,
    /// Where it computes.
    pub runtime: Handle,
    pub deadline: Instant,
    pub limit: Duration,
    pub max_rows: u64,
    pub max_bytes: u64,
}

/// A query and what ends it.
pub struct Run {
    pub engine: Arc<Engine>,
    pub work: Work,
    pub running: Running,
}

type Sender = mpsc::Sender<Frame>;

pub fn start(run: Run) -> FrameStream {
    let (sender, receiver) = mpsc::channel(FRAMES_AHEAD);
    let (end, ended) = oneshot::channel();
    let open = body::Open::new(receiver, ended);
    let counted = Open::new(run.engine.clone());
    let cancel = run.running.query.cancel.clone();
    let nothing = RecordBatch::new_empty(run.work.schema.clone());
    let idle = Idle {
        batch: Encoder::default().batch(&nothing).ok(),
        every: run.engine.options.idle_batch_every,
        status: run.engine.status.clone(),
    };
    let watch = body::watch(open.clone(), cancel.clone(), run.work.deadline, run.work.limit);
    tokio::spawn(watch);
    let runtime = run.work.runtime.clone();
    runtime.spawn(run_to_end(run, sender, end, open.clone(), counted));
    Box::pin(Body::new(open, idle, cancel))
}

async fn run_to_end(run: Run, sender: Sender, end: oneshot::Sender<End>, open: Arc<body::Open>, _counted: Open) {
    let Run {
        engine,
        work,
        mut running,
    } = run;
    let (deadline, limit) = (work.deadline, work.limit);
    let cancel = running.query.cancel.clone();
    let outcome = tokio::select! {
        biased;
        () = sender.closed() => None,
        () = cancel.cancelled() => Some(Err(Error::Cancelled)),
        outcome = AssertUnwindSafe(send_frames(&engine, work, &running, &sender)).catch_unwind() => {
            Some(outcome.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))))
        }
    };
    let outcome = match outcome {
        // It computed on after its result was ended, to whatever end.
        None | Some(Ok(())) if open.was_cut() => Some(Err(Error::Cancelled)),
        other => other,
    };
    let outcome = match outcome {
        Some(Err(Error::Cancelled)) if Instant::now() >= deadline => Some(Err(Error::Deadline(limit))),
        other => other,
    };
    // Joins that still compute see this one.
    cancel.cancel();
    let outcome = match outcome {
        None => return,
        Some(Ok(())) => {
            running.done();
            Ok(())
        }
        Some(Err(error)) => {
            running.failed(&error);
            Err(engine.fail(error))
        }
    };
    // Whoever hears of the end finds the statement among those that ended.
    drop(running);
    // Nobody listens where the client went away.
    let _ = end.send(outcome);
}

/// A panic of the engine ends its query, as an error.
fn panicked(payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or_default();
    Error::Internal(format!("the engine failed: {text}"))
}

/// Counts the open streams, however one ends.
struct Open(Arc<Engine>);

impl Open {
    fn new(engine: Arc<Engine>) -> Self {
        engine.status.stream_opened();
        Self(engine)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.status.stream_closed();
    }
}

async fn send_frames(engine: &Engine, work: Work, running: &Running, sender: &Sender) -> Result<()> {
    let statement = &running.query;
    let mut encoder = Encoder::default();
    let patience = engine.options.reader_timeout;
    send(sender, encoder.schema(&work.schema), patience).await?;
    let mut rows = Rows {
        runs: work.runs,
        stream: None,
        schema: work.schema,
        pieces: Vec::new(),
        rows: 0,
        max_rows: work.max_rows,
    };
    let mut bytes = 0;
    while let Some(batch) = rows.next().await? {
        let frame = encoder.batch(&batch)?;
        let (more_rows, more_bytes) = (batch.num_rows() as u64, frame.data_body.len() as u64);
        bytes += more_bytes;
        if bytes > work.max_bytes {
            return Err(Error::Limit(format!(
                "the result has more than {} bytes; add a LIMIT or a filter, or select fewer columns",
                work.max_bytes
            )));
        }
        engine.status.sent(more_rows, more_bytes);
        statement.rows.fetch_add(more_rows, Ordering::Relaxed);
        statement.bytes.fetch_add(more_bytes, Ordering::Relaxed);
        send(sender, frame, patience).await?;
    }
    // `rows` holds the query's place meanwhile.
    taken(sender.reserve_many(FRAMES_AHEAD), patience).await
}

async fn send(sender: &Sender, frame: FlightData, patience: Duration) -> Result<()> {
    taken(sender.send(Ok(frame)), patience).await
}

async fn taken<T>(room: impl Future<Output = T>, patience: Duration) -> Result<()> {
    match tokio::time::timeout(patience, room).await {
        // A client that went away ends the query elsewhere.
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Limit(format!(
            "the client took nothing for {}; read faster, or ask for less at once",
            humanize(patience)
        ))),
    }
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
