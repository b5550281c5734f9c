//! Accepts connections and serves until told to stop; then lets running streams end, within a bound.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use ticklake_sql::Lake;
use ticklake_sql::error::chain;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;

use crate::arriving::ArrivalLayer;
use crate::engine::{Engine, Runtimes};
use crate::error::{Error, Result};
use crate::followed::Alarm;
use crate::health;
use crate::identity::{Directory, Gate, GateLayer};
use crate::options::ServerOptions;
use crate::service::Service;
use crate::snapshot::Snapshots;
use crate::status::ServerStatus;
use crate::ticket::Signer;
use crate::trailers::TimesLayer;
use crate::transport::{ConnectionLimits, HTTP_1, Opening, Tls, accept};
use crate::wire::Wire;

/// Parameter batches come in one message; answers are split before they get near it.
const MAX_REQUEST_BYTES: u32 = 16 << 20;
/// Of all requests whose messages have come in part.
const MAX_ARRIVING_BYTES: usize = 256 << 20;
/// Address space, not memory: trees of statements and plans are walked by recursion (`bounds` says how deep).
const QUERY_STACK_BYTES: usize = 64 << 20;
/// For what reads no rows: one of them parses the long statements.
const LIGHT_THREADS: usize = 2;
/// Calls of one connection at once.
const MAX_STREAMS: u32 = 256;

/// Where a server listens.
pub struct Listeners {
    pub flight: TcpListener,
    /// Health and metrics.
    pub http: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(flight: TcpListener) -> Self {
        Self { flight, http: None }
    }
}

/// Serves the lake's tables until `shutdown`, then drains. Reads only: needs no write access.
pub async fn serve(
    listeners: impl Into<Listeners>,
    lake: Lake,
    options: ServerOptions,
    status: Arc<ServerStatus>,
    shutdown: CancellationToken,
) -> Result<()> {
    let Listeners { flight: listener, http } = listeners.into();
    let addr = address(&listener)?;
    check_exposure(addr, &options)?;
    if let Some(http) = &http {
        check_exposure(address(http)?, &options)?;
    }
    let (drain_timeout, keepalive) = (options.drain_timeout, options.keepalive);
    let limits = |opening, log_in| ConnectionLimits {
        open: options.max_connections,
        handshake: options.handshake_timeout,
        log_in,
        opening,
    };
    let log_in = options.users_file.as_ref().map(|_| options.log_in_timeout);
    let (flight_limits, http_limits) = (limits(Opening::Http2, log_in), limits(Opening::Http1, None));
    let arrival = ArrivalLayer::new(options.reader_timeout, MAX_REQUEST_BYTES, MAX_ARRIVING_BYTES);
    let followers = TaskTracker::new();
    let stop_followers = CancellationToken::new();
    let _stop_followers = stop_followers.clone().drop_guard();
    let stop_queries = CancellationToken::new();
    let queries = QueryRuntime::new("ticklake-query", options.query_threads)?;
    let light = QueryRuntime::new("ticklake-light", LIGHT_THREADS)?;

    let keys = options
        .signing_key
        .iter()
        .chain(&options.previous_signing_keys)
        .map(|k| k.0.clone())
        .collect();
    let signer = Signer::new(keys, lake.clock().clone())?;
    let directory = Directory::open(options.users_file.as_deref())?;
    let tls = options.tls.clone().map(Tls::load).transpose()?;
    let clock = lake.clock().clone();
    let alarm = |name| Alarm {
        name,
        status: status.clone(),
        clock: clock.clone(),
    };
    followers.spawn(directory.clone().follow(alarm("users"), stop_followers.clone()));
    if let Some(tls) = tls.clone() {
        followers.spawn(tls.follow(alarm("certificates"), stop_followers.clone()));
    }
    let gate = Arc::new(Gate::new(directory, signer.clone(), clock, options.bearer_lifetime)?);
    let snapshots = Snapshots::new(
        lake,
        &options,
        status.clone(),
        followers.clone(),
        stop_followers.clone(),
    );
    let face = health::Face {
        snapshots: snapshots.clone(),
        status: status.clone(),
        max_age: options.ready_max_age,
        metrics_token: options.metrics_token.clone(),
        figures: options.figures.clone(),
    };
    let engine = Engine::new(
        snapshots,
        signer,
        options,
        status.clone(),
        Runtimes {
            queries: queries.handle(),
            light: light.handle(),
        },
        stop_queries.clone(),
    )?;
    let service = Wire(Service::new(Arc::new(engine), gate.clone())?);
    let flight = FlightServiceServer::new(service)
        .max_decoding_message_size(MAX_REQUEST_BYTES as usize)
        .max_encoding_message_size(usize::MAX);

    status.listening(addr.to_string());
    tracing::info!(%addr, "serving flight sql");
    let stop_accepting = shutdown.clone();
    if let Some(listener) = http {
        let tls = tls.as_ref().map(|tls| tls.speaking(HTTP_1));
        followers.spawn(health::serve(listener, tls, http_limits, face, stop_followers.clone()));
    }
    let incoming = accept(listener, tls, flight_limits, shutdown.clone());
    let server = Server::builder()
        .http2_keepalive_interval(Some(keepalive))
        .http2_keepalive_timeout(Some(keepalive))
        .max_concurrent_streams(MAX_STREAMS)
        .layer(GateLayer {
            gate,
            status: status.clone(),
        })
        .layer(arrival)
        .layer(TimesLayer)
        .add_service(flight)
        .serve_with_incoming_shutdown(incoming, async move { stop_accepting.cancelled().await });
    let drained = async {
        shutdown.cancelled().await;
        tokio::time::sleep(drain_timeout).await;
        // What still runs gets a typed error, and a moment to send it.
        stop_queries.cancel();
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let outcome = tokio::select! {
        outcome = server => outcome.map_err(|e| Error::Internal(format!("the server ended: {}", chain(&e)))),
        () = drained => Ok(()),
    };
    stop_queries.cancel();
    stop_followers.cancel();
    followers.close();
    followers.wait().await;
    tracing::info!(%addr, "stopped serving");
    outcome
}

fn address(listener: &TcpListener) -> Result<SocketAddr> {
    let addr = listener.local_addr();
    addr.map_err(|e| Error::Config(format!("the listener has no address: {e}")))
}

/// Nobody is let in by accident: without users only on loopback, in plain text elsewhere only when told to.
fn check_exposure(addr: SocketAddr, options: &ServerOptions) -> Result<()> {
    if addr.ip().is_loopback() {
        return Ok(());
    }
    if options.users_file.is_none() {
        return Err(Error::Config(format!(
            "refusing to serve {addr} without log-in; make users with `ticklake user add` and name the --users-file, or bind to 127.0.0.1"
        )));
    }
    if options.tls.is_none() && !options.insecure {
        return Err(Error::Config(format!(
            "refusing to serve {addr} unencrypted; give --tls-cert and --tls-key, or say --insecure where something else encrypts"
        )));
    }
    if options.tls.is_none() {
        tracing::warn!(%addr, "serving unencrypted: passwords and data can be read on the way");
    }
    Ok(())
}

/// Where queries compute, apart from the runtime that serves the network.
struct QueryRuntime(Option<Runtime>);

impl QueryRuntime {
    fn new(name: &str, threads: usize) -> Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder
            .thread_name(name)
            .thread_stack_size(QUERY_STACK_BYTES)
            .enable_all();
        if threads > 0 {
            builder.worker_threads(threads);
        }
        let runtime = builder
            .build()
            .map_err(|e| Error::Internal(format!("query threads cannot start: {e}")))?;
        Ok(Self(Some(runtime)))
    }

    fn handle(&self) -> tokio::runtime::Handle {
        match &self.0 {
            Some(runtime) => runtime.handle().clone(),
            None => tokio::runtime::Handle::current(),
        }
    }
}

impl Drop for QueryRuntime {
    fn drop(&mut self) {
        // A plain drop would block, which an async context must not.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
