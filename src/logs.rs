//! Log lines on stderr, as text or JSON. stdout belongs to results.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::settings::{LogFormat, LogSettings};

/// Our own crates speak; libraries only where something is wrong. The embedded broker's crates log every closed connection as an error.
const DEFAULT_FILTER: &str = "warn,ticklake=info,ticklake_sql=info,ticklake_ingest=info,ticklake_engine=info,ticklake_flight_server=info,\
     tansu_broker=off,tansu_storage=off,tansu_service=off,tansu_sans_io=off,librdkafka=off,rdkafka=off";

/// Starts logging once for the process. A bad filter is a configuration error.
pub fn init(settings: &LogSettings) -> anyhow::Result<()> {
    let text = if settings.filter.is_empty() { DEFAULT_FILTER } else { &settings.filter };
    let filter = EnvFilter::try_new(text).map_err(|error| anyhow::anyhow!("log.filter {text:?}: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => registry.with(lines.compact().with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))).try_init()?,
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}
