//! What a process has lately written to its lake, or read from it, in memory: data files and log entries, so that who follows them fetches nothing.
//!
//! Neither ever changes under its name and no name is used twice, so what is kept is never wrong, only perhaps gone from the store. Who wants to
//! know what is there asks with a head or a listing, and these always go through. Heads, listings and everything else are the store's.
//! A table that is dropped and made again uses the names of its log again: who notices says so, and its folder is forgotten.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// Larger files are not kept: one of them would push out a minute of small ones.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Digits of a version in the name of a log entry.
const VERSION_DIGITS: usize = 20;

/// A store that keeps small immutable objects up to so many bytes, those used last.
#[derive(Debug)]
pub(crate) struct Recent {
    store: Arc<dyn ObjectStore>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug)]
struct Kept {
    capacity_bytes: u64,
    bytes: u64,
    objects: HashMap<Path, Object>,
    /// When an object was used last -> which; the count of uses is the time.
    by_use: BTreeMap<u64, Path>,
    uses: u64,
}

#[derive(Debug)]
struct Object {
    bytes: Bytes,
    used: u64,
}

impl Recent {
    pub fn new(store: Arc<dyn ObjectStore>, capacity_bytes: u64) -> Self {
        let kept = Kept {
            capacity_bytes,
            bytes: 0,
            objects: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
        };
        Self {
            store,
            kept: Arc::new(Mutex::new(kept)),
        }
    }

    /// Nothing below `folder` is known any more: whoever dropped it may use its names again.
    pub fn forget_below(&self, folder: &Path) {
        let mut kept = self.kept();
        let below = |location: &&Path| location.prefix_matches(folder);
        for location in kept.objects.keys().filter(below).cloned().collect::<Vec<_>>() {
            kept.forget(&location);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, location: &Path) -> Option<Bytes> {
        if never_changes(location) {
            self.kept().find(location)
        } else {
            None
        }
    }
}

impl Kept {
    fn find(&mut self, location: &Path) -> Option<Bytes> {
        let object = self.objects.get_mut(location)?;
        self.uses += 1;
        if let Some(location) = self.by_use.remove(&object.used) {
            self.by_use.insert(self.uses, location);
        }
        object.used = self.uses;
        Some(object.bytes.clone())
    }

    fn keep(&mut self, location: &Path, bytes: Bytes) {
        self.forget(location);
        self.uses += 1;
        self.bytes += bytes.len() as u64;
        self.by_use.insert(self.uses, location.clone());
        let used = self.uses;
        self.objects.insert(location.clone(), Object { bytes, used });
        while self.bytes > self.capacity_bytes
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, location: &Path) {
        if let Some(object) = self.objects.remove(location) {
            self.by_use.remove(&object.used);
            self.bytes -= object.bytes.len() as u64;
        }
    }
}

/// `part-<uuid>....parquet`, or `_delta_log/<version>.json`.
fn never_changes(location: &Path) -> bool {
    let Some(name) = location.filename() else {
        return false;
    };
    let is_data = name.starts_with("part-") && name.ends_with(".parquet");
    let is_entry = name
        .strip_suffix(".json")
        .is_some_and(|version| version.len() == VERSION_DIGITS && version.bytes().all(|digit| digit.is_ascii_digit()));
    is_data
        || (is_entry
            && location
                .parts()
                .rev()
                .nth(1)
                .is_some_and(|folder| folder.as_ref() == "_delta_log"))
}

/// Asks for bytes and nothing else.
fn is_plain(options: &GetOptions) -> bool {
    !options.head
        && options.if_match.is_none()
        && options.if_none_match.is_none()
        && options.if_modified_since.is_none()
        && options.if_unmodified_since.is_none()
        && options.version.is_none()
}

fn answer(bytes: Bytes, range: Range<u64>, meta: ObjectMeta, attributes: Attributes) -> GetResult {
    GetResult {
        payload: GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed()),
        meta,
        range,
        attributes,
    }
}

fn slice(bytes: &Bytes, range: &Range<u64>) -> Option<Bytes> {
    let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (start < end && end <= bytes.len()).then(|| bytes.slice(start..end))
}

impl fmt::Display for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.store, f)
    }
}

#[async_trait]
impl ObjectStore for Recent {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let is_kept = never_changes(location) && payload.content_length() as u64 <= MAX_FILE_BYTES;
        let kept = is_kept.then(|| payload.clone());
        let put = self.store.put_opts(location, payload, opts).await?;
        if let Some(payload) = kept {
            // Copied: an encoder's buffer is larger than what is in it.
            let parts: Vec<&[u8]> = payload.iter().map(AsRef::as_ref).collect();
            self.kept().keep(location, parts.concat().into());
        }
        Ok(put)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if !is_plain(&options) || !never_changes(location) {
            return self.store.get_opts(location, options).await;
        }
        if let Some(bytes) = self.find(location) {
            let size = bytes.len() as u64;
            let range = options.range.as_ref().map_or(Ok(0..size), |range| range.as_range(size));
            if let Ok(range) = range
                && let Some(part) = slice(&bytes, &range)
            {
                // When it was written nobody asks: an Add says that of a file, a log entry of itself.
                let meta = ObjectMeta {
                    location: location.clone(),
                    last_modified: chrono::DateTime::UNIX_EPOCH,
                    size,
                    e_tag: None,
                    version: None,
                };
                return Ok(answer(part, range, meta, Attributes::new()));
            }
        }
        let found = self.store.get_opts(location, options).await?;
        let is_whole = found.range == (0..found.meta.size);
        if !is_whole || found.meta.size > MAX_FILE_BYTES {
            return Ok(found);
        }
        let (range, meta, attributes) = (found.range.clone(), found.meta.clone(), found.attributes.clone());
        let bytes = found.bytes().await?;
        self.kept().keep(location, Bytes::copy_from_slice(&bytes));
        Ok(answer(bytes, range, meta, attributes))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(bytes) = self.find(location)
            && let Some(parts) = ranges.iter().map(|range| slice(&bytes, range)).collect()
        {
            return Ok(parts);
        }
        self.store.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let kept = self.kept.clone();
        let forgotten = locations.inspect(move |location| {
            if let Ok(location) = location {
                kept.lock().unwrap_or_else(PoisonError::into_inner).forget(location);
            }
        });
        self.store.delete_stream(forgotten.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.kept().forget(to);
        self.store.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.kept().forget(from);
        self.kept().forget(to);
        self.store.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::{ObjectStoreExt, PutMode};

    use super::*;
    use crate::requests::{Billing, Counted, RequestKind, Requests};

    const BILLING: Billing = Billing {
        list_page: 1_000,
        delete_page: 1,
        ranges_at_once: false,
    };

    struct Asked {
        requests: Arc<Requests>,
        inner: Arc<InMemory>,
        recent: Recent,
    }

    fn over(capacity_bytes: u64) -> Asked {
        let (requests, inner) = (Arc::new(Requests::default()), Arc::new(InMemory::new()));
        let counted = Counted::new(inner.clone(), requests.clone(), BILLING);
        Asked {
            requests,
            inner,
            recent: Recent::new(Arc::new(counted), capacity_bytes),
        }
    }

    impl Asked {
        async fn text(&self, path: &str) -> String {
            let found = self.recent.get(&Path::from(path)).await.unwrap();
            String::from_utf8(found.bytes().await.unwrap().into()).unwrap()
        }

        fn gets(&self) -> u64 {
            self.requests.total()[RequestKind::Get as usize].1
        }
    }

    const FILE: &str = "lake/silver/trades/date=2026-11-27/part-1.zstd.parquet";
    const ENTRY: &str = "lake/silver/trades/_delta_log/00000000000000000007.json";

    #[tokio::test]
    async fn what_was_written_is_not_fetched_and_what_was_read_once_only() {
        let asked = over(1_000);
        for path in [FILE, ENTRY] {
            let path = Path::from(path);
            asked
                .recent
                .put_opts(&path, "0123456789".into(), PutMode::Create.into())
                .await
                .unwrap();
            assert_eq!(asked.recent.get_range(&path, 2..4).await.unwrap(), "23");
            let ranges = asked.recent.get_ranges(&path, &[0..1, 8..10]).await.unwrap();
            assert_eq!(ranges, ["0", "89"]);
        }
        assert_eq!((asked.text(FILE).await.as_str(), asked.gets()), ("0123456789", 0));
        // By another process: the footer's request brings the whole of a small file.
        let others = Path::from("lake/bronze/trades/part-2.parquet");
        asked.inner.put(&others, "abc".into()).await.unwrap();
        for _ in 0..3 {
            assert_eq!(asked.recent.get_range(&others, 0..3).await.unwrap(), "abc");
            assert_eq!(asked.recent.get_range(&others, 1..2).await.unwrap(), "b");
        }
        assert_eq!(asked.gets(), 1);
    }

    #[tokio::test]
    async fn what_may_change_what_is_large_and_what_was_deleted_is_the_store_s() {
        let asked = over(1_000);
        for path in [
            "lake/silver/trades/_delta_log/_last_checkpoint",
            "lake/_ticklake/status/up-1.json",
            "lake/_ticklake/00000000000000000007.json",
        ] {
            let location = Path::from(path);
            asked.recent.put(&location, "one".into()).await.unwrap();
            asked.inner.put(&location, "two".into()).await.unwrap();
            assert_eq!(asked.text(path).await, "two", "{path}");
        }
        let file = Path::from(FILE);
        let large = vec![0; MAX_FILE_BYTES as usize + 1];
        asked.recent.put(&file, large.into()).await.unwrap();
        let before = asked.gets();
        asked.text(FILE).await;
        assert_eq!(asked.gets(), before + 1);
        asked.recent.put(&file, "small".into()).await.unwrap();
        asked.recent.delete(&file).await.unwrap();
        assert!(asked.recent.get(&file).await.is_err());
        // There or not is never told from memory.
        asked.recent.put(&file, "small".into()).await.unwrap();
        asked.inner.delete(&file).await.unwrap();
        assert!(asked.recent.head(&file).await.is_err());
    }

    #[tokio::test]
    async fn a_put_that_did_not_land_is_not_kept() {
        let asked = over(1_000);
        let entry = Path::from(ENTRY);
        asked.inner.put(&entry, "theirs".into()).await.unwrap();
        let lost = asked
            .recent
            .put_opts(&entry, "ours".into(), PutMode::Create.into())
            .await;
        assert!(lost.is_err());
        assert_eq!(asked.text(ENTRY).await, "theirs");
    }

    #[tokio::test]
    async fn memory_is_bounded_and_what_is_used_stays() {
        let asked = over(100);
        let path = |number: u32| Path::from(format!("lake/part-{number}.parquet"));
        for number in 0..20 {
            asked.recent.put(&path(number), "0123456789".into()).await.unwrap();
            asked.recent.get(&path(0)).await.unwrap();
        }
        assert_eq!(asked.gets(), 0);
        let kept = asked.recent.kept();
        assert_eq!((kept.bytes, kept.objects.len(), kept.by_use.len()), (100, 10, 10));
        assert!(kept.objects.contains_key(&path(0)) && !kept.objects.contains_key(&path(1)));
    }
}
