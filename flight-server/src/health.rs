//! The HTTP face: is it alive, is it ready, and figures for Prometheus. No data leaves here.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::StreamExt;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::identity::digests_equal;
use crate::options::{Figures, Secret};
use crate::snapshot::Snapshots;
use crate::status::ServerStatus;
use crate::transport::{Connection, ConnectionLimits, Tls, accept};

/// What open connections get at shutdown.
const DRAIN: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Face {
    pub snapshots: Snapshots,
    pub status: Arc<ServerStatus>,
    /// Older data than this is not ready to be shown; None: any age is.
    pub max_age: Option<Duration>,
    pub metrics_token: Option<Secret>,
    pub figures: Option<Figures>,
}

pub fn router(face: Face) -> Router {
    Router::new()
        .route("/health/live", get(|| async { "alive\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(face)
}

async fn ready(State(face): State<Face>) -> impl IntoResponse {
    match why_not(&face).await {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn why_not(face: &Face) -> Option<String> {
    let tables = match face.snapshots.all().await {
        Ok(tables) => tables,
        Err(error) => return Some(error.to_string()),
    };
    let max_age_ms = i64::try_from(face.max_age?.as_millis()).unwrap_or(i64::MAX);
    let newest_ms = tables.iter().filter_map(|table| table.committed_ms()).max();
    let now_ms = face.snapshots.lake().clock().now_us() / 1_000;
    match newest_ms {
        None => Some("the lake has no table yet".to_owned()),
        Some(ms) if now_ms - ms > max_age_ms => Some(format!("the newest commit is {} s old", (now_ms - ms) / 1_000)),
        Some(_) => None,
    }
}

async fn metrics(State(face): State<Face>, headers: HeaderMap) -> impl IntoResponse {
    if let Some(token) = &face.metrics_token {
        let wanted = String::from_utf8_lossy(&token.0);
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        if !digests_equal(sent, &wanted) {
            return (
                StatusCode::UNAUTHORIZED,
                HeaderMap::new(),
                "send the metrics token as a bearer\n".to_owned(),
            );
        }
    }
    let mut answer = HeaderMap::new();
    let text = header::HeaderValue::from_static("text/plain; version=0.0.4");
    answer.insert(header::CONTENT_TYPE, text);
    let mut body = face.status.prometheus();
    let now_ms = face.snapshots.lake().clock().now_us() / 1_000;
    body.push_str("# HELP ticklake_table_age_seconds Time since the newest commit that queries see.\n# TYPE ticklake_table_age_seconds gauge\n");
    for table in face.snapshots.known() {
        if let Some(ms) = table.committed_ms() {
            let age = (now_ms - ms).max(0) as f64 / 1_000.0;
            body.push_str(&format!(
                "ticklake_table_age_seconds{{table=\"{}\"}} {age}\n",
                table.name()
            ));
        }
    }
    if let Some(Figures(figures)) = &face.figures {
        body.push_str(&figures().await);
    }
    (StatusCode::OK, answer, body)
}

/// Serves until `stop`.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    limits: ConnectionLimits,
    face: Face,
    stop: CancellationToken,
) {
    if let Ok(addr) = listener.local_addr() {
        tracing::info!(%addr, "serving health and metrics");
    }
    let mut incoming = accept(listener, tls, limits, stop.clone());
    let router = router(face);
    let connections = TaskTracker::new();
    while let Some(accepted) = incoming.next().await {
        if let Ok(connection) = accepted {
            connections.spawn(answer(connection, router.clone(), limits.handshake, stop.clone()));
        }
    }
    connections.close();
    connections.wait().await;
}

/// Answers what is asked on a connection. One that takes longer than `head` to ask, at first or again, is closed.
async fn answer(connection: Connection, router: Router, head: Duration, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head);
    let service = TowerToHyperService::new(router);
    let mut serving = pin!(http.serve_connection(TokioIo::new(connection), service));
    tokio::select! {
        ended = serving.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection of health and metrics ended");
            }
        }
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            let _cut_off = tokio::time::timeout(DRAIN, serving).await;
        }
    }
}
