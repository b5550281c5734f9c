//! Requests to the object store, counted by kind: what a bill is made of.
//!
//! Counts what the store is asked for, once however often its client repeats it. A listing is a request for each page, as long as the store makes it.
//! A test may end the process right behind any change that it has made to the store, in turn.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
    UploadPart, coalesce_ranges,
};

use crate::failpoint;

const MINUTES: usize = 60;
/// Visited behind each object that has come, gone, or been written over.
const CHANGED: &str = "store-changed";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    Get,
    /// Copies too: they cost what a put costs.
    Put,
    List,
    Head,
    Delete,
    /// Begin, each part, and end.
    Multipart,
}

impl RequestKind {
    pub const ALL: [Self; 6] = [
        Self::Get,
        Self::Put,
        Self::List,
        Self::Head,
        Self::Delete,
        Self::Multipart,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::List => "list",
            Self::Head => "head",
            Self::Delete => "delete",
            Self::Multipart => "multipart",
        }
    }
}

type Counts = [u64; RequestKind::ALL.len()];

/// Requests of this process to one store: since it was opened, and in the last sixty minutes.
#[derive(Debug)]
pub struct Requests {
    opened: Instant,
    counted: Mutex<Figures>,
}

#[derive(Debug, Default)]
struct Figures {
    total: Counts,
    /// Minutes since the store was opened, and what was asked in them; sixty at most.
    minutes: VecDeque<(u64, Counts)>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            opened: Instant::now(),
            counted: Mutex::default(),
        }
    }
}

impl Requests {
    fn count(&self, kind: RequestKind, location: Option<&Path>) {
        // Says where a bill comes from: `log.filter = "warn,ticklake_sql::requests=trace"`.
        tracing::trace!(
            kind = kind.name(),
            path = location.map(tracing::field::display),
            "request"
        );
        let minute = self.minute();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.total[kind as usize] += 1;
        match counted.minutes.back_mut() {
            Some((last, counts)) if *last == minute => counts[kind as usize] += 1,
            _ => {
                let mut counts = Counts::default();
                counts[kind as usize] = 1;
                counted.minutes.push_back((minute, counts));
                if counted.minutes.len() > MINUTES {
                    counted.minutes.pop_front();
                }
            }
        }
    }

    fn minute(&self) -> u64 {
        self.opened.elapsed().as_secs() / 60
    }

    /// Since the store was opened.
    pub fn total(&self) -> [(RequestKind, u64); RequestKind::ALL.len()] {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        RequestKind::ALL.map(|kind| (kind, counted.total[kind as usize]))
    }

    /// In this minute and the fifty-nine before it.
    pub fn last_hour(&self) -> [(RequestKind, u64); RequestKind::ALL.len()] {
        let minute = self.minute();
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = || counted.minutes.iter().filter(|(at, _)| at + MINUTES as u64 > minute);
        RequestKind::ALL.map(|kind| (kind, recent().map(|(_, counts)| counts[kind as usize]).sum()))
    }
}

/// What one request of a kind of store covers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Billing {
    /// Objects in one page of a listing.
    pub list_page: u64,
    /// Objects in one delete.
    pub delete_page: u64,
    /// Several ranges of a file are one read; else each stretch of them is a request.
    pub ranges_at_once: bool,
}

/// A store that counts what is asked of it.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    store: S,
    requests: Arc<Requests>,
    billing: Billing,
}

impl<S> Counted<S> {
    pub fn new(store: S, requests: Arc<Requests>, billing: Billing) -> Self {
        Self {
            store,
            requests,
            billing,
        }
    }

    /// One request more with each first item of a page; `from`: items of which the first is counted already.
    fn paged<T: Send + 'static>(
        &self,
        items: BoxStream<'static, Result<T>>,
        kind: RequestKind,
        page: u64,
        from: u64,
    ) -> BoxStream<'static, Result<T>> {
        let requests = self.requests.clone();
        let mut seen = 0;
        let counted = items.inspect(move |_| {
            if seen % page == 0 && seen >= from {
                requests.count(kind, None);
            }
            seen += 1;
        });
        counted.boxed()
    }
}

impl<S: ObjectStore> fmt::Display for Counted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.store, f)
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Counted<S> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.requests.count(RequestKind::Put, Some(location));
        changed(self.store.put_opts(location, payload, opts).await)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.requests.count(RequestKind::Multipart, Some(location));
        let upload = self.store.put_multipart_opts(location, opts).await?;
        Ok(Box::new(CountedUpload {
            upload,
            requests: self.requests.clone(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let kind = if options.head {
            RequestKind::Head
        } else {
            RequestKind::Get
        };
        self.requests.count(kind, Some(location));
        self.store.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if self.billing.ranges_at_once {
            self.requests.count(RequestKind::Get, Some(location));
            return self.store.get_ranges(location, ranges).await;
        }
        // What the store itself does, through this one's get_opts.
        coalesce_ranges(
            ranges,
            |range| self.get_range(location, range),
            OBJECT_STORE_COALESCE_DEFAULT,
        )
        .await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let deleted = self.store.delete_stream(locations).map(changed).boxed();
        self.paged(deleted, RequestKind::Delete, self.billing.delete_page, 0)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.requests.count(RequestKind::List, prefix);
        self.paged(self.store.list(prefix), RequestKind::List, self.billing.list_page, 1)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.requests.count(RequestKind::List, prefix);
        let listed = self.store.list_with_offset(prefix, offset);
        self.paged(listed, RequestKind::List, self.billing.list_page, 1)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.requests.count(RequestKind::List, prefix);
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.requests.count(RequestKind::Put, Some(to));
        changed(self.store.copy_opts(from, to, options).await)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.requests.count(RequestKind::Put, Some(to));
        changed(self.store.rename_opts(from, to, options).await)
    }
}

fn changed<T>(outcome: Result<T>) -> Result<T> {
    if outcome.is_ok() {
        failpoint::reach(CHANGED);
    }
    outcome
}

#[derive(Debug)]
struct CountedUpload {
    upload: Box<dyn MultipartUpload>,
    requests: Arc<Requests>,
}

#[async_trait]
impl MultipartUpload for CountedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.requests.count(RequestKind::Multipart, None);
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.requests.count(RequestKind::Multipart, None);
        changed(self.upload.complete().await)
    }

    async fn abort(&mut self) -> Result<()> {
        self.requests.count(RequestKind::Multipart, None);
        self.upload.abort().await
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::memory::InMemory;

    use super::*;

    const BILLING: Billing = Billing {
        list_page: 1_000,
        delete_page: 1,
        ranges_at_once: false,
    };

    #[tokio::test]
    async fn every_request_counts_once_as_what_it_is() {
        let requests = Arc::new(Requests::default());
        let store = Counted::new(InMemory::new(), requests.clone(), BILLING);
        let file = Path::from("a/file");
        store.put(&file, "0123456789".into()).await.unwrap();
        store.get(&file).await.unwrap().bytes().await.unwrap();
        // Close to each other: one request.
        let ranges = store.get_ranges(&file, &[0..2, 4..6]).await.unwrap();
        assert_eq!(ranges, ["01", "45"]);
        store.head(&file).await.unwrap();
        let mut upload = store.put_multipart(&Path::from("a/large")).await.unwrap();
        upload.put_part("part".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap().len(), 2);
        store.list_with_delimiter(None).await.unwrap();
        store.delete(&file).await.unwrap();

        let wanted = [
            (RequestKind::Get, 2),
            (RequestKind::Put, 1),
            (RequestKind::List, 2),
            (RequestKind::Head, 1),
            (RequestKind::Delete, 1),
            (RequestKind::Multipart, 3),
        ];
        assert_eq!(requests.total(), wanted);
        assert_eq!(requests.last_hour(), wanted);
    }

    #[tokio::test]
    async fn a_listing_is_a_request_for_each_thousand() {
        let requests = Arc::new(Requests::default());
        let store = Counted::new(InMemory::new(), requests.clone(), BILLING);
        for number in 0..2_001 {
            store.put(&Path::from(format!("{number}")), "".into()).await.unwrap();
        }
        store.list(None).try_collect::<Vec<_>>().await.unwrap();
        assert_eq!(requests.total()[RequestKind::List as usize], (RequestKind::List, 3));
    }
}
