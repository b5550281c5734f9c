//! Counters of a running server, as the heartbeat shows them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

#[derive(Debug, Default)]
pub struct ServerStatus {
    queries: AtomicU64,
    errors: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
    open_streams: AtomicI64,
    queued: AtomicI64,
    idle_batches: AtomicU64,
    store_probes: AtomicU64,
    refused_logins: AtomicU64,
    /// Why a changed file was not taken, by what it holds; empty: it was.
    files: Mutex<BTreeMap<&'static str, String>>,
    last_error: Mutex<Option<(i64, String)>>,
    addr: Mutex<Option<String>>,
}

impl ServerStatus {
    pub fn snapshot(&self) -> Value {
        let last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let not_taken: BTreeMap<_, _> = files.into_iter().filter(|(_, why)| !why.is_empty()).collect();
        json!({
            "addr": *self.addr.lock().unwrap_or_else(PoisonError::into_inner),
            "queries": self.queries.load(Ordering::Relaxed),
            "errors": self.errors.load(Ordering::Relaxed),
            "rows": self.rows.load(Ordering::Relaxed),
            "bytes": self.bytes.load(Ordering::Relaxed),
            "open_streams": self.open_streams.load(Ordering::Relaxed),
            "queued": self.queued.load(Ordering::Relaxed),
            "idle_batches": self.idle_batches.load(Ordering::Relaxed),
            "store_probes": self.store_probes.load(Ordering::Relaxed),
            "refused_logins": self.refused_logins.load(Ordering::Relaxed),
            "files_not_taken": not_taken,
            "last_error": last_error.map(|(at_us, message)| json!({ "at_us": at_us, "message": message })),
        })
    }

    /// The counters in Prometheus's text format.
    pub(crate) fn prometheus(&self) -> String {
        let counters = [
            (
                "queries_total",
                "counter",
                "Statements that were run.",
                self.queries.load(Ordering::Relaxed),
            ),
            (
                "errors_total",
                "counter",
                "Requests that failed.",
                self.errors.load(Ordering::Relaxed),
            ),
            (
                "rows_sent_total",
                "counter",
                "Rows of results.",
                self.rows.load(Ordering::Relaxed),
            ),
            (
                "bytes_sent_total",
                "counter",
                "Bytes of results.",
                self.bytes.load(Ordering::Relaxed),
            ),
            (
                "refused_logins_total",
                "counter",
                "Calls without a log-in that holds.",
                self.refused_logins.load(Ordering::Relaxed),
            ),
            (
                "idle_batches_sent_total",
                "counter",
                "Empty batches to clients whose queries compute.",
                self.idle_batches.load(Ordering::Relaxed),
            ),
            (
                "store_probes_total",
                "counter",
                "Looks for the next commit of a table.",
                self.store_probes.load(Ordering::Relaxed),
            ),
            (
                "open_streams",
                "gauge",
                "Results that are being sent.",
                gauge(&self.open_streams),
            ),
            (
                "queued_queries",
                "gauge",
                "Statements that wait for a slot.",
                gauge(&self.queued),
            ),
        ];
        let mut text = String::new();
        for (name, kind, help, value) in counters {
            text.push_str(&format!(
                "# HELP ticklake_serve_{name} {help}\n# TYPE ticklake_serve_{name} {kind}\nticklake_serve_{name} {value}\n"
            ));
        }
        text.push_str("# HELP ticklake_serve_file_not_taken 1 while a changed file does not read and what was read before it serves on.\n# TYPE ticklake_serve_file_not_taken gauge\n");
        for (name, why) in self.files.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let refused = u8::from(!why.is_empty());
            text.push_str(&format!("ticklake_serve_file_not_taken{{file=\"{name}\"}} {refused}\n"));
        }
        text
    }

    pub(crate) fn file_taken(&self, name: &'static str) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(name, String::new());
    }

    /// Whether `why` is news.
    pub(crate) fn file_refused(&self, name: &'static str, why: String) -> bool {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(name, why.clone()) != Some(why)
    }

    pub(crate) fn listening(&self, addr: String) {
        *self.addr.lock().unwrap_or_else(PoisonError::into_inner) = Some(addr);
    }

    pub(crate) fn query_started(&self) {
        self.queries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, at_us: i64, message: String) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.noted(at_us, message);
    }

    /// Went wrong beside the queries.
    pub(crate) fn noted(&self, at_us: i64, message: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some((at_us, message));
    }

    pub(crate) fn sent(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn queued(&self, change: i64) {
        self.queued.fetch_add(change, Ordering::Relaxed);
    }

    pub(crate) fn stream_opened(&self) {
        self.open_streams.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stream_closed(&self) {
        self.open_streams.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn sent_idle(&self) {
        self.idle_batches.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn probed(&self) {
        self.store_probes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused_login(&self) {
        self.refused_logins.fetch_add(1, Ordering::Relaxed);
    }
}

fn gauge(value: &AtomicI64) -> u64 {
    u64::try_from(value.load(Ordering::Relaxed)).unwrap_or_default()
}
