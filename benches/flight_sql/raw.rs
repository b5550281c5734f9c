//! The peer: batches that lie in memory, sent by arrow-flight's own encoder and nothing else.

use std::net::SocketAddr;

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::server::FlightSqlService;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt, SqlInfo, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use datafusion::arrow::record_batch::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

#[derive(Clone)]
struct Raw {
    batches: Vec<RecordBatch>,
    times: usize,
}

/// Serves any statement with `batches`, `times` over.
pub async fn serve(batches: Vec<RecordBatch>, times: usize) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let ended = shutdown.clone().cancelled_owned();
    let incoming = stream::unfold(listener, async |listener| {
        let (socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        Some((Ok::<_, std::io::Error>(socket), listener))
    });
    let server = Server::builder().add_service(FlightServiceServer::new(Raw { batches, times }));
    tokio::spawn(async move { server.serve_with_incoming_shutdown(incoming, ended).await.unwrap() });
    (addr, shutdown)
}

#[tonic::async_trait]
impl FlightSqlService for Raw {
    type FlightService = Self;

    async fn get_flight_info_statement(
        &self,
        _query: CommandStatementQuery,
        _request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = TicketStatementQuery::default().as_any().encode_to_vec();
        let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
        Ok(Response::new(FlightInfo::new().with_endpoint(endpoint)))
    }

    async fn do_get_statement(
        &self,
        _ticket: TicketStatementQuery,
        _request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let schema = self.batches[0].schema();
        let all = std::iter::repeat_n(self.batches.clone(), self.times).flatten();
        let encoded = FlightDataEncoderBuilder::new()
            .with_schema(schema)
            .build(stream::iter(all).map(Ok::<_, FlightError>))
            .map_err(Status::from);
        Ok(Response::new(encoded.boxed()))
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
