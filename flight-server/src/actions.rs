//! Actions beyond Flight SQL's own: which there are, and who answers them.

use arrow_flight::{Action, ActionType};
use tonic::{Request, Response};

use crate::error::Error;
use crate::service::{Answer, Boxed, Service};
use crate::{cancel, session};

pub fn types() -> Vec<ActionType> {
    [
        ("CancelFlightInfo", "Stops the query of a FlightInfo"),
        (cancel::BY_ID, "Stops the query whose id is the body"),
        (
            "SetSessionOptions",
            "Chooses schema, time zone, types, timestamps and timeout",
        ),
        ("GetSessionOptions", "Tells what the session has chosen"),
        ("CloseSession", "Ends the session"),
    ]
    .map(|(name, text)| ActionType {
        r#type: name.into(),
        description: text.into(),
    })
    .into()
}

pub fn answer(service: &Service, request: &Request<Action>) -> Answer<Boxed<arrow_flight::Result>> {
    let answer = match request.get_ref().r#type.as_str() {
        "CancelFlightInfo" => cancel::flight_info(service, request),
        cancel::BY_ID => cancel::by_id(service, request),
        "SetSessionOptions" => session::set_options(service, request),
        "GetSessionOptions" => session::get_options(service, request),
        "CloseSession" => session::close(service, request),
        other => Err(Error::Unsupported(format!("action {other} is not supported"))),
    };
    answer.map_err(|e| service.engine.fail(e))
}

/// An answer of one body.
pub fn reply(body: Vec<u8>) -> Response<Boxed<arrow_flight::Result>> {
    Response::new(Box::pin(futures::stream::iter([Ok(arrow_flight::Result {
        body: body.into(),
    })])))
}
