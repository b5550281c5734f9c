//! An object store in memory that can be told to answer no read.

use std::fmt;
use std::future::ready;
use std::sync::Arc;

use deltalake::{ObjectStore, Path};
use futures::stream::{BoxStream, StreamExt, once};
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};
use ticklake_sql::{Clock, Lake, LakeOptions};
use tokio::sync::watch;

#[derive(Debug)]
pub struct StallingStore {
    inner: InMemory,
    stalled: watch::Sender<bool>,
}

impl StallingStore {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            stalled: watch::Sender::new(false),
        })
    }

    pub fn lake(self: &Arc<Self>) -> Lake {
        Lake::with_store("memory:///lake", self.clone(), LakeOptions::default(), Clock::system()).unwrap()
    }

    pub fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    fn answering(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stalled = self.stalled.subscribe();
        async move {
            let _gone = stalled.wait_for(|stalled| !stalled).await;
        }
    }
}

impl fmt::Display for StallingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stalling")
    }
}

#[async_trait::async_trait]
impl ObjectStore for StallingStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.answering().await;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let waiting = once(self.answering()).filter_map(|()| ready(None));
        waiting.chain(self.inner.list(prefix)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.answering().await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
