//! Log-in: whoever got past the gate gets a bearer, for drivers that log in once and send that from then on.

use arrow_flight::{HandshakeRequest, HandshakeResponse};
use bytes::Bytes;
use tonic::{Request, Response, Status, Streaming};

use crate::identity::Admitted;
use crate::service::{Answer, Boxed, Service};

pub fn handshake(
    service: &Service,
    request: &Request<Streaming<HandshakeRequest>>,
) -> Answer<Boxed<HandshakeResponse>> {
    let admitted = request.extensions().get::<Admitted>();
    let admitted = admitted.ok_or_else(|| Status::unauthenticated("log in first"))?;
    let bearer = service.gate.give_bearer(admitted);
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
