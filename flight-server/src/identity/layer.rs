//! The one place where calls are let in: a tower layer before every RPC, so that no method can forget to ask.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::gate::{Gate, Peer};
use crate::session_cookie;
use crate::status::ServerStatus;

#[derive(Clone)]
pub struct GateLayer {
    pub gate: Arc<Gate>,
    pub status: Arc<ServerStatus>,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated {
            inner,
            gate: self.gate.clone(),
            status: self.status.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Gated<S> {
    inner: S,
    gate: Arc<Gate>,
    status: Arc<ServerStatus>,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<http::Response<Body>, E>> + Send>>;

impl<S, B> Service<http::Request<B>> for Gated<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        // The clone that is ready goes with the call.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let (gate, status) = (self.gate.clone(), self.status.clone());
        let header = request.headers().get(http::header::AUTHORIZATION);
        // What is no text is no credential of ours.
        let authorization = header.map(|value| value.to_str().unwrap_or_default().to_owned());
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        Box::pin(async move {
            match gate.identify(authorization.as_deref(), &peer).await {
                Ok(admitted) => {
                    peer.let_in.store(true, Ordering::Relaxed);
                    let offers = !session_cookie::is_sent(request.headers());
                    request.extensions_mut().insert(admitted.identity.clone());
                    request.extensions_mut().insert(admitted);
                    let mut response = inner.call(request).await?;
                    if offers && !session_cookie::is_set(response.headers()) {
                        session_cookie::offer(response.headers_mut());
                    }
                    peer.offered.store(true, Ordering::Relaxed);
                    Ok(response)
                }
                Err(error) => {
                    status.refused_login();
                    Ok(Status::from(error).into_http())
                }
            }
        })
    }
}
