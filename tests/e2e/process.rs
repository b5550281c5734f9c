//! The binary as a child process: started with its own folder, killed when a test ends however it ends, waited for with deadlines.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest wait for anything that should happen at all.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A command of the binary in `folder`, untouched by this machine's settings.
pub fn ticklake(folder: &Path) -> Command {
    const SETTINGS: [&str; 4] = ["TICKLAKE_", "AWS_", "AZURE_", "GOOGLE_"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_ticklake"));
    for (name, _) in std::env::vars() {
        if SETTINGS.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn output(folder: &Path, args: &[&str]) -> Output {
    let child = Running::start(ticklake(folder).args(args));
    child.output()
}

/// stdout of a command that must succeed.
pub fn stdout(folder: &Path, args: &[&str]) -> String {
    let output = output(folder, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ticklake {args:?}: {} {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// A running child; killed when dropped. Its output is collected as it comes.
pub struct Running {
    child: Child,
    stdout: Collected,
    stderr: Collected,
}

struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Collected {
    fn start(source: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut source = BufReader::new(source);
            while let Ok(chunk) = source.fill_buf() {
                if chunk.is_empty() {
                    return;
                }
                into.lock().unwrap().extend_from_slice(chunk);
                let read = chunk.len();
                source.consume(read);
            }
        });
        Self {
            bytes,
            reader: Some(reader),
        }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    fn whole(&mut self) -> Vec<u8> {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.bytes.lock().unwrap().clone()
    }
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Collected::start(child.stdout.take().unwrap());
        let stderr = Collected::start(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Everything it has said, for messages.
    pub fn said(&self) -> String {
        format!(
            "--- stdout\n{}--- stderr\n{}",
            self.stdout.so_far(),
            self.stderr.so_far()
        )
    }

    #[cfg(feature = "services")]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to drain; it must end well.
    pub fn terminate(mut self) {
        self.signal("-TERM");
        let status = self.wait();
        assert!(status.success(), "{status}\n{}", self.said());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "still running after {DEADLINE:?}\n{}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn output(mut self) -> Output {
        let status = self.wait();
        Output {
            status,
            stdout: self.stdout.whole(),
            stderr: self.stderr.whole(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Asks again until there is an answer; `what` names the wait in the failure.
pub fn eventually<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A port of loopback that refuses every connection. Bound and never listened on: nobody else is given it while this lives, as one that
/// was only looked up might be.
pub struct RefusedPort(tokio::net::TcpSocket);

impl RefusedPort {
    pub fn new() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self(socket)
    }

    pub fn addr(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }
}
