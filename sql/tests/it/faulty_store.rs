//! An object store that counts its calls and fails as told: before a put lands, after it, or by overwriting what it should refuse.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use ticklake_sql::{Clock, Lake, LakeOptions};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The put fails and nothing is stored.
    Refuse,
    /// The put is stored, its answer lost.
    LoseAnswer,
    /// The put is stored, its answer lost, and the client's own repetition of it refused.
    RepeatPut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    pub puts: usize,
    pub gets: usize,
    pub lists: usize,
}

#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<InMemory>,
    /// What the next puts of log entries do.
    faults: Mutex<VecDeque<Fault>>,
    calls: Mutex<Calls>,
    /// Ignores the condition of a conditional put, as some S3 servers do.
    overwrites: bool,
}

impl FaultyStore {
    pub fn new() -> Arc<Self> {
        Self::build(false)
    }

    pub fn overwriting() -> Arc<Self> {
        Self::build(true)
    }

    fn build(overwrites: bool) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::default(),
            faults: Mutex::default(),
            calls: Mutex::default(),
            overwrites,
        })
    }

    pub fn lake(self: &Arc<Self>, clock: Clock) -> Lake {
        Lake::with_store("memory:///lake", self.clone(), LakeOptions::default(), clock).unwrap()
    }

    /// The next puts of log entries fail so, one after the other.
    pub fn next_commits(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    pub fn calls(&self) -> Calls {
        *self.calls.lock().unwrap()
    }

    fn count(&self, add: impl FnOnce(&mut Calls)) {
        add(&mut self.calls.lock().unwrap());
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty store")
    }
}

fn lost() -> Error {
    Error::Generic {
        store: "faulty",
        source: "connection reset".into(),
    }
}

#[async_trait::async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut opts: PutOptions) -> Result<PutResult> {
        self.count(|c| c.puts += 1);
        if self.overwrites {
            opts.mode = PutMode::Overwrite;
        }
        let is_commit = location.as_ref().contains("_delta_log/") && location.as_ref().ends_with(".json");
        let fault = if is_commit {
            self.faults.lock().unwrap().pop_front()
        } else {
            None
        };
        match fault {
            None => self.inner.put_opts(location, payload, opts).await,
            Some(Fault::Refuse) => Err(lost()),
            Some(Fault::LoseAnswer) => self.inner.put_opts(location, payload, opts).await.and(Err(lost())),
            Some(Fault::RepeatPut) => {
                self.inner.put_opts(location, payload.clone(), opts.clone()).await?;
                self.inner.put_opts(location, payload, opts).await
            }
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.count(|c| c.puts += 1);
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.count(|c| c.gets += 1);
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.count(|c| c.lists += 1);
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.count(|c| c.lists += 1);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.count(|c| c.lists += 1);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
