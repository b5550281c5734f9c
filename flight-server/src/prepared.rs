//! Prepared statements. A handle is the signed statement itself, with the bound values once there are some, so any
//! replica answers it and closing it frees nothing.

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, CommandPreparedStatementQuery,
    DoPutPreparedStatementResult,
};
use arrow_flight::{Action, FlightData, FlightDescriptor, FlightInfo, IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::ipc::root_as_message;
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use futures::TryStreamExt;
use prost::Message;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Request};

use crate::caller::Caller;
use crate::error::{Error, Result, humanize};
use crate::service::Service;
use crate::ticket::{Claims, Kind};
use crate::{parameters, statement, values};

/// What one DoPut of values may hold in memory.
const MAX_PARAMETER_BYTES: usize = 32 << 20;
/// Calls whose values are received at once; more wait.
pub const RECEIVED_AT_ONCE: usize = 8;

pub async fn create(
    service: &Service,
    query: ActionCreatePreparedStatementRequest,
    request: Request<Action>,
) -> Result<ActionCreatePreparedStatementResult> {
    let caller = Caller::of(&service.engine, &request)?;
    let (user, session) = (caller.user(), caller.session.clone());
    let prepared = service.engine.prepare(query.query, caller).await?;
    let claims = Claims {
        user,
        session: Some(session),
        sql: prepared.sql,
        parameter_count: u32::try_from(prepared.parameter_types.len()).unwrap_or(u32::MAX),
        ..Default::default()
    };
    Ok(ActionCreatePreparedStatementResult {
        prepared_statement_handle: service.engine.signer.seal(
            Kind::Prepared,
            claims,
            service.engine.options.ticket_lifetime,
        ),
        dataset_schema: ipc(&prepared.schema)?,
        parameter_schema: ipc(&parameters::schema(&prepared.parameter_types))?,
    })
}

fn ipc(schema: &Schema) -> Result<Bytes> {
    let message: IpcMessage = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into()?;
    Ok(message.0)
}

/// Binds values: the answer is another handle, which holds them.
pub async fn bind(
    service: &Service,
    query: CommandPreparedStatementQuery,
    request: Request<PeekableFlightDataStream>,
) -> Result<DoPutPreparedStatementResult> {
    let caller = Caller::of(&service.engine, &request)?;
    let handle = query.prepared_statement_handle;
    let mut claims = service
        .engine
        .signer
        .open(Kind::Prepared, &handle, &caller.identity.user)?;
    let count = claims.parameter_count as usize;
    let limit = service.engine.options.reader_timeout;
    let received = async {
        let place = service.receiving.acquire().await;
        (receive(request.into_inner()).await, place)
    };
    let Ok((frames, _place)) = tokio::time::timeout(limit, received).await else {
        let limit = humanize(limit);
        return Err(Error::Limit(format!(
            "the values have not come within {limit}; bind them again"
        )));
    };
    // Arrow panics over buffers that lie: a task of its own takes the blame.
    let read = AbortOnDropHandle::new(tokio::spawn(read(frames?, count)));
    let values = read
        .await
        .map_err(|_| Error::Parameter("the values do not decode".into()))??;
    if values.is_none() {
        return Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(handle),
        });
    }
    claims.parameters = values;
    let bound = service
        .engine
        .signer
        .seal(Kind::Prepared, claims, service.engine.options.ticket_lifetime);
    service.bindings.remember(caller.peer, &handle, bound.clone());
    Ok(DoPutPreparedStatementResult {
        prepared_statement_handle: Some(bound),
    })
}

/// Values as they travel; None where the statement takes none and none were sent.
async fn read(frames: Vec<Result<FlightData, FlightError>>, count: usize) -> Result<Option<Bytes>> {
    let batches = decode_frames(frames).await?;
    if count == 0 && batches.iter().all(|b| b.num_columns() == 0) {
        return Ok(None);
    }
    if values::rows(&batches, count)?.is_empty() {
        return Err(Error::Parameter("no row of values was sent".into()));
    }
    parameters::encode(&batches).map(Some)
}

async fn receive(mut stream: PeekableFlightDataStream) -> Result<Vec<Result<FlightData, FlightError>>> {
    let mut frames = Vec::new();
    let mut bytes = 0;
    while let Some(frame) = stream.try_next().await.map_err(|e| match e.code() {
        Code::DeadlineExceeded | Code::Unavailable => Error::Limit(e.message().to_owned()),
        _ => Error::Parameter(e.message().to_owned()),
    })? {
        // Whatever it holds: one that holds nothing is kept too.
        bytes += frame.encoded_len() + size_of::<FlightData>();
        if bytes > MAX_PARAMETER_BYTES {
            return Err(Error::Parameter(format!(
                "more than {MAX_PARAMETER_BYTES} bytes of values; bind fewer at once"
            )));
        }
        check_size(&frame)?;
        frames.push(Ok(frame));
    }
    Ok(frames)
}

pub async fn decode_frames(frames: Vec<Result<FlightData, FlightError>>) -> Result<Vec<RecordBatch>> {
    let batches = FlightRecordBatchStream::new_from_flight_data(futures::stream::iter(frames));
    batches.try_collect().await.map_err(|e| Error::Parameter(e.to_string()))
}

/// Refuses frames that would be larger once they are decoded than they are now.
pub fn check_size(frame: &FlightData) -> Result<()> {
    let message = root_as_message(&frame.data_header).ok();
    let dictionary = message.and_then(|m| m.header_as_dictionary_batch());
    // It is copied whole with each part that comes.
    if dictionary.is_some_and(|dictionary| dictionary.isDelta()) {
        return Err(Error::Parameter(
            "dictionaries that grow are not taken; send each one whole".into(),
        ));
    }
    let batch = match dictionary {
        Some(dictionary) => dictionary.data(),
        None => message.and_then(|m| m.header_as_record_batch()),
    };
    if batch.is_some_and(|batch| batch.compression().is_some()) {
        return Err(Error::Parameter(
            "compressed values are not taken; send them plain".into(),
        ));
    }
    // Buffers that lie over one another: each of them may become a copy.
    let buffers = batch.and_then(|batch| batch.buffers()).into_iter().flatten();
    let said = buffers.fold(0_u64, |sum, buffer| sum.saturating_add(buffer.length().unsigned_abs()));
    if said > frame.data_body.len() as u64 {
        return Err(Error::Parameter(format!(
            "buffers of {said} bytes in a message of {}",
            frame.data_body.len()
        )));
    }
    Ok(())
}

pub async fn describe(
    service: &Service,
    query: CommandPreparedStatementQuery,
    request: Request<FlightDescriptor>,
) -> Result<FlightInfo> {
    let caller = Caller::of(&service.engine, &request)?;
    let mut claims =
        service
            .engine
            .signer
            .open(Kind::Prepared, &query.prepared_statement_handle, &caller.identity.user)?;
    if claims.parameters.is_none()
        && claims.parameter_count > 0
        && let Some(bound) = service.bindings.recall(caller.peer, &query.prepared_statement_handle)
    {
        claims = service
            .engine
            .signer
            .open(Kind::Prepared, &bound, &caller.identity.user)?;
    }
    let described = service.engine.describe(claims, caller).await?;
    statement::info(described, request.into_inner())
}
