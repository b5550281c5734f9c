//! Every key of the configuration with its default. An empty text means "not set".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::units::{Size, Span};

const DAY_S: u64 = 24 * 3_600;
/// What suits the role.
pub const AUTO: &str = "auto";

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub lake: LakeSettings,
    pub storage: StorageSettings,
    pub kafka: KafkaSettings,
    pub feed: FeedSettings,
    pub ingest: IngestSettings,
    pub silver: SilverSettings,
    pub jobs: JobSettings,
    pub optimize: OptimizeSettings,
    pub vacuum: VacuumSettings,
    pub retention: RetentionSettings,
    pub parity: ParitySettings,
    pub serve: ServeSettings,
    pub query: QuerySettings,
    pub up: UpSettings,
    pub log: LogSettings,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LakeSettings {
    /// A folder or `s3://bucket/prefix`; empty: `<up.data_dir>/lake`.
    pub uri: String,
    pub durability: DurabilitySetting,
    /// Table -> partition columns, separated by commas, of silver.trades and gold.ohlcv_*: `"silver.trades" = "symbol,date"`. Counts when the table is
    /// created, and not afterwards; `date` where it is not named.
    pub partition_columns: BTreeMap<String, String>,
}

/// How local writes are made to last: `auto` is `os` in `up` and `sync` in every other role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DurabilitySetting {
    #[default]
    Auto,
    Sync,
    Os,
}

/// The object store of an `s3://` lake. What is empty comes from the usual `AWS_*` variables.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageSettings {
    pub endpoint: String,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
    pub allow_http: bool,
    /// Further object_store keys, passed on as they stand.
    pub options: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// `host:port,...`; empty: the embedded broker in `up`, 127.0.0.1:9092 elsewhere.
    pub bootstrap_servers: String,
    pub topic: String,
    /// Partitions of the topic where it has to be created.
    pub partitions: i32,
    pub group: String,
    /// Any librdkafka option, passed on as it stands.
    pub librdkafka: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedSettings {
    /// `sim`, `binance` or `replay=FILE`.
    pub name: String,
    /// Empty: what the feed has by default.
    pub symbols: Vec<String>,
    /// Simulated trades a second, 1 to 1,000,000.
    pub rate: u32,
    /// The same seed makes the same simulated market.
    pub seed: u64,
    /// Address of the venue's stream; empty: the venue's own.
    pub url: String,
    /// A replay keeps the recorded distances in time.
    pub real_time: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestSettings {
    /// Static member name of this instance; empty: one instance reads every partition.
    pub instance_id: String,
    /// A commit happens at the first of these three.
    pub commit_rows: u32,
    pub commit_bytes: Size,
    pub commit_age: Span,
    /// `stop`, `earliest`, `latest` or `offset=N`.
    pub on_lost_position: String,
}

/// The range outside which a trade's time is taken for an error, and the trade set aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SilverSettings {
    /// First date, UTC, `YYYY-MM-DD`.
    pub earliest: String,
    /// How far a trade may lie after its own arrival.
    pub ts_ahead: Span,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSettings {
    /// Each schedule is an interval ("1s") or a cron expression, in UTC ("*/5 * * * *") or a named zone ("TZ=America/New_York 0 17 * * *").
    pub silver: String,
    pub gold: String,
    pub checkpoint: String,
    /// Empty: the job does not run.
    pub optimize: String,
    /// `auto`: every day, every hour where `up` keeps its own lake.
    pub vacuum: String,
    /// Off until set: rows are kept for ever.
    pub retention: String,
    /// The statements of `sql/checks/`; empty: the job does not run.
    pub checks: String,
    /// Our bars against the candles that `[parity]` names; empty: the job does not run.
    pub parity: String,
    /// A due time is put off by a random part of this: many processes on one lake then do not start at once.
    pub jitter: Span,
    /// Job -> time after which a run is stopped and started afresh: `gold-1m = "10m"`. An hour, twelve for optimize, vacuum and retention.
    pub timeouts: BTreeMap<String, String>,
    /// A run that failed with what may pass is tried again after this, then after twice as long, and so on up to the second.
    pub retry_delay: Span,
    pub retry_delay_max: Span,
    /// A process that is not heard of for so long loses its jobs to another that runs on the same lake.
    pub lease: Span,
    /// How long `system.jobs` keeps what the jobs did.
    pub history: Span,
    /// Bars to keep: `gold.ohlcv_<interval>`, with s, m, h or d, any that divides a day.
    pub intervals: Vec<String>,
    /// Earlier states of bars that `gold.ohlcv_revisions` keeps: `closed` (corrections of closed bars), `all` or `none`.
    pub revisions: RevisionsSetting,
    /// A bar is closed once its venue's newest trade lies this far past its end.
    pub allowed_lateness: Span,
    /// Venue -> kind of trade that its bars are made of (`trade` where none is named, or `agg`): one kind a venue, for they repeat each other.
    pub kinds: BTreeMap<String, String>,
    /// Venue -> rule that says which of its trades set open, high, low and close (the others count for volume only): one of `sql/prices/`, the path of a
    /// `.sql` file, or `all`. A venue that is not named: all.
    pub prices: BTreeMap<String, String>,
    /// Venue -> session that its daily bars keep, `<zone> HH:MM-HH:MM`, or `utc`. What is traded outside of it is in no daily bar. A venue that is not
    /// named: days in UTC.
    pub sessions: BTreeMap<String, String>,
}

/// How small files are merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizeSettings {
    /// Size of a merged file; inputs and output of a merge are held in memory, encoded.
    pub target_size: Size,
    /// Younger files are left alone.
    pub min_age: Span,
    /// Folder of spill files; empty: the system's temporary folder.
    pub spill_dir: String,
}

/// When files that no query can reach any more are deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VacuumSettings {
    /// Versions of this age can still be read. `auto`: five days, two hours where `up` keeps its own lake.
    pub time_travel: String,
    /// Time between two full listings, which find what killed writers left behind.
    pub full_every: Span,
}

/// How long rows stay, whole days at a time. Counts where `jobs.retention` is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// bronze.
    pub raw: Span,
    /// gold.
    pub bars: Span,
    /// Table -> time, over the two above: `"silver.trades" = "365d"`. Silver keeps its rows for ever where it is not named.
    pub tables: BTreeMap<String, String>,
}

/// What the job `parity` compares. Counts where `jobs.parity` is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParitySettings {
    /// `[[parity.candles]]`, one a series.
    pub candles: Vec<CandlesSettings>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CandlesSettings {
    /// A file or an http(s) address, read again at each run.
    pub source: String,
    pub venue: String,
    pub symbol: String,
    /// Width of the candles, as in the gold table's name.
    #[serde(default = "one_minute")]
    pub interval: String,
}

fn one_minute() -> String {
    "1m".to_owned()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevisionsSetting {
    #[default]
    Closed,
    All,
    None,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeSettings {
    pub flight_addr: String,
    /// Health and metrics; empty: none.
    pub http_addr: String,
    /// Older data is not ready, as `/health/ready` tells it; "0s": any age is.
    pub ready_max_age: Span,
    /// Bearer that `/metrics` asks for; empty: none.
    pub metrics_token: String,
    /// Serve plain text on an address that is not loopback, where something else encrypts.
    pub insecure: bool,
    /// Who may log in, as `ticklake user` writes it; empty: `users.toml` in the data folder where it is there, else everyone, on
    /// loopback only.
    pub users_file: String,
    /// PEM files; both empty: no encryption.
    pub tls_cert: String,
    pub tls_key: String,
    /// Authority of client certificates, which name their user; empty: none are asked for.
    pub tls_client_ca: String,
    /// Signs tickets and log-ins, 32 characters or more; several replicas share it. Empty: the key file says.
    pub signing_key: String,
    /// A key a line in hex, the first signs; empty: `server.key` in the data folder, made where it is missing.
    pub signing_key_file: String,
    /// How long a log-in lasts.
    pub login_lifetime: Span,
    /// Memory that all queries together may hold before they spill.
    pub memory: Size,
    /// Disk that spilled data may take.
    pub spill: Size,
    /// Folder for spilled data; empty: the system's.
    pub spill_dir: String,
    /// Threads that run queries; 0: as many as there are cores.
    pub query_threads: u32,
    /// Queries that run at once; more wait, and above `max_queued` they are refused.
    pub max_running: u32,
    pub max_queued: u32,
    /// The same of one user, where there are users.
    pub max_running_per_user: u32,
    pub max_queued_per_user: u32,
    /// From the call to the last byte of the result; a client may ask for less.
    pub query_timeout: Span,
    /// Rows that one result may have, and bytes as they are sent; 0: no bound. More is an error, never a shorter result.
    pub max_rows: u64,
    pub max_bytes: Size,
    /// Bytes of a statement's text.
    pub max_statement: Size,
    /// A client that takes nothing of its result for this long is cut off.
    pub reader_timeout: Span,
    /// Open connections of each listener; more wait.
    pub max_connections: u32,
    /// What a connection may take until its first byte, or the end of its TLS handshake.
    pub handshake_timeout: Span,
    /// What running queries get when the server stops.
    pub drain_timeout: Span,
    /// Statements stand in the log and in `system.queries` as their digest only.
    pub redact_sql: bool,
}

/// Where `ticklake query` goes and as whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuerySettings {
    /// `HOST:PORT`, or `grpc+tls://HOST:PORT`.
    pub server: String,
    /// Authority of the server's certificate, PEM.
    pub tls_ca: String,
    pub token: String,
    pub user: String,
    pub password: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpSettings {
    pub data_dir: String,
    pub kafka_addr: String,
    /// The embedded broker forgets records of this age once bronze holds them.
    pub kafka_retention: Span,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    pub format: LogFormat,
    /// A tracing filter, e.g. `info,ticklake_ingest=debug`.
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Settings {
    /// The lake's address, whichever way it was given.
    pub fn lake_uri(&self) -> String {
        if self.lake.uri.is_empty() {
            format!("{}/lake", self.up.data_dir.trim_end_matches('/'))
        } else {
            self.lake.uri.clone()
        }
    }
}

impl Default for LakeSettings {
    fn default() -> Self {
        Self {
            uri: String::new(),
            durability: DurabilitySetting::Auto,
            partition_columns: BTreeMap::new(),
        }
    }
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            bootstrap_servers: String::new(),
            topic: "trades".to_owned(),
            partitions: 10,
            group: "ticklake-bronze".to_owned(),
            librdkafka: BTreeMap::new(),
        }
    }
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self {
            name: "sim".to_owned(),
            symbols: Vec::new(),
            rate: 1_000,
            seed: 1,
            url: String::new(),
            real_time: false,
        }
    }
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self {
            instance_id: String::new(),
            commit_rows: 1_000_000,
            commit_bytes: Size(256_000_000),
            commit_age: Span::millis(500),
            on_lost_position: "stop".to_owned(),
        }
    }
}

impl Default for SilverSettings {
    fn default() -> Self {
        Self {
            earliest: "2009-01-01".to_owned(),
            ts_ahead: Span::seconds(24 * 3_600),
        }
    }
}

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            silver: "1s".to_owned(),
            gold: "1s".to_owned(),
            checkpoint: "1m".to_owned(),
            optimize: "10m".to_owned(),
            vacuum: AUTO.to_owned(),
            retention: String::new(),
            checks: "1d".to_owned(),
            parity: String::new(),
            jitter: Span::millis(0),
            timeouts: BTreeMap::new(),
            retry_delay: Span::millis(200),
            retry_delay_max: Span::seconds(30),
            lease: Span::seconds(30),
            history: Span::seconds(30 * DAY_S),
            intervals: vec!["1m".to_owned(), "5m".to_owned()],
            revisions: RevisionsSetting::Closed,
            allowed_lateness: Span::millis(0),
            kinds: BTreeMap::new(),
            prices: [("us-equities", "us-equities-vendor"), ("finnhub", "finnhub")]
                .map(|(venue, rule)| (venue.to_owned(), rule.to_owned()))
                .into(),
            sessions: [("us-equities".to_owned(), "America/New_York 09:30-16:00".to_owned())].into(),
        }
    }
}

impl Default for OptimizeSettings {
    fn default() -> Self {
        Self {
            target_size: Size(64 << 20),
            min_age: Span::seconds(600),
            spill_dir: String::new(),
        }
    }
}

impl Default for VacuumSettings {
    fn default() -> Self {
        Self {
            time_travel: AUTO.to_owned(),
            full_every: Span::seconds(7 * DAY_S),
        }
    }
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            raw: Span::seconds(30 * DAY_S),
            bars: Span::seconds(90 * DAY_S),
            tables: BTreeMap::new(),
        }
    }
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            flight_addr: "127.0.0.1:50051".to_owned(),
            http_addr: "127.0.0.1:8080".to_owned(),
            ready_max_age: Span::seconds(0),
            metrics_token: String::new(),
            insecure: false,
            users_file: String::new(),
            tls_cert: String::new(),
            tls_key: String::new(),
            tls_client_ca: String::new(),
            signing_key: String::new(),
            signing_key_file: String::new(),
            login_lifetime: Span::seconds(30 * 24 * 3_600),
            memory: Size(1 << 30),
            spill: Size(10 << 30),
            spill_dir: String::new(),
            query_threads: 0,
            max_running: 8,
            max_queued: 256,
            max_running_per_user: 6,
            max_queued_per_user: 128,
            query_timeout: Span::seconds(300),
            max_rows: 0,
            max_bytes: Size(0),
            max_statement: Size(1 << 20),
            reader_timeout: Span::seconds(60),
            max_connections: 4_096,
            handshake_timeout: Span::seconds(10),
            drain_timeout: Span::seconds(10),
            redact_sql: false,
        }
    }
}

impl Default for QuerySettings {
    fn default() -> Self {
        let empty = String::new();
        Self {
            server: "127.0.0.1:50051".to_owned(),
            tls_ca: empty.clone(),
            token: empty.clone(),
            user: empty.clone(),
            password: empty,
        }
    }
}

impl Default for UpSettings {
    fn default() -> Self {
        Self {
            data_dir: "./ticklake-data".to_owned(),
            kafka_addr: "127.0.0.1:9092".to_owned(),
            kafka_retention: Span::seconds(600),
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: String::new(),
        }
    }
}
