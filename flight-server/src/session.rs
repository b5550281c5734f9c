//! Log-in, sessions and cancelling: the calls around queries.
//!
//! arrow-flight has no messages for session options; these are hand-written from Flight.proto, their bodies not wrapped
//! in Any. A session holds nothing yet: the catalog and schema it can choose are the only ones there are.

use std::collections::HashMap;

use arrow_flight::sql::{ActionCancelQueryRequest, ActionCancelQueryResult};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo, HandshakeRequest,
    HandshakeResponse,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::ANONYMOUS;
use crate::error::Error;
use crate::schemas::{CATALOG, DEFAULT_SCHEMA};
use crate::service::{Answer, Boxed, Service};
use crate::ticket::{Claims, Kind};

/// Any log-in succeeds while there are no users, and gets a bearer: drivers given a user and a password need one.
pub fn handshake(
    service: &Service,
    _request: Request<Streaming<HandshakeRequest>>,
) -> Answer<Boxed<HandshakeResponse>> {
    let claims = Claims {
        user: ANONYMOUS.to_owned(),
        ..Default::default()
    };
    let bearer = service
        .engine
        .signer
        .seal(Kind::Bearer, claims, service.engine.options.bearer_lifetime);
    let bearer = BASE64_URL_SAFE_NO_PAD.encode(bearer);
    let header = format!("Bearer {bearer}")
        .parse()
        .map_err(|_| Status::internal("the bearer is no header"))?;
    let answer = HandshakeResponse {
        protocol_version: 0,
        payload: Bytes::from(bearer),
    };
    let mut response: Response<Boxed<HandshakeResponse>> = Response::new(Box::pin(futures::stream::iter([Ok(answer)])));
    response.metadata_mut().insert("authorization", header);
    Ok(response)
}

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

pub fn action(service: &Service, action: Action) -> Answer<Boxed<arrow_flight::Result>> {
    let body = match action.r#type.as_str() {
        "CancelFlightInfo" => cancel_flight_info(service, &action.body)?.encode_to_vec(),
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

fn cancel_flight_info(service: &Service, body: &[u8]) -> Result<CancelFlightInfoResult, Status> {
    let request: CancelFlightInfoRequest = decode(service, body)?;
    let status = cancel(service, &request.info.unwrap_or_default());
    Ok(CancelFlightInfoResult { status: status as i32 })
}

/// The older form of the same: its body holds an encoded FlightInfo.
pub fn cancel_query(service: &Service, query: ActionCancelQueryRequest) -> Result<ActionCancelQueryResult, Status> {
    let info: FlightInfo = decode(service, &query.info)?;
    Ok(ActionCancelQueryResult {
        result: cancel(service, &info) as i32,
    })
}

/// The id in app_metadata names the query. What does not run here cannot be cancelled here.
fn cancel(service: &Service, info: &FlightInfo) -> CancelStatus {
    let metadata: Option<serde_json::Value> = serde_json::from_slice(&info.app_metadata).ok();
    let id = metadata
        .as_ref()
        .and_then(|m| m.get("query_id"))
        .and_then(|id| id.as_str());
    match id {
        Some(id) if service.engine.cancel(id) => CancelStatus::Cancelled,
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
