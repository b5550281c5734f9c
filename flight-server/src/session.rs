//! Sessions and cancelling: the calls around queries.
//!
//! arrow-flight has no messages for session options; these are hand-written from Flight.proto, their bodies not wrapped
//! in Any. A session holds nothing yet: the catalog and schema it can choose are the only ones there are.

use std::collections::HashMap;

use arrow_flight::sql::{ActionCancelQueryRequest, ActionCancelQueryResult};
use arrow_flight::{Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo};
use prost::Message;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::error::Error;
use crate::identity::Identity;
use crate::schemas::{CATALOG, DEFAULT_SCHEMA};
use crate::service::{Answer, Boxed, Service};

#[derive(Clone, PartialEq, Message)]
pub struct SessionOptionValue {
    #[prost(oneof = "OptionValue", tags = "1, 2, 3, 4, 5")]
    pub option_value: Option<OptionValue>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum OptionValue {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(sfixed64, tag = "3")]
    Int64(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    StringList(StringList),
}

#[derive(Clone, PartialEq, Message)]
pub struct StringList {
    #[prost(string, repeated, tag = "1")]
    pub values: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    pub session_options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub errors: HashMap<String, SessionOptionError>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SessionOptionError {
    #[prost(enumeration = "ErrorValue", tag = "1")]
    pub value: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum ErrorValue {
    Unspecified = 0,
    InvalidName = 1,
    InvalidValue = 2,
    Error = 3,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub session_options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CloseSessionResult {
    /// 1: closed.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

pub fn action_types() -> Vec<ActionType> {
    [
        ("CancelFlightInfo", "Stops the query of a FlightInfo"),
        ("SetSessionOptions", "Chooses catalog and schema"),
        ("GetSessionOptions", "Tells catalog and schema"),
        ("CloseSession", "Ends the session"),
    ]
    .map(|(name, text)| ActionType {
        r#type: name.into(),
        description: text.into(),
    })
    .into()
}

pub fn action(service: &Service, request: &Request<Action>) -> Answer<Boxed<arrow_flight::Result>> {
    let action = request.get_ref();
    let body = match action.r#type.as_str() {
        "CancelFlightInfo" => cancel_flight_info(service, request)?.encode_to_vec(),
        "SetSessionOptions" => {
            let request: SetSessionOptionsRequest = decode(service, &action.body)?;
            set_options(&request).encode_to_vec()
        }
        "GetSessionOptions" => options().encode_to_vec(),
        "CloseSession" => CloseSessionResult { status: 1 }.encode_to_vec(),
        other => {
            return Err(service
                .engine
                .fail(Error::Unsupported(format!("action {other} is not supported"))));
        }
    };
    Ok(Response::new(Box::pin(futures::stream::iter([Ok(
        arrow_flight::Result { body: body.into() },
    )]))))
}

fn decode<M: Message + Default>(service: &Service, body: &[u8]) -> Result<M, Status> {
    M::decode(body).map_err(|e| {
        service
            .engine
            .fail(Error::Request(format!("the action's body does not decode: {e}")))
    })
}

fn set_options(request: &SetSessionOptionsRequest) -> SetSessionOptionsResult {
    let mut errors = HashMap::new();
    for (name, value) in &request.session_options {
        let text = match &value.option_value {
            Some(OptionValue::String(text)) => Some(text.as_str()),
            None => None,
            Some(_) => Some("\0"),
        };
        let error = match (name.as_str(), text) {
            ("catalog", None | Some("" | CATALOG)) | ("schema", None | Some("" | DEFAULT_SCHEMA)) => continue,
            ("catalog" | "schema", _) => ErrorValue::InvalidValue,
            _ => ErrorValue::InvalidName,
        };
        errors.insert(name.clone(), SessionOptionError { value: error as i32 });
    }
    SetSessionOptionsResult { errors }
}

fn options() -> GetSessionOptionsResult {
    let text = |t: &str| SessionOptionValue {
        option_value: Some(OptionValue::String(t.to_owned())),
    };
    let session_options = HashMap::from([
        ("catalog".to_owned(), text(CATALOG)),
        ("schema".to_owned(), text(DEFAULT_SCHEMA)),
    ]);
    GetSessionOptionsResult { session_options }
}

fn cancel_flight_info(service: &Service, request: &Request<Action>) -> Result<CancelFlightInfoResult, Status> {
    let caller = Caller::of(request).map_err(|e| service.engine.fail(e))?;
    let body: CancelFlightInfoRequest = decode(service, &request.get_ref().body)?;
    let status = cancel(service, &caller.identity, &body.info.unwrap_or_default());
    Ok(CancelFlightInfoResult { status: status as i32 })
}

/// The older form of the same: its body holds an encoded FlightInfo.
pub fn cancel_query(
    service: &Service,
    query: ActionCancelQueryRequest,
    request: &Request<Action>,
) -> Result<ActionCancelQueryResult, Status> {
    let caller = Caller::of(request).map_err(|e| service.engine.fail(e))?;
    let info: FlightInfo = decode(service, &query.info)?;
    Ok(ActionCancelQueryResult {
        result: cancel(service, &caller.identity, &info) as i32,
    })
}

/// The id in app_metadata names the query, its owner or an admin may stop it. What does not run here cannot be cancelled here.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_outside_what_there_is_are_named() {
        let text = |t: &str| SessionOptionValue {
            option_value: Some(OptionValue::String(t.to_owned())),
        };
        let request = SetSessionOptionsRequest {
            session_options: HashMap::from([
                ("catalog".to_owned(), text(CATALOG)),
                ("schema".to_owned(), text("other")),
                ("color".to_owned(), text("red")),
            ]),
        };
        let request = SetSessionOptionsRequest::decode(request.encode_to_vec().as_slice()).unwrap();
        let errors = set_options(&request).errors;
        assert_eq!(errors.len(), 2);
        assert_eq!(errors["schema"].value, ErrorValue::InvalidValue as i32);
        assert_eq!(errors["color"].value, ErrorValue::InvalidName as i32);
    }
}
