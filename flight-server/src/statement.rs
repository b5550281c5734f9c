//! Ad-hoc statements: GetFlightInfo plans and seals a ticket, DoGet runs what the ticket says.

use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightInfo, Ticket};
use prost::Message;
use tonic::{Request, Response};

use crate::caller::Caller;
use crate::engine::Described;
use crate::error::Result;
use crate::service::{Service, flight_info};
use crate::stream::FrameStream;
use crate::ticket::{Claims, Kind};

/// The initial metadata of a result: a JSON object of table -> Delta version.
const VERSIONS_HEADER: &str = "x-ticklake-versions";
/// And of table -> milliseconds since its commit.
const AGE_HEADER: &str = "x-ticklake-age-ms";

pub async fn describe(
    service: &Service,
    query: CommandStatementQuery,
    request: Request<FlightDescriptor>,
) -> Result<FlightInfo> {
    let caller = Caller::of(&service.engine, &request)?;
    let claims = Claims {
        user: caller.user(),
        sql: query.query,
        session: Some(caller.session.clone()),
        ..Default::default()
    };
    let described = service.engine.describe(claims, caller).await?;
    info(described, request.into_inner())
}

pub fn info(described: Described, descriptor: FlightDescriptor) -> Result<FlightInfo> {
    let ticket = TicketStatementQuery {
        statement_handle: described.ticket,
    }
    .as_any()
    .encode_to_vec();
    flight_info(&described.schema, ticket.into(), descriptor, described.app_metadata)
}

pub async fn run(
    service: &Service,
    ticket: TicketStatementQuery,
    request: Request<Ticket>,
) -> Result<Response<FrameStream>> {
    let caller = Caller::of(&service.engine, &request)?;
    let claims = service
        .engine
        .signer
        .open(Kind::Ticket, &ticket.statement_handle, &caller.identity.user)?;
    let frames = service.engine.run(claims, caller).await?;
    let mut response = Response::new(frames.stream);
    for (name, value) in [(VERSIONS_HEADER, frames.versions), (AGE_HEADER, frames.age_ms)] {
        if let Ok(value) = value.parse() {
            response.metadata_mut().insert(name, value);
        }
    }
    response.extensions_mut().insert(frames.query);
    Ok(response)
}
