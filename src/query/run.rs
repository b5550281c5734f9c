//! Connects, asks, and hands the rows to the output as they arrive.

use std::time::Duration;

use anyhow::Context;
use arrow_flight::HandshakeRequest;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::TryStreamExt;
use tonic::Request;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::output::{Output, settle};
use crate::cli::{QueryArgs, ServerLogin};
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
    let mut client = connect(&args.login, settings).await?;
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

pub async fn connect(login: &ServerLogin, settings: &QuerySettings) -> anyhow::Result<FlightSqlServiceClient<Channel>> {
    let server = &settings.server;
    let endpoint = Endpoint::from_shared(uri(server))
        .map_err(|_| Usage(format!("{server:?} is no server address; write --server HOST:PORT")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true);
    let endpoint = encrypted(endpoint, settings)?;
    let channel = endpoint.connect().await.map_err(|error| {
        let cause = root(&error);
        anyhow::anyhow!("cannot reach a Flight SQL server at {server} ({cause}); start `ticklake up` or `ticklake serve`, or give --server HOST:PORT")
    })?;
    let inner = FlightServiceClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut client = FlightSqlServiceClient::new_from_inner(inner);
    for header in &login.headers {
        let (key, value) = header
            .split_once('=')
            .ok_or_else(|| Usage(format!("--header {header:?} is not KEY=VALUE")))?;
        client.set_header(key.trim().to_lowercase(), value);
    }
    if !settings.token.is_empty() {
        client.set_token(settings.token.clone());
    } else if !settings.user.is_empty() {
        let bearer = log_in(client.inner_mut(), settings).await?;
        client.set_token(bearer);
    }
    Ok(client)
}

/// The schemes of other Flight SQL clients are understood too.
fn uri(server: &str) -> String {
    match server.split_once("://") {
        None => format!("http://{server}"),
        Some(("grpc" | "grpc+tcp", rest)) => format!("http://{rest}"),
        Some(("grpc+tls", rest)) => format!("https://{rest}"),
        Some(_) => server.to_owned(),
    }
}

fn encrypted(endpoint: Endpoint, settings: &QuerySettings) -> anyhow::Result<Endpoint> {
    if endpoint.uri().scheme_str() != Some("https") {
        return Ok(endpoint);
    }
    let file = &settings.tls_ca;
    if file.is_empty() {
        return Err(Usage("name the authority of the server's certificate: --tls-ca FILE".into()).into());
    }
    let pem = std::fs::read(file).with_context(|| format!("cannot read --tls-ca {file}"))?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
    endpoint.tls_config(tls).with_context(|| format!("--tls-ca {file}"))
}

/// The bearer for a user and password. arrow-flight's own handshake turns the refusal into text.
async fn log_in(client: &mut FlightServiceClient<Channel>, settings: &QuerySettings) -> anyhow::Result<String> {
    let login = BASE64_STANDARD.encode(format!("{}:{}", settings.user, settings.password));
    let mut request = Request::new(futures::stream::iter([HandshakeRequest::default()]));
    let header = format!("Basic {login}").parse().context("the user is no header")?;
    request.metadata_mut().insert("authorization", header);
    let answer = client.handshake(request).await;
    let answer = answer.map_err(|status| plain_status(&settings.server, &status))?;
    let header = answer
        .metadata()
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|value| value.strip_prefix("Bearer "));
    bearer.map(str::to_owned).context("the server gave no bearer")
}

fn root(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

pub fn plain_status(server: &str, status: &tonic::Status) -> anyhow::Error {
    Refused {
        server: server.to_owned(),
        code: status.code(),
        message: status.message().to_owned(),
    }
    .into()
}

/// The gRPC status somewhere inside `error` as one sentence.
fn plain(server: &str, error: FlightError) -> anyhow::Error {
    if let FlightError::Tonic(status) = &error {
        return plain_status(server, status);
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(status) = inner.downcast_ref::<tonic::Status>() {
            return plain_status(server, status);
        }
        cause = inner.source();
    }
    anyhow::Error::new(error).context(format!("reading from {server}"))
}
