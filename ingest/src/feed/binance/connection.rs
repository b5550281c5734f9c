//! One WebSocket connection to Binance: opened, subscribed and acknowledged, then read frame by frame under a silence watchdog.
//!
//! Limits (web-socket-streams.md): 5 messages a second to the server, pongs included; 1,024 streams a connection; a ping every 20 s.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use super::super::Arrival;
use super::decode::{Decoder, Frame};
use crate::trade::Source;

pub const MAX_STREAMS: usize = 1_024;
const STREAMS_PER_SUBSCRIBE: usize = 200;
/// Leaves one message a second to pongs.
const SUBSCRIBE_PAUSE: Duration = Duration::from_millis(250);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Frames that may come before the last subscription is acknowledged.
const MAX_EARLY_FRAMES: usize = 65_536;
/// Far above any frame of the streams that are subscribed.
const MAX_FRAME_BYTES: usize = 4 << 20;

/// What to connect to and ask for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// With path and query.
    pub url: String,
    /// `btcusdt@trade`
    pub streams: Vec<String>,
    pub silence: Duration,
}

/// Why a connection is not, or no longer, there.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    #[error("{step} took longer than {} s", limit.as_secs())]
    Timeout { step: &'static str, limit: Duration },
    #[error("no frame for {} s", limit.as_secs_f32())]
    Silent { limit: Duration },
    #[error("closed by the server{0}")]
    Closed(String),
    #[error("subscription refused: {0}")]
    Refused(String),
    #[error("more than {MAX_EARLY_FRAMES} frames before the subscriptions were acknowledged")]
    Flooded,
    #[error("{step}: {source}")]
    Socket {
        step: &'static str,
        #[source]
        source: Box<tungstenite::Error>,
    },
    #[error("TLS set-up: {0}")]
    Tls(#[from] rustls::Error),
}

#[derive(Debug)]
pub struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Read while the subscriptions were being made.
    early: VecDeque<Utf8Bytes>,
    last_frame: Instant,
    silence: Duration,
}

impl Connection {
    /// Connects, subscribes, and returns once every subscription is acknowledged.
    pub async fn open(plan: &Plan, decoder: &Decoder) -> Result<Self, Lost> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES));
        let connecting =
            connect_async_tls_with_config(plan.url.as_str(), Some(config), true, Some(connector(&plan.url)?));
        let (socket, _response) = timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| Lost::Timeout {
                step: "connecting",
                limit: CONNECT_TIMEOUT,
            })?
            .map_err(|source| Lost::Socket {
                step: "connecting",
                source: Box::new(source),
            })?;
        let mut connection = Self {
            socket,
            early: VecDeque::new(),
            last_frame: Instant::now(),
            silence: plan.silence,
        };
        let unanswered = connection.subscribe(plan).await?;
        timeout(ANSWER_TIMEOUT, connection.await_answers(unanswered, decoder))
            .await
            .map_err(|_| Lost::Timeout {
                step: "subscribing",
                limit: ANSWER_TIMEOUT,
            })??;
        Ok(connection)
    }

    async fn subscribe(&mut self, plan: &Plan) -> Result<BTreeSet<u64>, Lost> {
        let mut ids = BTreeSet::new();
        for (id, streams) in (1..).zip(plan.streams.chunks(STREAMS_PER_SUBSCRIBE)) {
            if id > 1 {
                sleep(SUBSCRIBE_PAUSE).await;
            }
            let request = serde_json::json!({ "method": "SUBSCRIBE", "params": streams, "id": id });
            let sent = self.socket.send(Message::text(request.to_string())).await;
            sent.map_err(|source| Lost::Socket {
                step: "subscribing",
                source: Box::new(source),
            })?;
            ids.insert(id);
        }
        Ok(ids)
    }

    async fn await_answers(&mut self, mut unanswered: BTreeSet<u64>, decoder: &Decoder) -> Result<(), Lost> {
        // only answers matter here: trades wait in `early` for the real decoding
        let arrival = Arrival {
            received_at: 0,
            source: Source::Live,
        };
        while !unanswered.is_empty() {
            let text = self.read().await?;
            match decoder.decode(&text, arrival, &mut |_| {}) {
                Ok(Frame::Answer { error: Some(error), .. }) => return Err(Lost::Refused(error)),
                Ok(Frame::Answer {
                    id: Some(id),
                    error: None,
                }) => {
                    unanswered.remove(&id);
                }
                _ if self.early.len() == MAX_EARLY_FRAMES => return Err(Lost::Flooded),
                _ => self.early.push_back(text),
            }
        }
        Ok(())
    }

    /// The next text frame. Cancel-safe; pings are answered on the way and count as life.
    pub async fn next(&mut self) -> Result<Utf8Bytes, Lost> {
        match self.early.pop_front() {
            Some(text) => Ok(text),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Result<Utf8Bytes, Lost> {
        loop {
            let message = timeout_at(self.last_frame + self.silence, self.socket.next())
                .await
                .map_err(|_| Lost::Silent { limit: self.silence })?
                .ok_or_else(|| Lost::Closed(String::new()))?
                .map_err(|source| Lost::Socket {
                    step: "reading",
                    source: Box::new(source),
                })?;
            self.last_frame = Instant::now();
            match message {
                Message::Text(text) => return Ok(text),
                Message::Close(frame) => {
                    return Err(Lost::Closed(
                        frame.map(|frame| format!(": {frame}")).unwrap_or_default(),
                    ));
                }
                // tungstenite queues the pong and sends it with the next read
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Says goodbye and does not insist.
    pub async fn close(mut self) {
        let _ = timeout(CLOSE_TIMEOUT, self.socket.close(None)).await;
    }
}

/// TLS with ring and the Mozilla roots, or none for `ws://`.
fn connector(url: &str) -> Result<Connector, Lost> {
    if url.starts_with("ws://") {
        return Ok(Connector::Plain);
    }
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Connector::Rustls(Arc::new(config)))
}
