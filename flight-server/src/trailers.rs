//! How long a statement took, at the end of its result: gRPC trailers `x-ticklake-queue-ms`, `x-ticklake-plan-ms` and
//! `x-ticklake-execute-ms`. A handler of tonic's cannot set trailers, so a layer around the body does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::queries::Query;

/// Looks for a [`Query`] in the extensions of each response.
#[derive(Debug, Clone, Copy)]
pub struct TimesLayer;

impl<S> Layer<S> for TimesLayer {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed(inner)
    }
}

#[derive(Debug, Clone)]
pub struct Timed<S>(S);

impl<S, B> Service<http::Request<B>> for Timed<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            Ok(match response.extensions_mut().remove::<Arc<Query>>() {
                Some(query) => response.map(|body| Body::new(TimedBody { body, query })),
                None => response,
            })
        })
    }
}

struct TimedBody {
    body: Body,
    query: Arc<Query>,
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| match frame.into_trailers() {
                Ok(mut trailers) => {
                    tell(&self.query, &mut trailers);
                    Frame::trailers(trailers)
                }
                Err(data) => data,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

fn tell(query: &Query, trailers: &mut HeaderMap) {
    let progress = query.progress();
    for (name, time) in [
        ("x-ticklake-queue-ms", progress.queued),
        ("x-ticklake-plan-ms", progress.planned),
        ("x-ticklake-execute-ms", progress.executed),
    ] {
        trailers.insert(name, millis(time));
    }
}

fn millis(time: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
