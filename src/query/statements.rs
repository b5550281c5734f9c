//! `ticklake queries`: what runs on a server, and stopping it.

use anyhow::Context;
use arrow_flight::Action;
use tonic::Request;

use super::run::{connect, plain_status, run};
use crate::cli::{QueriesCommand, QueryArgs, ServerLogin};
use crate::config::settings::QuerySettings;

const LIST: &str = include_str!("queries.sql");
const CANCEL: &str = "ticklake.CancelQuery";

#[allow(clippy::print_stdout)]
pub async fn queries(command: QueriesCommand, settings: &QuerySettings) -> anyhow::Result<()> {
    match command {
        QueriesCommand::List(args) => {
            let query = QueryArgs {
                sql: LIST.to_owned(),
                format: args.format,
                login: args.login,
            };
            run(query, settings).await
        }
        QueriesCommand::Cancel(args) => {
            cancel(&args.id, &args.login, settings).await?;
            println!("query {} is cancelled", args.id);
            Ok(())
        }
    }
}

async fn cancel(id: &str, login: &ServerLogin, settings: &QuerySettings) -> anyhow::Result<()> {
    let mut client = connect(login, settings).await?;
    let mut request = Request::new(Action {
        r#type: CANCEL.to_owned(),
        body: id.to_owned().into(),
    });
    if let Some(token) = client.token() {
        let header = format!("Bearer {token}").parse().context("the token is no header")?;
        request.metadata_mut().insert("authorization", header);
    }
    let answer = client.inner_mut().do_action(request).await;
    answer
        .map(drop)
        .map_err(|status| plain_status(&settings.server, &status))
}
