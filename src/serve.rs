//! `ticklake serve`: the Flight SQL server over a lake. Reads only: where the store refuses its heartbeat, it serves all the same.

use std::sync::Arc;

use anyhow::Context;
use ticklake_flight_server::{ServerOptions, ServerStatus};
use ticklake_sql::Durability;
use tokio::net::TcpListener;

use crate::config::Settings;
use crate::heartbeat::Heartbeat;
use crate::{options, shutdown, signing_key};

#[allow(clippy::print_stdout)]
pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    let options = with_keys(options::server(settings)?, settings)?;
    let lake = options::lake(settings, Durability::Sync)?;
    let shutdown = shutdown::on_signal()?;
    let listener = listen(&settings.serve.flight_addr).await?;
    println!("flight sql on {}", listener.local_addr()?);
    let status = Arc::new(ServerStatus::default());
    let shown = status.clone();
    let heartbeat = Heartbeat::start(&lake, "serve", vec![("serve", Arc::new(move || shown.snapshot()))]);
    let ended = ticklake_flight_server::serve(listener, lake, options, status, shutdown).await;
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
