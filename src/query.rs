//! `ticklake query`: a Flight SQL client. Rows are written as they arrive; only the table format holds back a screenful to align it.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{LineDelimited, WriterBuilder as JsonBuilder};
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches_with_schema;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::transport::{Channel, Endpoint};

use crate::cli::{OutputFormat, QueryArgs};
use crate::config::settings::QuerySettings;
use crate::exit::Usage;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Rows that one printed table aligns; the next ones get a table of their own.
const TABLE_ROWS: usize = 10_000;

/// What a server said about a request, without the transport's inner workings.
#[derive(Debug, thiserror::Error)]
#[error("{server} answered {code:?}: {message}")]
struct Refused {
    server: String,
    code: tonic::Code,
    message: String,
}

pub async fn run(args: QueryArgs, settings: &QuerySettings) -> anyhow::Result<()> {
    let server = &settings.server;
    let mut client = connect(&args, settings).await?;
    let info = client
        .execute(args.sql, None)
        .await
        .map_err(|error| plain(server, error))?;
    let mut output = None;
    for endpoint in info.endpoint {
        let ticket = endpoint
            .ticket
            .context("the server sent an endpoint without a ticket")?;
        let mut rows = client.do_get(ticket).await.map_err(|error| plain(server, error))?;
        while let Some(batch) = rows.try_next().await.map_err(|error| plain(server, error))? {
            let output = match &mut output {
                Some(output) => output,
                None => output.insert(Output::new(args.format, batch.schema())?),
            };
            if !settle(output.write(&batch))? {
                return Ok(());
            }
        }
        if output.is_none()
            && let Some(schema) = rows.schema()
        {
            output = Some(Output::new(args.format, schema.clone())?);
        }
    }
    if let Some(output) = output {
        settle(output.finish())?;
    }
    Ok(())
}

async fn connect(args: &QueryArgs, settings: &QuerySettings) -> anyhow::Result<FlightSqlServiceClient<Channel>> {
    let server = &settings.server;
    let uri = if server.contains("://") {
        server.clone()
    } else {
        format!("http://{server}")
    };
    let endpoint = Endpoint::from_shared(uri)
        .map_err(|_| Usage(format!("{server:?} is no server address; write --server HOST:PORT")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true);
    let channel = endpoint.connect().await.map_err(|error| {
        let cause = root(&error);
        anyhow::anyhow!("cannot reach a Flight SQL server at {server} ({cause}); start `ticklake up` or `ticklake serve`, or give --server HOST:PORT")
    })?;
    let inner = FlightServiceClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut client = FlightSqlServiceClient::new_from_inner(inner);
    for header in &args.headers {
        let (key, value) = header
            .split_once('=')
            .ok_or_else(|| Usage(format!("--header {header:?} is not KEY=VALUE")))?;
        client.set_header(key.trim().to_lowercase(), value);
    }
    if !settings.token.is_empty() {
        client.set_token(settings.token.clone());
    } else if !settings.user.is_empty() {
        client
            .handshake(&settings.user, &settings.password)
            .await
            .map_err(|error| plain(server, error))?;
    }
    Ok(client)
}

fn root(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// The gRPC status somewhere inside `error` as one sentence.
fn plain(server: &str, error: arrow_flight::error::FlightError) -> anyhow::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(status) = inner.downcast_ref::<tonic::Status>() {
            let message = status.message().to_owned();
            return Refused {
                server: server.to_owned(),
                code: status.code(),
                message,
            }
            .into();
        }
        cause = inner.source();
    }
    anyhow::Error::new(error).context(format!("reading from {server}"))
}

/// False where the reader of our output has gone (`| head`): no error, only the end.
fn settle(written: anyhow::Result<()>) -> anyhow::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if is_broken_pipe(&error) => Ok(false),
        Err(error) => Err(error.context("cannot write the rows")),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
            || cause.to_string().contains("Broken pipe")
    })
}

type Out = std::io::BufWriter<std::io::Stdout>;

/// One writer per format, on stdout.
enum Output {
    Table {
        schema: SchemaRef,
        held: Vec<RecordBatch>,
        rows: usize,
        printed: bool,
        out: Out,
    },
    Csv(Box<arrow::csv::Writer<Out>>),
    Json(Box<arrow::json::Writer<Out, LineDelimited>>),
    Arrow(Box<StreamWriter<Out>>),
}

impl Output {
    fn new(format: OutputFormat, schema: SchemaRef) -> anyhow::Result<Self> {
        let out = std::io::BufWriter::new(std::io::stdout());
        Ok(match format {
            OutputFormat::Table => Self::Table {
                schema,
                held: Vec::new(),
                rows: 0,
                printed: false,
                out,
            },
            OutputFormat::Csv => {
                let mut writer = CsvBuilder::new().with_header(true).build(out);
                // The header stands even where there are no rows.
                writer.write(&RecordBatch::new_empty(schema))?;
                Self::Csv(Box::new(writer))
            }
            OutputFormat::Json => Self::Json(Box::new(JsonBuilder::new().with_explicit_nulls(true).build(out))),
            OutputFormat::Arrow => Self::Arrow(Box::new(StreamWriter::try_new(out, &schema)?)),
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        match self {
            Self::Table { held, rows, .. } => {
                held.push(batch.clone());
                *rows += batch.num_rows();
                if *rows >= TABLE_ROWS {
                    self.print_table()?;
                }
            }
            Self::Csv(writer) => writer.write(batch)?,
            Self::Json(writer) => writer.write(batch)?,
            Self::Arrow(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    fn print_table(&mut self) -> anyhow::Result<()> {
        if let Self::Table {
            schema,
            held,
            rows,
            printed,
            out,
        } = self
            && (*rows > 0 || !*printed)
        {
            writeln!(out, "{}", pretty_format_batches_with_schema(schema.clone(), held)?)?;
            held.clear();
            (*rows, *printed) = (0, true);
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.print_table()?;
        match self {
            Self::Table { mut out, .. } => out.flush()?,
            Self::Csv(writer) => writer.into_inner().flush()?,
            Self::Json(mut writer) => {
                writer.finish()?;
                writer.into_inner().flush()?;
            }
            Self::Arrow(mut writer) => {
                writer.finish()?;
                writer.into_inner()?.flush()?;
            }
        }
        Ok(())
    }
}
