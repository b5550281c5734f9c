//! `ticklake serve`: the Flight SQL server over a lake. Reads only, so it asks nothing of the store but to answer.

use std::sync::Arc;

use anyhow::Context;
use ticklake_flight_server::ServerStatus;
use ticklake_sql::Durability;
use tokio::net::TcpListener;

use crate::config::Settings;
use crate::{options, shutdown};

#[allow(clippy::print_stdout)]
pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    let options = options::server(settings)?;
    let lake = options::lake(settings, Durability::Sync)?;
    let shutdown = shutdown::on_signal()?;
    let listener = listen(&settings.serve.flight_addr).await?;
    println!("flight sql on {}", listener.local_addr()?);
    let status = Arc::new(ServerStatus::default());
    ticklake_flight_server::serve(listener, lake, options, status, shutdown).await?;
    Ok(())
}

/// The listener, or a sentence that names the flag.
pub async fn listen(addr: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr)
        .await
        .with_context(|| format!("cannot listen for Flight SQL clients on {addr}; choose another --flight-addr"))
}
