//! Log lines on stderr, as text or JSON. stdout belongs to results.

use std::sync::Mutex;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::audit_log::{self, AuditLog};
use crate::config::settings::{LogFormat, LogSettings};
use crate::exit::Usage;

/// Libraries speak only where something is wrong. The embedded broker's crates log every closed connection as an error.
const QUIET: &str =
    "warn,tansu_broker=off,tansu_storage=off,tansu_service=off,tansu_sans_io=off,librdkafka=off,rdkafka=off";
/// What the roles add: one event a commit or a refresh. `up` leaves the terminal to its first block.
const EVENTS: &str =
    "ticklake=info,ticklake_sql=info,ticklake_ingest=info,ticklake_engine=info,ticklake_flight_server=info";

/// Starts logging once for the process, and audit lines into `audit` besides. A filter in the settings replaces the default one; a bad filter is a configuration error.
pub fn init(settings: &LogSettings, events: bool, audit: Option<AuditLog>) -> anyhow::Result<()> {
    let default = if events {
        format!("{QUIET},{EVENTS}")
    } else {
        QUIET.to_owned()
    };
    let text = if settings.filter.is_empty() {
        &default
    } else {
        &settings.filter
    };
    let filter = EnvFilter::try_new(text)
        .map_err(|error| Usage(format!("log.filter {text:?} is no tracing filter: {error}")))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.format {
        LogFormat::Text => lines
            .compact()
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let audit = audit.map(|file| {
        let lines = tracing_subscriber::fmt::layer().json().flatten_event(true);
        lines
            .with_writer(Mutex::new(file))
            .with_filter(Targets::new().with_target(audit_log::TARGET, Level::INFO))
    });
    tracing_subscriber::registry().with(lines).with(audit).try_init()?;
    Ok(())
}
