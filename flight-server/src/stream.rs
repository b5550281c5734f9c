//! A running query as a stream of Flight frames in the client's types.
//!
//! The query runs on its own runtime and hands frames over a bounded channel; when the client goes away, the deadline
//! passes or someone cancels, the task ends and with it everything that it holds. While it computes, an empty batch now and
//! then keeps idle connections open.

use std::any::Any;
use std::future::ready;
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
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::engine::Engine;
use crate::error::{Error, Result, humanize};
use crate::frames::{self, Encoder, split};
use crate::output;
use crate::queries::{Query, Running};
use crate::runs::Runs;

/// Frames between the query and the network.
const FRAMES_AHEAD: usize = 4;
/// Proxies cut connections that are silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

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
    /// Of the lane that it runs in.
    pub limit: Duration,
    pub max_rows: u64,
    pub max_bytes: u64,
}

/// A query and what ends it.
pub struct Run {
    pub engine: Arc<Engine>,
    pub work: Work,
    pub running: Running,
    pub deadline: Instant,
    pub limit: Duration,
}

type Sender = mpsc::Sender<Result<FlightData, Status>>;

pub fn start(run: Run, queries: &Handle) -> FrameStream {
    let (sender, receiver) = mpsc::channel(FRAMES_AHEAD);
    let (end, ended) = oneshot::channel();
    let open = Open::new(run.engine.clone());
    let cancel = run.running.query.cancel.clone();
    let nothing = RecordBatch::new_empty(run.work.schema.clone());
    let idle = Encoder::default().batch(&nothing).ok();
    tokio::spawn(watch(cancel.clone(), run.deadline));
    queries.spawn(run_to_end(run, sender, end, open));
    // Dropped with the stream, when the client has gone away.
    let gone = cancel.drop_guard();
    let frames = kept_alive(receiver, idle).chain(futures::stream::once(ended).filter_map(|end| ready(last(end))));
    Box::pin(frames.inspect(move |_| {
        let _held = &gone;
    }))
}

/// Frames as they come, and an empty batch where none comes for long: made here, for a join may keep every thread of the
/// queries' runtime.
fn kept_alive(
    receiver: mpsc::Receiver<Result<FlightData, Status>>,
    idle: Option<FlightData>,
) -> impl Stream<Item = Result<FlightData, Status>> + Send {
    futures::stream::unfold((receiver, idle, false), |(mut receiver, idle, begun)| async move {
        let next = match &idle {
            // The schema comes first.
            Some(idle) if begun => match tokio::time::timeout(KEEP_ALIVE, receiver.recv()).await {
                Ok(next) => next,
                Err(_) => Some(Ok(idle.clone())),
            },
            _ => receiver.recv().await,
        };
        next.map(|frame| (frame, (receiver, idle, true)))
    })
}

/// Beside the query, which may compute for long without looking up: joins see the token.
async fn watch(cancel: CancellationToken, deadline: Instant) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = tokio::time::sleep_until(deadline.into()) => cancel.cancel(),
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

async fn run_to_end(run: Run, sender: Sender, end: oneshot::Sender<End>, _open: Open) {
    let Run {
        engine,
        work,
        mut running,
        deadline,
        limit,
    } = run;
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
    Ok(())
}

async fn send(sender: &Sender, frame: FlightData, patience: Duration) -> Result<()> {
    match tokio::time::timeout(patience, sender.send(Ok(frame))).await {
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
