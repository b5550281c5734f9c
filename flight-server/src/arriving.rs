//! Bounds what is on its way in: a layer around the body of each request, behind the gate.
//!
//! Each message has a time in which it must have come, whole, and so has the end of the request. Those that do not come in one piece share a number
//! of bytes: a place for all of a message is taken before the rest of it is read, so half-sent messages hold no more than that together.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::PollSemaphore;
use tonic::Status;
use tonic::body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::error::{Error, humanize};

/// gRPC's head of a message: a byte that says whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

#[derive(Debug, Clone)]
pub struct ArrivalLayer {
    within: Duration,
    /// Longer messages are refused by whoever reads them.
    max_message: u32,
    places: Arc<Semaphore>,
}

impl ArrivalLayer {
    /// `together`: bytes of all messages that are half here.
    pub fn new(within: Duration, max_message: u32, together: usize) -> Self {
        Self {
            within,
            max_message,
            places: Arc::new(Semaphore::new(together)),
        }
    }

    fn around<B>(&self, body: B) -> Arriving<B> {
        Arriving {
            body,
            within: self.within,
            max_message: self.max_message,
            places: PollSemaphore::new(self.places.clone()),
            message: Message::default(),
            deadline: None,
            place: None,
        }
    }
}

impl<S> Layer<S> for ArrivalLayer {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded {
            inner,
            bounds: self.clone(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Bounded<S> {
    inner: S,
    bounds: ArrivalLayer,
}

impl<S, B> Service<http::Request<B>> for Bounded<S>
where
    S: Service<http::Request<Body>>,
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> S::Future {
        let bounds = &self.bounds;
        self.inner.call(request.map(|body| Body::new(bounds.around(body))))
    }
}

struct Arriving<B> {
    body: B,
    within: Duration,
    max_message: u32,
    places: PollSemaphore,
    message: Message,
    /// Runs while the server waits for the client, not while the client waits for the server.
    deadline: Option<Pin<Box<Sleep>>>,
    place: Option<OwnedSemaphorePermit>,
}

/// How much of the current message has come.
#[derive(Debug, Default)]
struct Message {
    head: [u8; HEAD_BYTES],
    head_read: usize,
    left: u32,
}

impl Message {
    /// Takes what has come; true where it ended a message.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = false;
        while !bytes.is_empty() {
            if self.head_read < HEAD_BYTES {
                self.head[self.head_read] = bytes[0];
                self.head_read += 1;
                bytes = &bytes[1..];
                if self.head_read < HEAD_BYTES {
                    continue;
                }
                let [_, length @ ..] = self.head;
                self.left = u32::from_be_bytes(length);
            }
            let taken = bytes.len().min(self.left as usize);
            bytes = &bytes[taken..];
            // No more than what was left, which is a u32.
            self.left -= taken as u32;
            if self.left == 0 {
                self.head_read = 0;
                ended = true;
            }
        }
        ended
    }

    /// What the message holds in memory once it is here, if it is half here.
    fn half_here(&self) -> Option<u32> {
        (self.left > 0).then(|| u32::from_be_bytes([self.head[1], self.head[2], self.head[3], self.head[4]]))
    }
}

impl<B> Arriving<B> {
    /// `pending`, unless it has been so for too long.
    fn wait<T>(&mut self, cx: &mut Context<'_>, why_not: impl FnOnce(Duration) -> Error) -> Poll<Result<T, Status>> {
        let within = self.within;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(why_not(within).into()))
    }

    /// Whether all of the message that is half here has its place.
    fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let bytes = match self.message.half_here() {
            Some(bytes) if self.place.is_none() && bytes <= self.max_message => bytes,
            _ => return Poll::Ready(Ok(())),
        };
        match self.places.poll_acquire_many(cx, bytes) {
            Poll::Ready(place) => {
                self.place = place;
                Poll::Ready(Ok(()))
            }
            Poll::Pending => self.wait(cx, |_| {
                Error::Busy("too much is being sent to the server at once".into())
            }),
        }
    }
}

impl<B> HttpBody for Arriving<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Err(status) = ready!(this.poll_place(cx)) {
            return Poll::Ready(Some(Err(status)));
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Pending => this.wait(cx, |within| Error::Late(humanize(within))).map(Some),
            Poll::Ready(Some(Ok(frame))) => {
                let ended = frame.data_ref().is_some_and(|data| this.message.take(data));
                if ended {
                    this.deadline = None;
                    this.place = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Status::from_error(error.into())))),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures::{FutureExt, future};
    use tonic::Code;

    use super::*;

    /// Gives its frames, with a pause before each, then says nothing more.
    struct Sent {
        frames: VecDeque<Bytes>,
        pause: Duration,
        until: Option<Pin<Box<Sleep>>>,
    }

    impl HttpBody for Sent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            if !self.pause.is_zero() {
                let pause = self.pause;
                let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
                ready!(until.as_mut().poll(cx));
                self.until = None;
            }
            match self.frames.pop_front() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Poll::Pending,
            }
        }
    }

    fn sent<const N: usize>(frames: [&'static [u8]; N]) -> Sent {
        Sent {
            frames: frames.into_iter().map(Bytes::from_static).collect(),
            pause: Duration::ZERO,
            until: None,
        }
    }

    async fn next(body: &mut Arriving<Sent>) -> Option<Result<Frame<Bytes>, Status>> {
        future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let two = b"\0\0\0\0\x03abc\0\0\0\0\0\0\0\0\x01\0x";
        for cut in 1..two.len() {
            let mut message = Message::default();
            message.take(&two[..cut]);
            message.take(&two[cut..]);
            assert_eq!(message.half_here(), Some(256), "cut at {cut}");
        }
        let mut message = Message::default();
        assert!(!message.take(b"\0\0\0\0\x03ab") && message.take(b"c\0"));
        assert_eq!(message.half_here(), None);
    }

    #[tokio::test]
    async fn a_message_that_does_not_come_is_late_however_much_of_it_drips_in() {
        let bounds = ArrivalLayer::new(Duration::from_millis(50), 100, 100);
        let drips = Sent {
            pause: Duration::from_millis(20),
            ..sent([b"\0\0\0\0\x09", b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h", b"i"])
        };
        for frames in [
            sent([]),
            sent([b"\0\0"]),
            drips,
            // Whole, but the end of the request does not come.
            sent([b"\0\0\0\0\x01a"]),
        ] {
            let mut body = bounds.around(frames);
            let mut came = 0;
            let late = loop {
                match next(&mut body).await {
                    Some(Ok(_)) => came += 1,
                    other => break other.unwrap().unwrap_err(),
                }
            };
            assert_eq!(late.code(), Code::DeadlineExceeded, "{late:?}");
            assert!(late.message().contains("50 ms"), "{late:?}");
            assert!(came < 5, "{came} frames were waited for");
        }
    }

    #[tokio::test]
    async fn half_sent_messages_share_what_they_may_hold() {
        let bounds = ArrivalLayer::new(Duration::from_secs(5), 100, 150);
        let mut one = bounds.around(sent([b"\0\0\0\0\x64half", b"more"]));
        let mut two = bounds.around(sent([b"\0\0\0\0\x64half", b"more"]));
        let mut small = bounds.around(sent([b"\0\0\0\0\x04here", b"\0\0\0\0\x04here"]));
        for body in [&mut one, &mut two] {
            assert!(next(body).await.unwrap().is_ok());
        }
        assert!(next(&mut one).await.unwrap().is_ok(), "it has its place");
        assert!(next(&mut two).now_or_never().is_none(), "and the other waits for one");
        // What comes in one piece needs none.
        assert!(next(&mut small).await.unwrap().is_ok() && next(&mut small).await.unwrap().is_ok());
        drop(one);
        assert!(next(&mut two).await.unwrap().is_ok());
        // Too long for any place: whoever reads it refuses it by its head.
        let mut long = bounds.around(sent([b"\0\0\0\x01\0half", b"more"]));
        assert!(next(&mut long).await.unwrap().is_ok() && next(&mut long).await.unwrap().is_ok());
    }
}
