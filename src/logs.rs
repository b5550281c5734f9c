//! Log lines on stderr, as text or JSON. stdout belongs to results.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::settings::{LogFormat, LogSettings};
use crate::exit::Usage;

/// Libraries speak only where something is wrong. The embedded broker's crates log every closed connection as an error.
const QUIET: &str =
    "warn,tansu_broker=off,tansu_storage=off,tansu_service=off,tansu_sans_io=off,librdkafka=off,rdkafka=off";
/// What the roles add: one event a commit or a refresh. `up` leaves the terminal to its first block.
const EVENTS: &str =
    "ticklake=info,ticklake_sql=info,ticklake_ingest=info,ticklake_engine=info,ticklake_flight_server=info";

/// Starts logging once for the process. A filter in the settings replaces the default one; a bad filter is a configuration error.
pub fn init(settings: &LogSettings, events: bool) -> anyhow::Result<()> {
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
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => registry
            .with(
                lines
                    .compact()
                    .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())),
            )
            .try_init()?,
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}
