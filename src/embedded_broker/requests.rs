//! What answers one connection: Tansu's services, behind a gate that can hold all requests back for a moment.

use std::sync::Arc;

use libsql::Database;
use rama::{Context, Layer, Service};
use tansu_broker::coordinator::group::Coordinator;
use tansu_broker::{Error, service};
use tansu_sans_io::{ApiKey, FetchRequest, Frame};
use tansu_service::{
    BytesFrameLayer, BytesFrameService, FrameRequestLayer, FrameRouteBuilder, FrameRouteService, TcpBytesLayer,
    TcpBytesService, TcpContext, TcpContextLayer, TcpContextService,
};
use tansu_storage::Storage;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use super::fetch::Fetch;

/// Open while requests are served; closed, it waits for those under way and keeps new ones waiting; Fetch passes.
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
        // Reading never waits for a writer: the file has a write-ahead log. And a Fetch may take its time.
        let reads = request.api_key().is_ok_and(|key| key == FetchRequest::KEY);
        let _open = if reads { None } else { Some(self.gate.0.read().await) };
        self.inner.serve(context, request).await
    }
}

type Connection = TcpContextService<TcpBytesService<BytesFrameService<Gated<FrameRouteService<(), Error>>>, ()>>;

/// Which of Tansu's services answer: all that clients of ours call, but for Fetch.
fn tansu_services<S: Storage>(
    routes: FrameRouteBuilder<(), Error>,
    storage: &S,
) -> Result<FrameRouteBuilder<(), Error>, Error> {
    use service::storage::*;
    let services = [
        add_offsets_to_txn,
        add_partitions_to_txn,
        consumer_group_describe,
        create_topics,
        delete_groups,
        delete_topics,
        describe_cluster,
        describe_configs,
        describe_groups,
        describe_topic_partitions,
        find_coordinator,
        get_telemetry_subscriptions,
        incremental_alter_configs,
        init_producer_id,
        list_groups,
        list_offsets,
        list_partition_reassignments,
        metadata,
        produce,
        txn_offset_commit_request,
    ];
    services
        .iter()
        .try_fold(routes, |routes, service| service(routes, storage.clone()))
}

/// The same stack as [`service::services`], with the gate before the routes and a Fetch of our own.
pub fn service<C: Coordinator, S: Storage>(
    cluster_id: &str,
    groups: C,
    storage: S,
    file: Arc<Database>,
    gate: Gate,
) -> Result<Connection, Error> {
    let routes = tansu_services(FrameRouteService::<(), Error>::builder(), &storage)?;
    let fetch = Fetch { storage, file };
    let fetch = FrameRequestLayer::<FetchRequest>::new().into_layer(fetch).boxed();
    let routes = routes.with_route(FetchRequest::KEY, fetch)?;
    let routes = service::coordinator::services(routes, groups)?;
    let route = service::auth::services(routes)?.build()?;
    let context = TcpContextLayer::new(TcpContext::default().cluster_id(Some(cluster_id.to_owned())));
    let layers = (context, TcpBytesLayer::default(), BytesFrameLayer::default());
    Ok(layers.into_layer(Gated { inner: route, gate }))
}
