//! The status as text for one screen: every figure with its unit.

use std::fmt::Write;

use serde_json::Value;
use ticklake_sql::TableName;

use super::kafka::Lag;
use super::tables::TableState;

/// A role that has not been heard of this long is shown as silent; it writes every two seconds.
const SILENT_US: i64 = 15_000_000;

pub fn draw(lake: &str, now_us: i64, roles: &[Value], tables: &[TableState], lag: Option<&Lag>) -> String {
    let mut screen = String::new();
    // Writing to a String cannot fail.
    let _infallible = write_all(&mut screen, lake, now_us, roles, tables, lag);
    screen
}

fn write_all(
    out: &mut String,
    lake: &str,
    now_us: i64,
    roles: &[Value],
    tables: &[TableState],
    lag: Option<&Lag>,
) -> std::fmt::Result {
    writeln!(out, "lake {lake}\n")?;
    writeln!(
        out,
        "{:<22} {:>9} {:>12} {:>8} {:>11} {:>14}  behind",
        "table", "version", "last commit", "files", "size", "rows"
    )?;
    for table in tables {
        let age = table
            .committed_us
            .map_or("-".to_owned(), |at| format!("{} ago", span(now_us - at)));
        let rows = table.rows.map_or("-".to_owned(), |rows| rows.to_string());
        let behind = behind(table, tables, lag);
        writeln!(
            out,
            "{:<22} {:>9} {:>12} {:>8} {:>11} {:>14}  {behind}",
            table.name.to_string(),
            table.version,
            age,
            table.files,
            size(table.bytes),
            rows
        )?;
    }
    if tables.is_empty() {
        writeln!(out, "no tables yet")?;
    }
    if let Some(lag) = lag {
        match &lag.partitions {
            Ok(partitions) => {
                let end: i64 = partitions.values().map(|(_, end)| end).sum();
                writeln!(
                    out,
                    "\nkafka {}: {} partitions, {end} records",
                    lag.brokers,
                    partitions.len()
                )?;
            }
            Err(error) => writeln!(out, "\nkafka {}: {error}", lag.brokers)?,
        }
    }
    for role in roles {
        write_role(out, now_us, role)?;
    }
    if roles.is_empty() {
        writeln!(out, "\nno role has run on this lake yet")?;
    }
    Ok(())
}

/// What the table has yet to read: Kafka records, or versions of its input.
fn behind(table: &TableState, tables: &[TableState], lag: Option<&Lag>) -> String {
    if table.name == TableName::bronze_trades() {
        return lag
            .and_then(Lag::records)
            .map_or(String::new(), |records| format!("{records} records"));
    }
    let version_of = |name: &TableName| {
        let found = tables.iter().find(|table| table.name == *name);
        found.map(|table| table.version)
    };
    for input in [TableName::bronze_trades(), TableName::silver_trades()] {
        if let (Some(read), Some(newest)) = (table.read_version(&input), version_of(&input)) {
            return format!(
                "{} versions",
                i64::try_from(newest).unwrap_or(i64::MAX).saturating_sub(read).max(0)
            );
        }
    }
    String::new()
}

fn write_role(out: &mut String, now_us: i64, role: &Value) -> std::fmt::Result {
    let at = role["at_us"].as_i64().unwrap_or_default();
    let state = match role["state"].as_str() {
        Some("running") if now_us - at > SILENT_US => "silent",
        Some(state) => state,
        None => "unknown",
    };
    let name = role["role"].as_str().unwrap_or("?");
    let instance = role["instance"].as_str().unwrap_or("?");
    writeln!(
        out,
        "\n{name} ({instance}): {state}, heard of {} ago",
        span(now_us - at)
    )?;
    let requests = figures(now_us, &role["requests"]["last_hour"], "");
    if !requests.is_empty() {
        writeln!(out, "  requests  {requests} in the last hour")?;
    }
    for (stage, value) in role["stages"].as_object().into_iter().flatten() {
        writeln!(out, "  {stage:<9} {}", figures(now_us, value, ""))?;
        for (job, value) in value["jobs"].as_object().into_iter().flatten() {
            writeln!(out, "    {job:<12} {}", figures(now_us, value, ""))?;
        }
    }
    Ok(())
}

/// Keys that another line of the screen already tells.
const ELSEWHERE: &[&str] = &["partitions", "last_report", "jobs", "brokers", "cluster_id", "topic_id"];

/// Every figure of a stage that is not zero or empty, flat.
fn figures(now_us: i64, value: &Value, prefix: &str) -> String {
    let mut parts = Vec::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        let name = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            _ if ELSEWHERE.contains(&key.as_str()) => {}
            Value::Null | Value::Bool(false) => {}
            Value::Number(number) if number.as_f64() == Some(0.0) => {}
            Value::Array(_) => {}
            Value::Object(inner) => match (
                inner.get("message").and_then(Value::as_str),
                inner.get("at_us").and_then(Value::as_i64),
            ) {
                (Some(message), Some(at)) => parts.push(format!("{name}: {message} ({} ago)", span(now_us - at))),
                _ => parts.push(figures(now_us, value, &name)),
            },
            Value::Number(number) if number.as_i64().is_some_and(is_time) => {
                let at = number.as_i64().unwrap_or_default();
                let name = name.trim_end_matches("_us").to_owned();
                parts.push(if at > now_us {
                    format!("{name} in {}", span(at - now_us))
                } else {
                    format!("{name} {} ago", span(now_us - at))
                });
            }
            Value::Number(number) if key.ends_with("_ms") => {
                parts.push(format!("{} {number} ms", name.trim_end_matches("_ms")))
            }
            Value::Number(number) if key.ends_with("bytes") => {
                parts.push(format!("{name} {}", size(number.as_u64().unwrap_or_default())))
            }
            Value::String(text) => parts.push(format!("{name} {text}")),
            other => parts.push(format!("{name} {other}")),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

/// Microseconds since the epoch, in this century: no counter gets there.
fn is_time(number: i64) -> bool {
    (946_684_800_000_000..4_102_444_800_000_000).contains(&number)
}

pub fn span(us: i64) -> String {
    let seconds = us.max(0) as f64 / 1e6;
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}

fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        b if b < 1e3 => format!("{b:.0} B"),
        b if b < 1e6 => format!("{:.1} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.2} GB", b / 1e9),
    }
}
