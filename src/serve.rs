//! `ticklake serve`: the Flight SQL server over a lake. Reads only: where the store refuses its heartbeat, it serves all the same.

use std::sync::Arc;

use anyhow::Context;
use ticklake_flight_server::{Listeners, ServerOptions, ServerStatus};
use ticklake_sql::Durability;
use tokio::net::TcpListener;

use crate::config::Settings;
use crate::config::settings::ServeSettings;
use crate::heartbeat::Heartbeat;
use crate::{options, shutdown, signing_key, store_figures};

#[allow(clippy::print_stdout)]
pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    let options = with_keys(options::server(settings)?, settings)?;
    let lake = options::lake(settings, Durability::Sync)?;
    let options = ServerOptions {
        figures: Some(store_figures::figures(&lake, "serve")),
        ..options
    };
    let shutdown = shutdown::on_signal()?;
    let listeners = Listeners {
        flight: listen(&settings.serve.flight_addr).await?,
        http: listen_http(settings).await?,
    };
    println!("flight sql on {}", listeners.flight.local_addr()?);
    if let Some(http) = &listeners.http {
        println!("health and metrics on {}", http.local_addr()?);
    }
    let status = Arc::new(ServerStatus::default());
    let shown = status.clone();
    let heartbeat = Heartbeat::start(&lake, "serve", vec![("serve", Arc::new(move || shown.snapshot()))]);
    let ended = ticklake_flight_server::serve(listeners, lake, options, status, shutdown).await;
    heartbeat.stop().await;
    Ok(ended?)
}

/// `options` with the keys that sign tickets and log-ins, the newest first.
pub fn with_keys(options: ServerOptions, settings: &Settings) -> anyhow::Result<ServerOptions> {
    let mut keys = signing_key::keys(settings)?.into_iter();
    Ok(ServerOptions {
        signing_key: keys.next(),
        previous_signing_keys: keys.collect(),
        ..options
    })
}

/// The listener, or a sentence that names the flag.
pub async fn listen(addr: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr)
        .await
        .with_context(|| format!("cannot listen for Flight SQL clients on {addr}; choose another --flight-addr"))
}

/// The listener of health and metrics. Its default address may be taken by anything: then it is left out, and said.
pub async fn listen_http(settings: &Settings) -> anyhow::Result<Option<TcpListener>> {
    let addr = &settings.serve.http_addr;
    if addr.is_empty() {
        return Ok(None);
    }
    match TcpListener::bind(addr).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if *addr == ServeSettings::default().http_addr => {
            tracing::warn!(addr, %error, "no health and metrics: the address is taken; choose a --http-addr");
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot listen for health and metrics on {addr}; choose another --http-addr, or none: --http-addr ''"
            )
        }),
    }
}
