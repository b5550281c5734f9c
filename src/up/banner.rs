//! The one short block that `up` prints once everything runs.

use crate::config::Settings;
use crate::data_dir::Ports;

const FIRST_QUERY: &str = "SELECT * FROM gold.ohlcv_1m ORDER BY window_start DESC LIMIT 10";

#[allow(clippy::print_stdout)]
pub fn print(settings: &Settings, ports: &Ports, embedded: bool) {
    let feed = match settings.feed.name.as_str() {
        "sim" => format!("simulated trades, {} a second", settings.feed.rate),
        other => other.to_owned(),
    };
    let kafka = if embedded { "embedded broker" } else { "brokers" };
    let server = match ports.flight.to_string() {
        addr if addr == settings.query.server => String::new(),
        addr => format!("--server {addr} "),
    };
    println!("ticklake is up");
    println!("  feed        {feed}");
    println!(
        "  kafka       {} ({kafka}, topic {})",
        ports.kafka, settings.kafka.topic
    );
    println!("  lake        {}", ports.lake);
    println!("  flight sql  {}", ports.flight);
    if let Some(http) = ports.http {
        println!("  http        {http} (health, metrics)");
    }
    println!();
    println!("In another terminal, in a few seconds:");
    println!("  {} query {server}\"{FIRST_QUERY}\"", program());
    println!();
    println!("Ctrl-C stops; the next `ticklake up` goes on from there.");
}

/// How this program was called, so that the query runs as pasted: after `cargo run` nothing is on the PATH.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_else(|| "ticklake".into());
    let called = called.to_string_lossy();
    if called.contains(' ') {
        format!("\"{called}\"")
    } else {
        called.into_owned()
    }
}
