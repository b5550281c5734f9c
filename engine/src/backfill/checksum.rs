//! `.CHECKSUM` files: what stands beside a file of an archive and says its sha256, two spaces, its name.

use object_store::ObjectStoreExt;
use object_store::path::Path as ObjectPath;

use super::source::{Input, Location};
use crate::{Error, Result};

/// Compared without regard to case.
pub const SUFFIX: &str = ".CHECKSUM";
/// A digest and a name; nothing longer is one.
const MAX_BYTES: u64 = 4096;

/// Compares `sha256` with the file's `.CHECKSUM`, if there is one.
pub async fn verify(input: &Input, sha256: &str) -> Result<()> {
    let Some(text) = read(input).await? else {
        return Ok(());
    };
    let stated = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    if stated == sha256 {
        return Ok(());
    }
    Err(Error::File {
        path: input.address.clone(),
        message: format!("its {SUFFIX} says sha256 {stated}, it has {sha256}: fetch the file again"),
    })
}

async fn read(input: &Input) -> Result<Option<String>> {
    let failed = |source: std::io::Error| Error::Input {
        path: format!("{}{SUFFIX}", input.address),
        source,
    };
    match &input.location {
        Location::Local(path) => {
            let mut beside = path.clone().into_os_string();
            beside.push(SUFFIX);
            match std::fs::metadata(&beside) {
                Ok(metadata) if metadata.len() <= MAX_BYTES => {
                    std::fs::read_to_string(&beside).map(Some).map_err(failed)
                }
                Ok(_) => Err(failed(std::io::Error::other("is too long for a checksum"))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed(error)),
            }
        }
        Location::Remote(store, path) => {
            let beside = ObjectPath::from(format!("{path}{SUFFIX}"));
            let got = match store.get(&beside).await {
                Ok(got) => got,
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(failed(error.into())),
            };
            if got.meta.size > MAX_BYTES {
                return Err(failed(std::io::Error::other("is too long for a checksum")));
            }
            let bytes = got.bytes().await.map_err(|error| failed(error.into()))?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
    }
}
