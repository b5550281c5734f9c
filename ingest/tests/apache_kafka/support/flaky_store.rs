//! An object store in memory that can refuse writes for a while, refuse log entries alone, or lose the answer of a write that landed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use ticklake_sql::{Clock, Lake, LakeOptions};

#[derive(Debug, Default)]
pub struct FlakyStore {
    inner: InMemory,
    pub refuse: AtomicBool,
    pub refuse_checkpoints: AtomicBool,
    /// Of so many puts under `_delta_log` the first, the third and so on are refused, where data files pass.
    pub refuse_every_second_commit: AtomicU32,
    /// So many puts under `_delta_log` land and answer with an error.
    pub lose_answers: AtomicU32,
    pub lost: AtomicU32,
}

impl FlakyStore {
    pub fn lake(self: &Arc<Self>) -> Lake {
        Lake::with_store("memory:///lake", self.clone(), LakeOptions::default(), Clock::system()).unwrap()
    }

    fn check(&self, location: &Path) -> Result<()> {
        if self.refuse.load(Ordering::SeqCst) {
            Err(failed("writes are refused"))
        } else if self.refuse_checkpoints.load(Ordering::SeqCst) && location.as_ref().contains(".checkpoint") {
            Err(failed("checkpoints are refused"))
        } else {
            Ok(())
        }
    }
}

fn failed(why: &str) -> object_store::Error {
    object_store::Error::Generic {
        store: "flaky",
        source: why.to_owned().into(),
    }
}

impl fmt::Display for FlakyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("flaky")
    }
}

#[async_trait::async_trait]
impl ObjectStore for FlakyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.check(location)?;
        let is_commit = location.as_ref().contains("_delta_log/") && location.as_ref().ends_with(".json");
        // How many are left, this one included; `None` where it is not one of them.
        let one_of = |count: &AtomicU32| {
            let less = |left: u32| left.checked_sub(1).filter(|_| is_commit);
            count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).ok()
        };
        if one_of(&self.refuse_every_second_commit).is_some_and(|left| left % 2 == 0) {
            return Err(failed("commits are refused"));
        }
        let result = self.inner.put_opts(location, payload, options).await?;
        if one_of(&self.lose_answers).is_some() {
            self.lost.fetch_add(1, Ordering::SeqCst);
            return Err(failed("the answer was lost"));
        }
        Ok(result)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.check(location)?;
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.check(to)?;
        self.inner.copy_opts(from, to, options).await
    }
}
