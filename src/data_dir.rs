//! The folder of `up`: made where missing, held by one process at a time, with `ports.json` for scripts.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;

const LOCK: &str = "up.lock";
const PORTS: &str = "ports.json";

/// The open folder; the lock goes with it, after a kill too.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// What listens where, as scripts read it.
#[derive(Debug, serde::Serialize)]
pub struct Ports {
    pub flight: SocketAddr,
    pub http: Option<SocketAddr>,
    pub kafka: String,
    pub lake: String,
    pub pid: u32,
}

impl DataDir {
    pub fn open(path: &str) -> anyhow::Result<Self> {
        let path = PathBuf::from(path);
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the folder {}; choose another --data-dir", path.display()))?;
        let lock = File::create(path.join(LOCK)).with_context(|| {
            format!(
                "cannot write in the folder {}; choose another --data-dir",
                path.display()
            )
        })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => anyhow::bail!(
                "another `ticklake up` runs on {}; stop it or choose another --data-dir",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(anyhow::Error::new(error).context(format!("cannot lock the folder {}", path.display())))
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Written whole or not at all, so that a script never reads half of it.
    pub fn write_ports(&self, ports: &Ports) -> anyhow::Result<()> {
        let target = self.path.join(PORTS);
        let partial = self.path.join(".ports.json.partial");
        let mut file = File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
        file.write_all(serde_json::to_string_pretty(ports)?.as_bytes())?;
        std::fs::rename(&partial, &target).with_context(|| format!("cannot write {}", target.display()))
    }

    pub fn remove_ports(&self) {
        let _gone = std::fs::remove_file(self.path.join(PORTS));
    }
}

/// The embedded broker of an `up` that runs on `data_dir`, by its `ports.json`.
pub fn known_broker(data_dir: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new(data_dir).join(PORTS)).ok()?;
    let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
    ports["kafka"].as_str().map(str::to_owned)
}
