//! What answers one connection: Tansu's services, behind a gate that can hold all requests back for a moment.

use std::sync::Arc;

use rama::{Context, Layer, Service};
use tansu_broker::coordinator::group::Coordinator;
use tansu_broker::{Error, service};
use tansu_sans_io::Frame;
use tansu_service::{
    BytesFrameLayer, BytesFrameService, FrameRouteService, TcpBytesLayer, TcpBytesService, TcpContext, TcpContextLayer,
    TcpContextService,
};
use tansu_storage::Storage;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

/// Open while requests are served; closed, it waits for those under way and keeps new ones waiting.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<RwLock<()>>);

impl Gate {
    /// No request runs until the guard is dropped.
    pub async fn close(&self) -> OwnedRwLockWriteGuard<()> {
        self.0.clone().write_owned().await
    }
}

/// A service behind the gate.
#[derive(Debug)]
pub struct Gated<S> {
    inner: S,
    gate: Gate,
}

impl<S, State> Service<State, Frame> for Gated<S>
where
    S: Service<State, Frame>,
    State: Clone + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = S::Error;

    async fn serve(&self, context: Context<State>, request: Frame) -> Result<S::Response, S::Error> {
        let _open = self.gate.0.read().await;
        self.inner.serve(context, request).await
    }
}

type Connection = TcpContextService<TcpBytesService<BytesFrameService<Gated<FrameRouteService<(), Error>>>, ()>>;

/// The same stack as [`service::services`], with the gate before the routes.
pub fn service<C: Coordinator, S: Storage>(
    cluster_id: &str,
    groups: C,
    storage: S,
    gate: Gate,
) -> Result<Connection, Error> {
    let routes = service::storage::services(FrameRouteService::<(), Error>::builder(), storage)?;
    let routes = service::coordinator::services(routes, groups)?;
    let route = service::auth::services(routes)?.build()?;
    let context = TcpContextLayer::new(TcpContext::default().cluster_id(Some(cluster_id.to_owned())));
    let layers = (context, TcpBytesLayer::default(), BytesFrameLayer::default());
    Ok(layers.into_layer(Gated { inner: route, gate }))
}
