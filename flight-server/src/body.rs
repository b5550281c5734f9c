//! What a client takes of a running query: its frames, an empty batch where none comes for long, and its end.
//!
//! It lives on the network's runtime. A query may compute for long without looking up, and a client may take nothing: a little after the
//! deadline, or after it was cancelled, the result ends all the same, with what it still held. The query keeps its place
//! until its tasks have really ended.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use arrow_flight::FlightData;
use futures::Stream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use crate::error::Error;
use crate::status::ServerStatus;

/// For a query to say its end itself, and for the client to take the last frames.
const GRACE: Duration = Duration::from_secs(1);

/// How a query ended goes beside the frames: a full channel must not turn an error into a shorter result.
pub type End = Result<(), Status>;
pub type Frame = Result<FlightData, Status>;

/// Sent while nothing comes, the schema being first: proxies cut connections that are silent for long.
pub struct Idle {
    pub batch: Option<FlightData>,
    /// Zero: never.
    pub every: Duration,
    pub status: Arc<ServerStatus>,
}

pub struct Body {
    open: Arc<Open>,
    idle: Idle,
    begun: bool,
    silence: Pin<Box<Sleep>>,
    /// Dropped with the body, when the client has gone away.
    _gone: DropGuard,
}

/// What is still to be taken.
#[derive(Debug)]
pub struct Open {
    rest: Mutex<Rest>,
}

#[derive(Debug)]
struct Rest {
    frames: Option<mpsc::Receiver<Frame>>,
    end: Outcome,
    cut: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum Outcome {
    Awaited(oneshot::Receiver<End>),
    Known(End),
    Told,
}

impl Open {
    pub fn new(frames: mpsc::Receiver<Frame>, end: oneshot::Receiver<End>) -> Arc<Self> {
        Arc::new(Self {
            rest: Mutex::new(Rest {
                frames: Some(frames),
                end: Outcome::Awaited(end),
                cut: false,
                waker: None,
            }),
        })
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was ended before all of it was taken.
    pub fn was_cut(&self) -> bool {
        self.rest().cut
    }

    /// Ends it with `status`, unless it has ended well and nothing is left to take.
    fn cut(&self, status: Status) {
        let mut rest = self.rest();
        let left = match rest.frames.take() {
            Some(mut frames) => frames.try_recv().is_ok(),
            None => false,
        };
        let said = match &mut rest.end {
            Outcome::Awaited(end) => end.try_recv().ok(),
            Outcome::Known(_) | Outcome::Told => return,
        };
        rest.cut = said.is_none();
        rest.end = Outcome::Known(match said {
            Some(Ok(())) if !left => Ok(()),
            Some(Err(own)) => Err(own),
            _ => Err(status),
        });
        if let Some(waker) = rest.waker.take() {
            waker.wake();
        }
    }
}

/// Ends the query at its deadline, and its result a little after that or after its end.
pub async fn watch(open: Arc<Open>, cancel: CancellationToken, deadline: Instant, limit: Duration) {
    let late = tokio::select! {
        () = cancel.cancelled() => false,
        () = tokio::time::sleep_until(deadline.into()) => true,
    };
    cancel.cancel();
    tokio::time::sleep(GRACE).await;
    let error = if late { Error::Deadline(limit) } else { Error::Cancelled };
    open.cut(error.into());
}

impl Body {
    pub fn new(open: Arc<Open>, idle: Idle, cancel: CancellationToken) -> Self {
        Self {
            silence: Box::pin(tokio::time::sleep(idle.every)),
            open,
            idle,
            begun: false,
            _gone: cancel.drop_guard(),
        }
    }

    /// Silence begins anew.
    fn hush(&mut self) {
        self.silence
            .as_mut()
            .reset(tokio::time::Instant::now() + self.idle.every);
    }
}

impl Stream for Body {
    type Item = Frame;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        let this = self.get_mut();
        let open = this.open.clone();
        let mut rest = open.rest();
        if let Some(frames) = &mut rest.frames {
            match frames.poll_recv(context) {
                Poll::Ready(Some(frame)) => {
                    this.begun = true;
                    this.hush();
                    return Poll::Ready(Some(frame));
                }
                Poll::Ready(None) => rest.frames = None,
                Poll::Pending => {
                    rest.waker = Some(context.waker().clone());
                    drop(rest);
                    let batch = this
                        .idle
                        .batch
                        .clone()
                        .filter(|_| this.begun && !this.idle.every.is_zero());
                    let Some(batch) = batch else {
                        return Poll::Pending;
                    };
                    ready!(this.silence.as_mut().poll(context));
                    this.hush();
                    this.idle.status.sent_idle();
                    return Poll::Ready(Some(Ok(batch)));
                }
            }
        }
        if let Outcome::Awaited(end) = &mut rest.end {
            let end = match Pin::new(end).poll(context) {
                Poll::Ready(end) => end,
                Poll::Pending => {
                    rest.waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
            };
            let silent = |_| Err(Status::internal("the query ended without saying why; try again"));
            rest.end = Outcome::Known(end.unwrap_or_else(silent));
        }
        match std::mem::replace(&mut rest.end, Outcome::Told) {
            Outcome::Known(Err(status)) => Poll::Ready(Some(Err(status))),
            _ => Poll::Ready(None),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut rest = self.open.rest();
        rest.frames = None;
        rest.end = Outcome::Told;
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tonic::Code;

    use super::*;

    fn body(deadline: Duration) -> (mpsc::Sender<Frame>, oneshot::Sender<End>, CancellationToken, Body) {
        let (sender, receiver) = mpsc::channel(4);
        let (end, ended) = oneshot::channel();
        let cancel = CancellationToken::new();
        let open = Open::new(receiver, ended);
        let idle = Idle {
            batch: None,
            every: Duration::ZERO,
            status: Arc::default(),
        };
        tokio::spawn(watch(open.clone(), cancel.clone(), Instant::now() + deadline, deadline));
        (sender, end, cancel.clone(), Body::new(open, idle, cancel))
    }

    #[tokio::test(start_paused = true)]
    async fn a_query_that_never_looks_up_ends_for_its_client() {
        let (sender, _end, cancel, mut body) = body(Duration::from_secs(3));
        sender.send(Ok(FlightData::default())).await.unwrap();
        assert!(body.next().await.unwrap().is_ok());
        let status = body.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(body.next().await.is_none() && cancel.is_cancelled() && body.open.was_cut());
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_nobody_takes_are_let_go_with_an_error() {
        let (sender, end, cancel, mut body) = body(Duration::from_secs(3));
        for _ in 0..4 {
            sender.send(Ok(FlightData::default())).await.unwrap();
        }
        cancel.cancel();
        sender.closed().await;
        assert!(end.send(Ok(())).is_err(), "nobody waits for its end");
        assert_eq!(body.next().await.unwrap().unwrap_err().code(), Code::Cancelled);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_was_said_stays_whatever_the_client_takes_to_hear_it() {
        for said in [Ok(()), Err(Status::internal("its own"))] {
            let (sender, end, cancel, mut body) = body(Duration::from_secs(3));
            end.send(said.clone()).unwrap();
            drop(sender);
            cancel.cancel();
            tokio::time::sleep(Duration::from_secs(60)).await;
            match said {
                Ok(()) => assert!(body.next().await.is_none()),
                Err(_) => assert_eq!(body.next().await.unwrap().unwrap_err().message(), "its own"),
            }
        }
    }
}
