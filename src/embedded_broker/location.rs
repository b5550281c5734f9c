//! The broker's file as the URL that Tansu wants: a path that survives its URL parser unchanged.
//!
//! Tansu joins the URL's still percent-encoded path to the working folder, so an absolute path needs a double slash,
//! and a path with spaces or umlauts is reached through a symbolic link of a plain name.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;
use url::Url;

/// A storage URL, and the link behind it where one was needed; the link lives as long as this does.
pub struct StorageUrl {
    pub url: Url,
    _link: Option<TempDir>,
}

/// `folder` must exist.
pub fn storage_url(folder: &Path, file: &str) -> anyhow::Result<StorageUrl> {
    let folder = folder
        .canonicalize()
        .with_context(|| format!("cannot resolve the folder {}", folder.display()))?;
    if let Some(url) = plain_url(&folder.join(file)) {
        return Ok(StorageUrl { url, _link: None });
    }
    let link = tempfile::Builder::new()
        .prefix("ticklake-broker-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let alias: PathBuf = link.path().join("data");
    std::os::unix::fs::symlink(&folder, &alias).with_context(|| format!("cannot link to {}", folder.display()))?;
    let url = plain_url(&alias.join(file)).context("the temporary folder's name cannot be written as a URL")?;
    Ok(StorageUrl { url, _link: Some(link) })
}

/// `None` where the URL would not hold the very same path.
fn plain_url(path: &Path) -> Option<Url> {
    let path = path.to_str()?;
    let url = Url::parse(&format!("sqlite:///{path}")).ok()?;
    (url.path().strip_prefix('/') == Some(path) && url.query().is_none() && url.fragment().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_pass_and_others_get_a_link() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["plain", "with space", "größe", "a?b#c%20d"] {
            let data = folder.path().join(name);
            std::fs::create_dir(&data).unwrap();
            let storage = storage_url(&data, "broker.db").unwrap();
            let reached = PathBuf::from(storage.url.path().strip_prefix('/').unwrap());
            assert!(reached.is_absolute());
            assert_eq!(
                reached.parent().unwrap().canonicalize().unwrap(),
                data.canonicalize().unwrap()
            );
            assert_eq!(storage._link.is_some(), name != "plain", "{name}");
        }
    }
}
