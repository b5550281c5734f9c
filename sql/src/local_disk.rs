//! The local disk as an object store whose writes are durable when they return.
//!
//! `object_store`'s local files are never synced: a commit could survive a power cut that its data files did not. Reads, lists and deletes are its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path as FilePath, PathBuf};
use std::{fmt, ops::Range};

use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use crate::{Durability, page_cache};

#[derive(Debug, Clone)]
pub(crate) struct LocalDisk {
    files: LocalFileSystem,
    sync: bool,
}

impl LocalDisk {
    /// The whole disk, `/` being its root.
    pub fn new(durability: Durability) -> Self {
        Self {
            files: LocalFileSystem::new(),
            sync: durability == Durability::Sync,
        }
    }

    fn writer(&self, location: &Path) -> Result<FileWriter> {
        Ok(FileWriter {
            location: location.clone(),
            path: self.files.path_to_filesystem(location)?,
            sync: self.sync,
        })
    }
}

impl fmt::Display for LocalDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "local disk ({})", if self.sync { "synced" } else { "not synced" })
    }
}

#[async_trait::async_trait]
impl ObjectStore for LocalDisk {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Overwrite => false,
            PutMode::Create => true,
            PutMode::Update(_) => return self.files.put_opts(location, payload, opts).await,
        };
        let writer = self.writer(location)?;
        blocking(move || writer.put(&payload, create)).await?;
        Ok(PutResult {
            e_tag: None,
            version: None,
        })
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.files.put_multipart_opts(location, opts).await?;
        Ok(Box::new(SyncedUpload {
            upload,
            writer: self.writer(location)?,
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(bytes) = page_cache::read(&self.files.path_to_filesystem(location)?, ranges) {
            return Ok(bytes);
        }
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await?;
        let writer = self.writer(to)?;
        blocking(move || writer.sync_finished()).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await?;
        let writer = self.writer(to)?;
        blocking(move || writer.sync_finished()).await
    }
}

/// Writes one file: under a name that listings skip, synced, then given its real name, then the folder synced.
#[derive(Debug, Clone)]
struct FileWriter {
    location: Path,
    path: PathBuf,
    sync: bool,
}

impl FileWriter {
    fn put(&self, payload: &PutPayload, create: bool) -> Result<()> {
        let staging = self.staging_path();
        let written = self.write(&staging, payload).and_then(|()| {
            // A link never replaces a file: of two commits with one version the second is refused.
            if create {
                fs::hard_link(&staging, &self.path)
            } else {
                fs::rename(&staging, &self.path)
            }
        });
        if create || written.is_err() {
            // Left behind it is litter, no row: its name is not a file's to any reader.
            let _ = fs::remove_file(&staging);
        }
        written.and_then(|()| self.sync_folder()).map_err(|e| self.error(e))
    }

    fn write(&self, staging: &FilePath, payload: &PutPayload) -> io::Result<()> {
        let mut file = match OpenOptions::new().write(true).create_new(true).open(staging) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                self.create_folders()?;
                OpenOptions::new().write(true).create_new(true).open(staging)?
            }
            opened => opened?,
        };
        payload.iter().try_for_each(|chunk| file.write_all(chunk))?;
        if self.sync { file.sync_all() } else { Ok(()) }
    }

    /// `name#<number>`: object_store's own way to mark a file in the making. Never a name that was used before.
    fn staging_path(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!("#{}", uuid::Uuid::new_v4().as_u128()));
        name.into()
    }

    /// A new folder is durable once the folder that holds it is synced.
    fn create_folders(&self) -> io::Result<()> {
        let Some(folder) = self.path.parent() else {
            return Ok(());
        };
        let missing: Vec<_> = folder.ancestors().take_while(|f| !f.exists()).collect();
        fs::create_dir_all(folder)?;
        if self.sync {
            missing
                .iter()
                .filter_map(|f| f.parent())
                .try_for_each(|f| File::open(f)?.sync_all())?;
        }
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        match self.path.parent() {
            Some(folder) if self.sync => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    }

    /// Syncs a file that something else has written.
    fn sync_finished(&self) -> Result<()> {
        let synced = if self.sync {
            File::open(&self.path).and_then(|f| f.sync_all())
        } else {
            Ok(())
        };
        synced.and_then(|()| self.sync_folder()).map_err(|e| self.error(e))
    }

    fn error(&self, source: io::Error) -> Error {
        let path = self.location.to_string();
        match source.kind() {
            ErrorKind::AlreadyExists => Error::AlreadyExists {
                path,
                source: source.into(),
            },
            ErrorKind::NotFound => Error::NotFound {
                path,
                source: source.into(),
            },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::PermissionDenied {
                path,
                source: source.into(),
            },
            _ => Error::Generic {
                store: "local disk",
                source: source.into(),
            },
        }
    }
}

#[derive(Debug)]
struct SyncedUpload {
    upload: Box<dyn MultipartUpload>,
    writer: FileWriter,
}

#[async_trait::async_trait]
impl MultipartUpload for SyncedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.upload.complete().await?;
        let writer = self.writer.clone();
        blocking(move || writer.sync_finished()).await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| Error::JoinError { source })?
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;

    use super::*;

    #[tokio::test]
    async fn a_second_create_is_refused_and_leaves_the_first() {
        let folder = tempfile::tempdir().unwrap();
        for durability in [Durability::Sync, Durability::Os] {
            let disk = LocalDisk::new(durability);
            let base = Path::from_absolute_path(folder.path())
                .unwrap()
                .join(format!("{durability:?}"));
            let file = base.clone().join("new").join("file");
            disk.put_opts(&file, "one".into(), PutMode::Create.into())
                .await
                .unwrap();
            let refused = disk
                .put_opts(&file, "two".into(), PutMode::Create.into())
                .await
                .unwrap_err();
            assert!(matches!(refused, Error::AlreadyExists { .. }), "{refused}");
            assert_eq!(disk.get(&file).await.unwrap().bytes().await.unwrap(), "one");
            disk.put(&file, "three".into()).await.unwrap();
            assert_eq!(disk.get(&file).await.unwrap().bytes().await.unwrap(), "three");
            let left: Vec<_> = fs::read_dir(folder.path().join(format!("{durability:?}/new")))
                .unwrap()
                .collect();
            assert_eq!(left.len(), 1, "no staging file stays behind");
        }
    }

    #[tokio::test]
    async fn a_file_in_the_making_is_not_listed() {
        let folder = tempfile::tempdir().unwrap();
        let base = Path::from_absolute_path(folder.path()).unwrap();
        let disk = LocalDisk::new(Durability::Sync);
        let writer = disk.writer(&base.clone().join("file")).unwrap();
        writer.write(&writer.staging_path(), &"half".into()).unwrap();
        assert!(disk.list(Some(&base)).try_collect::<Vec<_>>().await.unwrap().is_empty());
    }
}
