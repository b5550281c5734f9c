//! A file on local disk with its digest, which names its rows: a remote one is fetched into a temporary file first, since rows need the
//! digest before the last byte is read a second time.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use sha2::{Digest, Sha256};
use ticklake_sql::offset_ranges::file_topic;

use super::checksum;
use super::source::{Input, Location};
use crate::{Error, Result};

const BUFFER_BYTES: usize = 1 << 20;

/// A file that is ready to be read.
#[derive(Debug)]
pub struct Arrival {
    pub input: Input,
    /// Lower-case hex.
    pub sha256: String,
    file: File,
}

impl Arrival {
    /// Fetches, hashes and checks against the `.CHECKSUM` beside it.
    pub async fn of(input: Input) -> Result<Self> {
        let (file, sha256) = match &input.location {
            Location::Local(path) => hashed(input.address.clone(), path.clone()).await?,
            Location::Remote(..) => fetched(&input).await?,
        };
        checksum::verify(&input, &sha256).await?;
        Ok(Self { input, sha256, file })
    }

    pub fn topic(&self) -> String {
        file_topic(&self.sha256)
    }

    /// `$connection` of mappings: what trades without an id are named after.
    pub fn connection(&self) -> &str {
        &self.sha256[..16]
    }

    /// The file from its first byte. One reader at a time.
    pub fn open(&self) -> Result<File> {
        let open = || {
            let mut file = self.file.try_clone()?;
            file.rewind()?;
            Ok(file)
        };
        open().map_err(|source| failed(&self.input, source))
    }
}

pub fn failed(input: &Input, source: std::io::Error) -> Error {
    Error::Input {
        path: input.address.clone(),
        source,
    }
}

async fn hashed(address: String, path: std::path::PathBuf) -> Result<(File, String)> {
    let hash = move || hash(&path);
    let hashed = tokio::task::spawn_blocking(hash)
        .await
        .map_err(|error| Error::Internal(format!("hashing a file ended early: {error}")))?;
    hashed.map_err(|source| Error::Input { path: address, source })
}

fn hash(path: &Path) -> std::io::Result<(File, String)> {
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; BUFFER_BYTES]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((file, format!("{:x}", hasher.finalize()))),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The temporary file has no name: it goes when the last handle does.
async fn fetched(input: &Input) -> Result<(File, String)> {
    let Location::Remote(store, path) = &input.location else {
        return Err(Error::Internal("a local file is not fetched".into()));
    };
    let mut file = tempfile::tempfile().map_err(|source| failed(input, source))?;
    let mut hasher = Sha256::new();
    let got = store.get(path).await.map_err(|error| failed(input, error.into()))?;
    let mut chunks = got.into_stream();
    while let Some(chunk) = chunks.try_next().await.map_err(|error| failed(input, error.into()))? {
        hasher.update(&chunk);
        file.write_all(&chunk).map_err(|source| failed(input, source))?;
    }
    Ok((file, format!("{:x}", hasher.finalize())))
}
