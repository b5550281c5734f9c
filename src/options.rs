//! From settings to what the crates take: the only place where a key of the configuration meets an option of a crate.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ticklake_flight_server::{Secret, ServerOptions, TlsFiles};
use ticklake_ingest::bronze::BronzeOptions;
use ticklake_ingest::feed::{BinanceOptions, FeedOptions, ReplayOptions, SimOptions};
use ticklake_ingest::kafka::KafkaOptions;
use ticklake_ingest::produce::ProduceOptions;
use ticklake_sql::{Clock, Durability, Lake, LakeOptions, Storage, TableName};

use crate::config::Settings;
use crate::config::keys::nearest;
use crate::config::settings::{DurabilitySetting, ServeSettings};
use crate::config::units::Size;
use crate::exit::{Usage, sentence};
use crate::maintenance::{self, Replaced};
use crate::users;

/// Where roles look for a broker when nothing is configured.
const DEFAULT_BROKER: &str = "127.0.0.1:9092";
/// Of a file's parts all but the last.
const LEAST_PART_BYTES: u64 = 5 << 20;
/// A signing key shorter than its hash is weaker than it.
const MIN_KEY_BYTES: usize = 32;

/// `auto_durability`: what `durability = "auto"` means in this role.
pub fn lake(settings: &Settings, auto_durability: Durability) -> anyhow::Result<Lake> {
    lake_at(&settings.lake_uri(), settings, auto_durability)
}

/// A lake at another address with the same settings: a backup.
pub fn lake_at(uri: &str, settings: &Settings, auto_durability: Durability) -> anyhow::Result<Lake> {
    open_lake(uri, settings, auto_durability, maintenance::ON_A_SERVER)
}

/// A lake of which this role reads next to nothing: its memory keeps none of what it writes.
pub fn lake_to_write(settings: &Settings, auto_durability: Durability) -> anyhow::Result<Lake> {
    let mut settings = settings.clone();
    settings.lake.recent_files = Size(0);
    lake(&settings, auto_durability)
}

/// The lake of `up`, its own or one that it shares.
pub fn lake_of_up(settings: &Settings, replaced: Replaced) -> anyhow::Result<Lake> {
    open_lake(&settings.lake_uri(), settings, Durability::Os, replaced)
}

fn open_lake(uri: &str, settings: &Settings, auto_durability: Durability, replaced: Replaced) -> anyhow::Result<Lake> {
    let durability = match settings.lake.durability {
        DurabilitySetting::Auto => auto_durability,
        DurabilitySetting::Sync => Durability::Sync,
        DurabilitySetting::Os => Durability::Os,
    };
    let options = LakeOptions {
        storage: storage(settings)?,
        durability,
        partition_columns: partition_columns(&settings.lake.partition_columns)?,
        history: maintenance::history(settings, replaced)?,
        recent_bytes: settings.lake.recent_files.0,
    };
    Ok(Lake::open(uri, options, Clock::system())?)
}

fn partition_columns(settings: &BTreeMap<String, String>) -> anyhow::Result<BTreeMap<TableName, Vec<String>>> {
    let columns = |(table, columns): (&String, &String)| {
        let wrong = |why: String| Usage(format!("lake.partition_columns.\"{table}\": {why}"));
        let name = TableName::parse(table).map_err(|error| wrong(error.to_string()))?;
        let columns: Vec<String> = columns.split(',').map(|column| column.trim().to_owned()).collect();
        let is_ours = name == TableName::silver_trades() || name.ohlcv_interval().is_some();
        if !is_ours || (columns != ["date"] && columns != ["symbol", "date"]) {
            return Err(wrong(
                "silver.trades and gold.ohlcv_<interval> are partitioned by \"date\" or \"symbol,date\"; write one of these".into(),
            ));
        }
        Ok((name, columns))
    };
    Ok(settings.iter().map(columns).collect::<Result<_, Usage>>()?)
}

/// The `[storage]` keys by object_store's names, each for the kind of store that it belongs to. The endpoint is that of the lake's own.
pub fn storage(settings: &Settings) -> anyhow::Result<Storage> {
    let lake = settings.lake_uri();
    let settings = &settings.storage;
    if settings.part_size.0 < LEAST_PART_BYTES {
        return Err(Usage(format!(
            "storage.part_size is {} bytes; stores take no smaller parts than 5MiB",
            settings.part_size.0
        ))
        .into());
    }
    let endpoint = match lake.split_once("://") {
        Some(("az" | "azure" | "abfs" | "abfss", _)) => "azure_storage_endpoint",
        Some(("gs", _)) => "google_base_url",
        _ => "aws_endpoint",
    };
    let mut keys = settings.options.clone();
    let named = [
        (endpoint, &settings.endpoint),
        ("aws_region", &settings.region),
        ("aws_access_key_id", &settings.access_key_id),
        ("aws_secret_access_key", &settings.secret_access_key),
        ("aws_session_token", &settings.session_token),
        ("azure_storage_account_name", &settings.account),
        ("azure_storage_account_key", &settings.account_key),
        ("azure_storage_sas_token", &settings.sas_token),
        ("google_application_credentials", &settings.credentials_file),
    ];
    for (key, value) in named {
        if !value.is_empty() {
            keys.insert(key.to_owned(), value.clone());
        }
    }
    if settings.allow_http || settings.endpoint.starts_with("http://") {
        keys.insert("allow_http".to_owned(), "true".to_owned());
    }
    Ok(Storage {
        keys,
        connect_timeout: settings.connect_timeout.0,
        request_timeout: settings.request_timeout.0,
        max_retries: usize::try_from(settings.max_retries)?,
        retry_timeout: settings.retry_timeout.0,
        multipart_bytes: usize::try_from(settings.multipart_above.0)?,
        part_bytes: usize::try_from(settings.part_size.0)?,
    })
}

pub fn kafka(settings: &Settings) -> KafkaOptions {
    let configured = &settings.kafka.bootstrap_servers;
    KafkaOptions {
        bootstrap_servers: if configured.is_empty() {
            DEFAULT_BROKER.to_owned()
        } else {
            configured.clone()
        },
        librdkafka: settings.kafka.librdkafka.clone(),
    }
}

pub fn bronze(settings: &Settings, until_latest: bool) -> anyhow::Result<BronzeOptions> {
    let ingest = &settings.ingest;
    Ok(BronzeOptions {
        kafka: kafka(settings),
        topic: settings.kafka.topic.clone(),
        group: settings.kafka.group.clone(),
        instance_id: (!ingest.instance_id.is_empty()).then(|| ingest.instance_id.clone()),
        commit_rows: u64::from(ingest.commit_rows),
        commit_bytes: ingest.commit_bytes.0,
        commit_age: ingest.commit_age.0,
        on_lost_position: ingest
            .on_lost_position
            .parse()
            .map_err(|error: ticklake_ingest::Error| Usage(error.to_string()))?,
        until_latest,
        ..BronzeOptions::default()
    })
}

/// Feeds by the name that a user types.
const FEEDS: [&str; 3] = ["sim", "binance", "replay=FILE"];

pub fn feed(settings: &Settings) -> anyhow::Result<FeedOptions> {
    let feed = &settings.feed;
    let (symbols, name) = (feed.symbols.clone(), feed.name.as_str());
    let options = match name.split_once('=') {
        Some(("replay", file)) => FeedOptions::Replay(ReplayOptions {
            symbols,
            real_time: feed.real_time,
            ..ReplayOptions::new(file)
        }),
        None if name == "sim" => FeedOptions::Sim(SimOptions {
            symbols,
            rate: feed.rate,
            seed: feed.seed,
            ..SimOptions::default()
        }),
        None if name == "binance" => {
            let defaults = BinanceOptions::default();
            FeedOptions::Binance(BinanceOptions {
                symbols: if symbols.is_empty() {
                    defaults.symbols.clone()
                } else {
                    symbols
                },
                ws_url: if feed.url.is_empty() {
                    defaults.ws_url.clone()
                } else {
                    feed.url.clone()
                },
                ..defaults
            })
        }
        _ => {
            let near = nearest(name, FEEDS.into_iter())
                .map(|near| format!("; did you mean {near}?"))
                .unwrap_or_default();
            return Err(Usage(format!(
                "feed.name {name:?} is no feed; there are {}{near}",
                FEEDS.join(", ")
            ))
            .into());
        }
    };
    options.check().map_err(|error| Usage(sentence(&error.into())))?;
    Ok(options)
}

pub fn produce(settings: &Settings) -> anyhow::Result<ProduceOptions> {
    let options = ProduceOptions {
        kafka: kafka(settings),
        topic: settings.kafka.topic.clone(),
        partitions: settings.kafka.partitions,
        feed: feed(settings)?,
        ..ProduceOptions::default()
    };
    options.check().map_err(|error| Usage(sentence(&error.into())))?;
    Ok(options)
}

/// Without the signing keys: those are read, or made, when the server starts.
pub fn server(settings: &Settings) -> anyhow::Result<ServerOptions> {
    let serve = &settings.serve;
    let key = serve.signing_key.as_bytes();
    if !key.is_empty() && key.len() < MIN_KEY_BYTES {
        return Err(Usage(format!(
            "serve.signing_key has {} characters; give it {MIN_KEY_BYTES} or more",
            key.len()
        ))
        .into());
    }
    Ok(ServerOptions {
        insecure: serve.insecure,
        users_file: Some(users::path(settings)).filter(|path| path.exists() || !serve.users_file.is_empty()),
        tls: tls(serve)?,
        bearer_lifetime: serve.login_lifetime.0,
        ready_max_age: Some(serve.ready_max_age.0).filter(|age| !age.is_zero()),
        metrics_token: Some(Secret(serve.metrics_token.clone().into_bytes())).filter(|token| !token.0.is_empty()),
        memory_bytes: usize::try_from(serve.memory.0)?,
        spill_bytes: serve.spill.0,
        spill_dir: path(&serve.spill_dir),
        query_threads: usize::try_from(serve.query_threads)?,
        max_running: usize::try_from(serve.max_running.max(1))?,
        max_queued: usize::try_from(serve.max_queued)?,
        max_running_per_user: usize::try_from(serve.max_running_per_user.max(1))?,
        max_queued_per_user: usize::try_from(serve.max_queued_per_user)?,
        query_timeout: serve.query_timeout.0,
        max_rows: or_unbounded(serve.max_rows),
        max_bytes: or_unbounded(serve.max_bytes.0),
        max_statement_bytes: usize::try_from(serve.max_statement.0)?,
        reader_timeout: serve.reader_timeout.0,
        idle_batch_every: serve.idle_batch_every.0,
        max_connections: usize::try_from(serve.max_connections.max(1))?,
        handshake_timeout: serve.handshake_timeout.0,
        drain_timeout: serve.drain_timeout.0,
        redact_sql: serve.redact_sql,
        ..ServerOptions::default()
    })
}

fn or_unbounded(most: u64) -> u64 {
    if most == 0 { u64::MAX } else { most }
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

fn tls(serve: &ServeSettings) -> anyhow::Result<Option<TlsFiles>> {
    match (path(&serve.tls_cert), path(&serve.tls_key)) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
            certificate,
            key,
            client_ca: path(&serve.tls_client_ca),
        })),
        (None, None) if serve.tls_client_ca.is_empty() => Ok(None),
        _ => Err(Usage(
            "serve.tls_cert and serve.tls_key belong together, and serve.tls_client_ca needs both; set them all".into(),
        )
        .into()),
    }
}
