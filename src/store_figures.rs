//! Requests to the object store for `/metrics`: this process's own as they stand, and those of the processes that have no `/metrics` of their own,
//! as their heartbeats last told. So one scrape tells what a lake's bill is made of.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use serde_json::Value;
use ticklake_flight_server::Figures;
use ticklake_sql::{Lake, RequestKind};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::heartbeat::{instance, requests_json};
use crate::status;

/// Heartbeats are requests too: they are read again no sooner, however often somebody scrapes.
const REREAD: Duration = Duration::from_secs(60);
/// A store that hangs must not hold up a scrape.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Who was not heard of for so long has ended.
const SILENT_US: i64 = 600_000_000;
/// Series of one scrape are bounded: a process that starts over and over is another one each time.
const MAX_PROCESSES: usize = 100;

/// Name, type, key in a heartbeat's `requests`, and what it is.
const SERIES: [(&str, &str, &str, &str); 2] = [
    (
        "ticklake_store_requests_total",
        "counter",
        "total",
        "Requests to the object store since the process started.",
    ),
    (
        "ticklake_store_requests_last_hour",
        "gauge",
        "last_hour",
        "Requests to the object store in the last sixty minutes.",
    ),
];

/// What `role`, this process, adds to `/metrics`.
pub fn figures(lake: &Lake, role: &'static str) -> Figures {
    let lake = lake.clone();
    let others = Arc::new(Mutex::new(None));
    Figures(Arc::new(move || {
        let (lake, others) = (lake.clone(), others.clone());
        async move {
            let own = lake.requests().map(|requests| Told {
                role: role.to_owned(),
                process: instance(),
                requests: requests_json(requests),
            });
            let mut told: Vec<Told> = own.into_iter().collect();
            told.extend(read_others(&lake, &others, role).await);
            text(&told)
        }
        .boxed()
    }))
}

/// What one process says of its requests: `{"total": {"get": 1, ...}, "last_hour": {...}}`.
#[derive(Debug, Clone)]
struct Told {
    role: String,
    process: String,
    requests: Value,
}

type Read = Option<(Instant, Vec<Told>)>;

/// The newest heartbeats of all other processes; the ones read before while they cannot be read.
async fn read_others(lake: &Lake, kept: &Mutex<Read>, role: &str) -> Vec<Told> {
    let mut kept = kept.lock().await;
    if let Some((at, told)) = kept.as_ref()
        && at.elapsed() < REREAD
    {
        return told.clone();
    }
    let told = match timeout(READ_TIMEOUT, status::heartbeats(lake)).await {
        Ok(Ok(beats)) => others(&beats, lake.clock().now_us(), role, &instance()),
        Ok(Err(error)) => {
            tracing::debug!(error = format!("{error:#}"), "no requests of other processes");
            kept.take().map(|(_, told)| told).unwrap_or_default()
        }
        Err(_) => kept.take().map(|(_, told)| told).unwrap_or_default(),
    };
    *kept = Some((Instant::now(), told.clone()));
    told
}

/// Out of heartbeats, the newest first, those that still count. `serve` and `up` tell their own.
fn others(beats: &[Value], now_us: i64, role: &str, process: &str) -> Vec<Told> {
    let told = beats.iter().filter_map(|beat| {
        let (theirs, instance) = (beat["role"].as_str()?, beat["instance"].as_str()?);
        let is_own = theirs == role && instance == process;
        let scraped = ["serve", "up"].contains(&theirs);
        let is_silent = now_us - beat["at_us"].as_i64()? > SILENT_US;
        let is_plain = [theirs, instance].iter().all(|text| is_label(text));
        let requests = &beat["requests"];
        (!is_own && !scraped && !is_silent && is_plain && requests.is_object()).then(|| Told {
            role: theirs.to_owned(),
            process: instance.to_owned(),
            requests: requests.clone(),
        })
    });
    told.take(MAX_PROCESSES).collect()
}

/// Needs no escaping as a label's value.
fn is_label(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Prometheus's text format.
fn text(told: &[Told]) -> String {
    let mut text = String::new();
    for (name, kind, key, help) in SERIES {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for one in told {
            for request in RequestKind::ALL.map(RequestKind::name) {
                let (role, process) = (&one.role, &one.process);
                let count = one.requests[key][request].as_u64().unwrap_or_default();
                let _infallible = writeln!(
                    text,
                    "{name}{{role=\"{role}\",process=\"{process}\",kind=\"{request}\"}} {count}"
                );
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_process_that_has_no_metrics_of_its_own_is_told_once() {
        let beat = |role: &str, instance: &str, at_us: i64| {
            json!({
                "role": role, "instance": instance, "at_us": at_us,
                "requests": { "total": { "get": 7, "put": 2 }, "last_hour": { "get": 3 } },
            })
        };
        let now_us = 2 * SILENT_US;
        let beats = [
            beat("run", "a-1", now_us),
            beat("ingest", "a-2", now_us - SILENT_US + 1),
            beat("ingest", "long-gone", now_us - SILENT_US - 1),
            beat("serve", "a-3", now_us),
            beat("run", "\"} evil", now_us),
            json!({ "role": "run", "instance": "older-release", "at_us": now_us }),
        ];
        let text = text(&others(&beats, now_us, "serve", "a-3"));
        let lines = |series: &str| text.lines().filter(|line| line.starts_with(series)).count();
        assert_eq!(lines("ticklake_store_requests_total{"), 2 * 6, "{text}");
        for line in [
            "# TYPE ticklake_store_requests_total counter",
            "ticklake_store_requests_total{role=\"run\",process=\"a-1\",kind=\"get\"} 7",
            "ticklake_store_requests_total{role=\"ingest\",process=\"a-2\",kind=\"put\"} 2",
            "ticklake_store_requests_total{role=\"ingest\",process=\"a-2\",kind=\"delete\"} 0",
            "# TYPE ticklake_store_requests_last_hour gauge",
            "ticklake_store_requests_last_hour{role=\"run\",process=\"a-1\",kind=\"get\"} 3",
        ] {
            assert!(text.lines().any(|has| has == line), "no {line} in {text}");
        }
    }
}
