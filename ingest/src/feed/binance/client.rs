//! The life of a live feed: connect, follow, renew, reconnect with backoff, step aside while the producer is stuck.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::super::gap::GapWatch;
use super::super::sink::{Closed, Flushed};
use super::super::status::FeedState;
use super::super::{Arrival, FeedContext, FrameError, Sink};
use super::BinanceOptions;
use super::connection::{Connection, Lost, Plan};
use super::decode::{Decoder, Frame};
use crate::trade::Source;

pub struct Client {
    options: BinanceOptions,
    plan: Plan,
    decoder: Arc<Decoder>,
    gaps: GapWatch,
    sink: Sink,
    context: FeedContext,
}

/// Why a connection is no longer followed.
#[derive(Debug)]
enum Ended {
    Shutdown,
    Lost(Lost),
    /// The producer's queue stayed full.
    Stalled,
}

/// What a frame asks of the one who follows the connection.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Shutdown,
    QueueFull,
}

type Opening = Pin<Box<dyn Future<Output = Result<Connection, Lost>> + Send>>;

impl Client {
    pub fn new(options: BinanceOptions, plan: Plan, decoder: Decoder, sink: Sink, context: FeedContext) -> Self {
        Self {
            options,
            plan,
            decoder: Arc::new(decoder),
            gaps: GapWatch::default(),
            sink,
            context,
        }
    }

    pub async fn run(mut self) {
        let mut backoff = self.backoff();
        loop {
            self.context.status.set_state(FeedState::Connecting);
            let opened = tokio::select! {
                biased;
                () = self.context.shutdown.cancelled() => break,
                opened = self.open() => opened,
            };
            let started = Instant::now();
            let lost = match opened {
                Err(lost) => lost,
                Ok(connection) => match self.follow(connection).await {
                    Err(Closed) | Ok(Ended::Shutdown) => break,
                    Ok(Ended::Lost(lost)) => lost,
                    Ok(Ended::Stalled) => match self.wait_for_room().await {
                        Ok(()) => continue,
                        Err(Closed) => break,
                    },
                },
            };
            self.note(&lost);
            match self.sink.flush_within(self.options.stall).await {
                Ok(Flushed::Sent) => {}
                Ok(Flushed::Full) if self.wait_for_room().await.is_ok() => {}
                Ok(Flushed::Full) | Err(Closed) => break,
            }
            if started.elapsed() > self.options.reconnect.1 {
                backoff = self.backoff();
            }
            let delay = backoff.next().unwrap_or(self.options.reconnect.1);
            tokio::select! {
                biased;
                () = self.context.shutdown.cancelled() => break,
                () = sleep(delay) => {}
            }
        }
        // the producer drains the queue until its deadline and drops its end then
        let _ = self.sink.flush().await;
    }

    /// Reads a connection, and its successors at renewals, until something ends it.
    async fn follow(&mut self, mut connection: Connection) -> Result<Ended, Closed> {
        self.connected();
        let mut renew_at = Instant::now() + self.options.lifetime;
        let mut successor: Option<Opening> = None;
        loop {
            tokio::select! {
                biased;
                () = self.context.shutdown.cancelled() => {
                    connection.close().await;
                    return Ok(Ended::Shutdown);
                }
                opened = opening(&mut successor) => {
                    successor = None;
                    match opened {
                        Ok(next) => {
                            let heard = self.read_on(&mut connection).await?;
                            std::mem::replace(&mut connection, next).close().await;
                            self.connected();
                            renew_at = Instant::now() + self.options.lifetime;
                            if heard == Heard::QueueFull {
                                connection.close().await;
                                return Ok(Ended::Stalled);
                            }
                        }
                        Err(lost) => {
                            self.note(&lost);
                            renew_at = Instant::now() + self.options.reconnect.1;
                        }
                    }
                }
                // what found the queue full goes out as soon as there is room, not with the next frame
                flushed = self.sink.flush(), if self.sink.has_batch() => flushed?,
                () = sleep_until(renew_at), if successor.is_none() => successor = Some(Box::pin(self.open())),
                frame = connection.next() => match frame {
                    Err(lost) => return Ok(Ended::Lost(lost)),
                    Ok(text) => match self.hear(&text).await? {
                        Heard::Nothing => {}
                        Heard::Shutdown => renew_at = renew_at.min(Instant::now()),
                        Heard::QueueFull => {
                            connection.close().await;
                            return Ok(Ended::Stalled);
                        }
                    }
                },
            }
        }
    }

    /// Reads the old connection a little longer while the new one already gets everything.
    async fn read_on(&mut self, connection: &mut Connection) -> Result<Heard, Closed> {
        let until = Instant::now() + self.options.overlap;
        while let Ok(Ok(text)) = timeout_at(until, connection.next()).await {
            if self.hear(&text).await? == Heard::QueueFull {
                return Ok(Heard::QueueFull);
            }
        }
        Ok(Heard::Nothing)
    }

    async fn hear(&mut self, text: &str) -> Result<Heard, Closed> {
        let Self {
            decoder,
            gaps,
            sink,
            context,
            ..
        } = self;
        context.status.frames.fetch_add(1, Ordering::Relaxed);
        let arrival = Arrival {
            received_at: context.clock.now_us(),
            source: Source::Live,
        };
        let decoded = decoder.decode(text, arrival, &mut |trade| {
            gaps.see(trade, &context.status);
            sink.push(trade);
        });
        match decoded {
            Ok(Frame::Shutdown) => {
                tracing::info!("the venue announces that it will close its connections");
                return Ok(Heard::Shutdown);
            }
            Ok(Frame::Trade | Frame::Answer { .. } | Frame::Other) => {}
            Err(error) => self.hear_broken(text, &error, arrival.received_at),
        }
        if !self.sink.is_full() {
            return self.sink.try_flush().map(|_| Heard::Nothing);
        }
        let flushed = self.sink.flush_within(self.options.stall).await?;
        Ok(if flushed == Flushed::Full {
            Heard::QueueFull
        } else {
            Heard::Nothing
        })
    }

    fn hear_broken(&mut self, text: &str, error: &FrameError, at: i64) {
        tracing::warn!(%error, "frame set aside as undecoded");
        self.context.status.set_error(format!("frame set aside: {error}"), at);
        self.sink.push_undecoded(self.decoder.venue(), text);
    }

    async fn wait_for_room(&mut self) -> Result<(), Closed> {
        self.context.status.stalls.fetch_add(1, Ordering::Relaxed);
        self.context.status.set_state(FeedState::Stalled);
        tracing::warn!(
            patience_ms = self.options.stall.as_millis() as u64,
            "socket closed: the producer's queue stays full"
        );
        tokio::select! {
            biased;
            flushed = self.sink.flush() => flushed,
            () = self.context.shutdown.cancelled() => Ok(()),
        }
    }

    fn open(&self) -> impl Future<Output = Result<Connection, Lost>> + Send + use<> {
        let (plan, decoder) = (self.plan.clone(), Arc::clone(&self.decoder));
        async move { Connection::open(&plan, &decoder).await }
    }

    fn connected(&self) {
        self.context.status.connections.fetch_add(1, Ordering::Relaxed);
        self.context.status.set_state(FeedState::Running);
        tracing::info!(streams = self.plan.streams.len(), "connected");
    }

    fn note(&self, lost: &Lost) {
        if matches!(lost, Lost::Silent { .. }) {
            self.context.status.silences.fetch_add(1, Ordering::Relaxed);
        }
        tracing::warn!(error = %lost, url = self.plan.url, "connection lost");
        self.context
            .status
            .set_error(lost.to_string(), self.context.clock.now_us());
    }

    fn backoff(&self) -> ExponentialBackoff {
        let (min, max) = self.options.reconnect;
        ExponentialBuilder::new()
            .with_min_delay(min)
            .with_max_delay(max)
            .without_max_times()
            .with_jitter()
            .build()
    }
}

/// Waits for the successor; for ever while none is being opened.
async fn opening(successor: &mut Option<Opening>) -> Result<Connection, Lost> {
    match successor {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}
