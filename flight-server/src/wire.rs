//! The Flight service as it stands on the wire: arrow-flight's Flight SQL dispatch, and what it leaves out.
//!
//! GetSchema and PollFlightInfo answer from GetFlightInfo, ListFlights is empty, malformed bodies are the caller's error.

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{Any, Command};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use crate::error::Error;
use crate::service::{Answer, Boxed, Service};

/// Bodies of other actions are Flight's own, or ours, and stand as they are.
const WRAPPED_ACTIONS: [&str; 3] = ["CreatePreparedStatement", "ClosePreparedStatement", "CancelQuery"];

#[derive(Clone)]
pub struct Wire(pub Service);

impl Wire {
    /// arrow-flight answers Internal to what does not decode.
    fn check(&self, body: &[u8], what: &str) -> Result<(), Status> {
        let decoded = Any::decode(body).map_err(|e| e.to_string());
        let command = decoded.and_then(|any| Command::try_from(any).map_err(|e| e.to_string()));
        match command {
            Ok(_) => Ok(()),
            Err(error) => Err(self
                .0
                .engine
                .fail(Error::Request(format!("{what} is not a Flight SQL message: {error}")))),
        }
    }
}

#[tonic::async_trait]
impl FlightService for Wire {
    type HandshakeStream = Boxed<HandshakeResponse>;
    type ListFlightsStream = Boxed<FlightInfo>;
    type DoGetStream = Boxed<FlightData>;
    type DoPutStream = Boxed<PutResult>;
    type DoActionStream = Boxed<arrow_flight::Result>;
    type ListActionsStream = Boxed<ActionType>;
    type DoExchangeStream = Boxed<FlightData>;

    async fn handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Answer<Self::HandshakeStream> {
        self.0.handshake(request).await
    }

    async fn list_flights(&self, _request: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        Ok(Response::new(Box::pin(futures::stream::empty())))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        self.check(&request.get_ref().cmd, "the descriptor")?;
        self.0.get_flight_info(request).await
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<PollInfo> {
        let info = self.get_flight_info(request).await?.into_inner();
        let poll = PollInfo {
            info: Some(info),
            flight_descriptor: None,
            progress: Some(1.0),
            expiration_time: None,
        };
        Ok(Response::new(poll))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        let info = self.get_flight_info(request).await?.into_inner();
        Ok(Response::new(SchemaResult { schema: info.schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Answer<Self::DoGetStream> {
        self.check(&request.get_ref().ticket, "the ticket")?;
        self.0.do_get(request).await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        self.0.do_put(request).await
    }

    async fn do_exchange(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoExchangeStream> {
        self.0.do_exchange(request).await
    }

    async fn do_action(&self, request: Request<Action>) -> Answer<Self::DoActionStream> {
        if WRAPPED_ACTIONS.contains(&request.get_ref().r#type.as_str()) {
            self.check(&request.get_ref().body, "the action")?;
        }
        self.0.do_action(request).await
    }

    async fn list_actions(&self, request: Request<Empty>) -> Answer<Self::ListActionsStream> {
        self.0.list_actions(request).await
    }
}
