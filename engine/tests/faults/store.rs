//! An object store that fails by a seed: a request is refused before it does anything, or does it and loses its answer; what is read breaks off in the
//! middle; a listing is slow and may end early; an upload in parts loses a part, its end or the answer to its end. Or it has no room left.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// Of a slow listing.
const ITEM_DELAY: Duration = Duration::from_micros(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Refused,
    LostAnswer,
}

/// Which requests fail. The same seed and the same order of requests give the same faults.
#[derive(Debug)]
pub struct Dice {
    state: AtomicU64,
    /// Of a thousand requests so many fail; none at 0.
    per_mille: AtomicU64,
    struck: AtomicU64,
    /// Bytes that can still be written; negative: any number.
    room: AtomicI64,
    /// The request of an upload in parts that fails, counted down to 1, and how.
    torn: (AtomicI64, Fault),
}

impl Dice {
    /// One step of splitmix64.
    fn next(&self) -> u64 {
        let mut z = self
            .state
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn roll(&self) -> Option<Fault> {
        let rolled = self.next();
        if rolled % 1000 >= self.per_mille.load(Ordering::SeqCst) {
            return None;
        }
        self.struck.fetch_add(1, Ordering::SeqCst);
        Some(if rolled & (1 << 40) == 0 {
            Fault::Refused
        } else {
            Fault::LostAnswer
        })
    }

    /// For a request that begins an upload in parts, is one of its parts, or ends it.
    fn roll_upload(&self) -> Option<Fault> {
        if self.torn.0.fetch_sub(1, Ordering::SeqCst) != 1 {
            return self.roll();
        }
        self.struck.fetch_add(1, Ordering::SeqCst);
        Some(self.torn.1)
    }

    /// Takes room for so many bytes, or tells that there is none.
    fn take_room(&self, bytes: usize) -> Result<()> {
        let bytes = i64::try_from(bytes).unwrap();
        let taken = self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |room| {
            if room < 0 {
                Some(room)
            } else {
                (room >= bytes).then(|| room - bytes)
            }
        });
        taken.map(drop).map_err(|_| {
            self.struck.fetch_add(1, Ordering::SeqCst);
            Error::Generic {
                store: "faulty",
                source: std::io::Error::from(std::io::ErrorKind::StorageFull).into(),
            }
        })
    }
}

#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    dice: Arc<Dice>,
}

impl FaultyStore {
    pub fn new(inner: Arc<dyn ObjectStore>, seed: u64, per_mille: u64) -> Arc<Self> {
        Self::with(inner, seed, per_mille, (0, Fault::Refused))
    }

    /// Beside the dice, the `torn`th request that has to do with an upload in parts fails: they count from 1, begin, parts and end.
    pub fn with(inner: Arc<dyn ObjectStore>, seed: u64, per_mille: u64, torn: (i64, Fault)) -> Arc<Self> {
        Arc::new(Self {
            inner,
            dice: Arc::new(Dice {
                state: AtomicU64::new(seed),
                per_mille: AtomicU64::new(per_mille),
                struck: AtomicU64::new(0),
                room: AtomicI64::new(-1),
                torn: (AtomicI64::new(torn.0), torn.1),
            }),
        })
    }

    /// Nothing fails, until so many bytes are written.
    pub fn with_room(inner: Arc<dyn ObjectStore>, bytes: i64) -> Arc<Self> {
        let store = Self::new(inner, 0, 0);
        store.dice.room.store(bytes, Ordering::SeqCst);
        store
    }

    /// From here on nothing fails.
    pub fn recover(&self) {
        self.dice.per_mille.store(0, Ordering::SeqCst);
        self.dice.room.store(-1, Ordering::SeqCst);
    }

    /// Faults so far.
    pub fn struck(&self) -> u64 {
        self.dice.struck.load(Ordering::SeqCst)
    }

    /// Does `request` unless it is refused; its answer may be lost.
    async fn fail_or<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        failed(self.dice.roll(), request).await
    }
}

async fn failed<T>(how: Option<Fault>, request: impl Future<Output = Result<T>>) -> Result<T> {
    match how {
        None => request.await,
        Some(Fault::Refused) => Err(fault("the request was refused")),
        Some(Fault::LostAnswer) => request.await.and(Err(fault("the answer was lost"))),
    }
}

fn fault(why: &str) -> Error {
    Error::Generic {
        store: "faulty",
        source: why.to_owned().into(),
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty store")
    }
}

#[async_trait::async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.dice.take_room(payload.content_length())?;
        self.fail_or(self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begun = self.inner.put_multipart_opts(location, options);
        let upload = failed(self.dice.roll_upload(), begun).await?;
        let dice = self.dice.clone();
        Ok(Box::new(FaultyUpload { upload, dice }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut result = self.inner.get_opts(location, options).await?;
        match self.dice.roll() {
            None => {}
            Some(Fault::Refused) => return Err(fault("the request was refused")),
            Some(Fault::LostAnswer) => {
                let torn = stream::once(async { Err(fault("the connection broke off")) });
                result.payload = GetResultPayload::Stream(torn.boxed());
            }
        }
        Ok(result)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (before, after) = (self.dice.clone(), self.dice.clone());
        let asked = locations.map(move |location| match before.roll() {
            Some(Fault::Refused) => Err(fault("the request was refused")),
            _ => location,
        });
        let answered = self.inner.delete_stream(asked.boxed());
        answered
            .map(move |answer| match after.roll() {
                Some(Fault::LostAnswer) => Err(fault("the answer was lost")),
                _ => answer,
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let dice = self.dice.clone();
        let listed = self.inner.list(prefix).then(move |item| {
            let dice = dice.clone();
            async move {
                tokio::time::sleep(ITEM_DELAY).await;
                match dice.roll() {
                    Some(_) => Err(fault("the listing broke off")),
                    None => item,
                }
            }
        });
        listed.boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        tokio::time::sleep(ITEM_DELAY).await;
        self.fail_or(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.fail_or(self.inner.copy_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    upload: Box<dyn MultipartUpload>,
    dice: Arc<Dice>,
}

#[async_trait::async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        if let Err(error) = self.dice.take_room(data.content_length()) {
            return async { Err(error) }.boxed();
        }
        match self.dice.roll_upload() {
            Some(Fault::Refused) => async { Err(fault("a part was refused")) }.boxed(),
            Some(Fault::LostAnswer) => {
                let part = self.upload.put_part(data);
                async { part.await.and(Err(fault("the answer to a part was lost"))) }.boxed()
            }
            None => self.upload.put_part(data),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        match self.dice.roll_upload() {
            Some(Fault::Refused) => Err(fault("the upload was torn before its end")),
            Some(Fault::LostAnswer) => {
                self.upload.complete().await?;
                Err(fault("the answer to the upload's end was lost"))
            }
            None => self.upload.complete().await,
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
