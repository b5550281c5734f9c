//! Another peer: Arrow's C++ server, in a process of its own, with the batches that ours makes.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// Ends with the bench.
pub struct Cpp {
    process: Child,
    pub addr: SocketAddr,
}

/// Where TICKLAKE_BENCH_PYTHON names a Python with `benches/peers/requirements.txt`.
pub fn serve(rows: i64, times: usize) -> Option<Cpp> {
    let python = std::env::var("TICKLAKE_BENCH_PYTHON").ok()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/peers/flight_stream.py");
    let mut process = Command::new(python)
        .args([script, &rows.to_string(), &times.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut port)
        .unwrap();
    let addr = SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap()));
    Some(Cpp { process, addr })
}

impl Drop for Cpp {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}
