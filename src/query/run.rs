//! Connects, asks, and hands the rows to the output as they arrive.

use std::time::Duration;

use anyhow::Context;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::transport::{Channel, Endpoint};

use super::output::{Output, settle};
use crate::cli::QueryArgs;
use crate::config::settings::QuerySettings;
use crate::exit::Usage;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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
