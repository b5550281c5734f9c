//! Cancelling: a query ends for its owner or an admin, if it runs here.

use arrow_flight::sql::{ActionCancelQueryRequest, ActionCancelQueryResult};
use arrow_flight::{Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo};
use prost::Message;
use tonic::{Request, Response};

use crate::actions::reply;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::service::{Boxed, Service};

/// Our own action: its body is the id, as `system.queries` shows it.
pub const BY_ID: &str = "ticklake.CancelQuery";

pub fn flight_info(service: &Service, request: &Request<Action>) -> Result<Response<Boxed<arrow_flight::Result>>> {
    let caller = Caller::of(&service.engine, request)?;
    let body: CancelFlightInfoRequest = decode(&request.get_ref().body)?;
    let status = cancel(service, &caller.identity, &body.info.unwrap_or_default());
    Ok(reply(CancelFlightInfoResult { status: status as i32 }.encode_to_vec()))
}

pub fn by_id(service: &Service, request: &Request<Action>) -> Result<Response<Boxed<arrow_flight::Result>>> {
    let caller = Caller::of(&service.engine, request)?;
    let id = std::str::from_utf8(&request.get_ref().body)
        .map_err(|_| Error::Request("the query's id is not text".into()))?;
    if !service.engine.cancel(id, &caller.identity) {
        return Err(Error::NotFound(format!(
            "no query {id} of yours runs on this server; `ticklake queries list` shows them"
        )));
    }
    Ok(reply(Vec::new()))
}

/// The older form of the same: its body holds an encoded FlightInfo.
pub fn query(
    service: &Service,
    query: &ActionCancelQueryRequest,
    request: &Request<Action>,
) -> Result<ActionCancelQueryResult> {
    let caller = Caller::of(&service.engine, request)?;
    let info: FlightInfo = decode(&query.info)?;
    Ok(ActionCancelQueryResult {
        result: cancel(service, &caller.identity, &info) as i32,
    })
}

fn decode<M: Message + Default>(body: &[u8]) -> Result<M> {
    M::decode(body).map_err(|e| Error::Request(format!("the action's body does not decode: {e}")))
}

/// The id in app_metadata names the query. What does not run here cannot be cancelled here.
fn cancel(service: &Service, identity: &Identity, info: &FlightInfo) -> CancelStatus {
    let metadata: Option<serde_json::Value> = serde_json::from_slice(&info.app_metadata).ok();
    let id = metadata
        .as_ref()
        .and_then(|m| m.get("query_id"))
        .and_then(|id| id.as_str());
    match id {
        Some(id) if service.engine.cancel(id, identity) => CancelStatus::Cancelled,
        _ => CancelStatus::NotCancellable,
    }
}
