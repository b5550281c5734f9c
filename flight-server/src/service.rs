//! arrow-flight's Flight SQL trait, each call handed to the file of its family.

use std::sync::Arc;

use arrow_flight::sql::metadata::{SqlInfoData, XdbcTypeInfoData};
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, CommandGetCatalogs,
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest, CommandStatementQuery,
    CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, Ticket,
};
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use futures::Stream;
use prost::Message;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use crate::bindings::Bindings;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::identity::Gate;
use crate::stream::{FrameStream, from_batch};
use crate::{actions, cancel, catalog, handshake, info, keys, prepared, statement, xdbc};

pub type Answer<T> = Result<Response<T>, Status>;
pub type Boxed<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone)]
pub struct Service {
    pub engine: Arc<Engine>,
    pub gate: Arc<Gate>,
    pub bindings: Arc<Bindings>,
    /// Places of those who send values.
    pub receiving: Arc<Semaphore>,
    pub sql_info: Arc<SqlInfoData>,
    pub xdbc: Arc<XdbcTypeInfoData>,
}

impl Service {
    pub fn new(engine: Arc<Engine>, gate: Arc<Gate>) -> Result<Self> {
        Ok(Self {
            sql_info: Arc::new(info::build(&engine.options)?),
            engine,
            gate,
            bindings: Arc::default(),
            receiving: Arc::new(Semaphore::new(prepared::RECEIVED_AT_ONCE)),
            xdbc: Arc::new(xdbc::build()?),
        })
    }

    /// The answer to GetFlightInfo of a command whose ticket is the command itself.
    fn catalog_info(
        &self,
        schema: &Schema,
        command: &impl ProstMessageExt,
        descriptor: FlightDescriptor,
    ) -> Answer<FlightInfo> {
        let ticket = command.as_any().encode_to_vec();
        flight_info(schema, ticket.into(), descriptor, Bytes::new())
            .map_err(|e| self.engine.fail(e))
            .map(Response::new)
    }

    fn rows(&self, rows: Result<RecordBatch>) -> Answer<FrameStream> {
        self.answer(rows.and_then(from_batch))
    }

    fn answer<T>(&self, result: Result<T>) -> Answer<T> {
        result.map(Response::new).map_err(|e| self.engine.fail(e))
    }

    fn read_only<T>(&self, what: &str) -> Result<T, Status> {
        Err(self.engine.fail(Error::ReadOnly(what.to_owned())))
    }
}

/// One endpoint without a location: clients come back over the connection that they have.
pub fn flight_info(
    schema: &Schema,
    ticket: Bytes,
    descriptor: FlightDescriptor,
    metadata: Bytes,
) -> Result<FlightInfo> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket { ticket });
    let info = FlightInfo::new()
        .try_with_schema(schema)?
        .with_endpoint(endpoint)
        .with_descriptor(descriptor);
    Ok(info
        .with_total_records(-1)
        .with_total_bytes(-1)
        .with_app_metadata(metadata))
}

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Service;

    async fn do_handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Answer<Boxed<HandshakeResponse>> {
        handshake::handshake(self, &request)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.answer(statement::describe(self, query, request).await)
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> Answer<FrameStream> {
        statement::run(self, ticket, request)
            .await
            .map_err(|e| self.engine.fail(e))
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        prepared::create(self, query, request)
            .await
            .map_err(|e| self.engine.fail(e))
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        prepared::bind(self, query, request)
            .await
            .map_err(|e| self.engine.fail(e))
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.answer(prepared::describe(self, query, request).await)
    }

    async fn do_action_close_prepared_statement(
        &self,
        _query: ActionClosePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        // Handles hold no state here.
        Ok(())
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(&query.into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, _request: Request<Ticket>) -> Answer<FrameStream> {
        self.rows(catalog::catalogs(query))
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.answer(catalog::check_patterns([&query.db_schema_filter_pattern]))?;
        self.catalog_info(&query.clone().into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, request: Request<Ticket>) -> Answer<FrameStream> {
        self.rows(catalog::schemas(self, query, &request))
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        let patterns = [&query.db_schema_filter_pattern, &query.table_name_filter_pattern];
        self.answer(catalog::check_patterns(patterns))?;
        self.catalog_info(&query.clone().into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> Answer<FrameStream> {
        self.rows(catalog::tables(self, query, &request).await)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(&query.into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, _request: Request<Ticket>) -> Answer<FrameStream> {
        self.rows(catalog::table_types(query))
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(&self.sql_info.schema(), &query, request.into_inner())
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, _request: Request<Ticket>) -> Answer<FrameStream> {
        self.rows(info::rows(&self.sql_info, query))
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(&self.xdbc.schema(), &query, request.into_inner())
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        _request: Request<Ticket>,
    ) -> Answer<FrameStream> {
        self.rows(
            self.xdbc
                .record_batch(query.data_type)
                .map_err(|e| Error::Internal(e.to_string())),
        )
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(&keys::primary_schema(), &query, request.into_inner())
    }

    async fn do_get_primary_keys(&self, query: CommandGetPrimaryKeys, request: Request<Ticket>) -> Answer<FrameStream> {
        self.rows(keys::primary(self, query, &request).await)
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(&keys::reference_schema(), &query, request.into_inner())
    }

    async fn do_get_exported_keys(
        &self,
        _query: CommandGetExportedKeys,
        _request: Request<Ticket>,
    ) -> Answer<FrameStream> {
        self.rows(Ok(keys::no_references()))
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(&keys::reference_schema(), &query, request.into_inner())
    }

    async fn do_get_imported_keys(
        &self,
        _query: CommandGetImportedKeys,
        _request: Request<Ticket>,
    ) -> Answer<FrameStream> {
        self.rows(Ok(keys::no_references()))
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(&keys::reference_schema(), &query, request.into_inner())
    }

    async fn do_get_cross_reference(
        &self,
        _query: CommandGetCrossReference,
        _request: Request<Ticket>,
    ) -> Answer<FrameStream> {
        self.rows(Ok(keys::no_references()))
    }

    async fn do_get_fallback(&self, _request: Request<Ticket>, message: Any) -> Answer<FrameStream> {
        Err(self.engine.fail(Error::Unsupported(format!(
            "a ticket of type {} is not one of this server's",
            message.type_url
        ))))
    }

    async fn do_put_statement_update(
        &self,
        _query: CommandStatementUpdate,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.read_only("an update")
    }

    async fn do_put_prepared_statement_update(
        &self,
        _query: CommandPreparedStatementUpdate,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.read_only("an update")
    }

    async fn do_put_statement_ingest(
        &self,
        _query: CommandStatementIngest,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.read_only("bulk ingestion")
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        cancel::query(self, &query, &request).map_err(|e| self.engine.fail(e))
    }

    async fn do_action_fallback(&self, request: Request<Action>) -> Answer<Boxed<arrow_flight::Result>> {
        actions::answer(self, &request)
    }

    async fn list_custom_actions(&self) -> Option<Vec<Result<ActionType, Status>>> {
        Some(actions::types().into_iter().map(Ok).collect())
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
