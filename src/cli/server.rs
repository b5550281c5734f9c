//! Flags of the server and of those who ask it: where it listens, as whom to ask, what runs there.

use clap::{Args, Subcommand, ValueEnum};

use super::LakeArgs;
use crate::config::Overrides;

#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Flight SQL listener; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT")]
    pub flight_addr: Option<String>,
    /// Listener of health and metrics; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT")]
    pub http_addr: Option<String>,
    /// Who may log in, as `ticklake user` writes it [default: users.toml in the data folder, else everyone on loopback]
    #[arg(long, value_name = "FILE")]
    pub users_file: Option<String>,
    /// Certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<String>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<String>,
    /// Authority of client certificates, which name their user
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<String>,
    /// Keys that sign tickets and log-ins [default: server.key in the data folder]
    #[arg(long, value_name = "FILE")]
    pub signing_key_file: Option<String>,
    /// Serve plain text on an address that is not loopback
    #[arg(long)]
    pub insecure: bool,
}

impl ServerArgs {
    pub fn put(&self, over: &mut Overrides) {
        over.flag("serve.flight_addr", "--flight-addr", self.flight_addr.clone());
        over.flag("serve.http_addr", "--http-addr", self.http_addr.clone());
        over.flag("serve.users_file", "--users-file", self.users_file.clone());
        over.flag("serve.tls_cert", "--tls-cert", self.tls_cert.clone());
        over.flag("serve.tls_key", "--tls-key", self.tls_key.clone());
        over.flag("serve.tls_client_ca", "--tls-client-ca", self.tls_client_ca.clone());
        let keys = self.signing_key_file.clone();
        over.flag("serve.signing_key_file", "--signing-key-file", keys);
        over.flag("serve.insecure", "--insecure", self.insecure.then_some(true));
    }
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub server: ServerArgs,
}

impl ServeArgs {
    pub fn put(&self, over: &mut Overrides) {
        self.lake.put(over);
        self.server.put(over);
    }
}

/// Which server, and as whom.
#[derive(Debug, Args)]
pub struct ServerLogin {
    /// Flight SQL server, grpc+tls://HOST:PORT where it encrypts
    #[arg(long, value_name = "HOST:PORT")]
    pub server: Option<String>,
    /// Authority of the server's certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<String>,
    /// Bearer token
    #[arg(long)]
    pub token: Option<String>,
    /// User for basic authentication
    #[arg(long, requires = "password")]
    pub user: Option<String>,
    #[arg(long, requires = "user")]
    pub password: Option<String>,
    /// Further gRPC header, may be repeated
    #[arg(long = "header", value_name = "KEY=VALUE")]
    pub headers: Vec<String>,
}

impl ServerLogin {
    pub fn put(&self, over: &mut Overrides) {
        over.flag("query.server", "--server", self.server.clone());
        over.flag("query.tls_ca", "--tls-ca", self.tls_ca.clone());
        over.flag("query.token", "--token", self.token.clone());
        over.flag("query.user", "--user", self.user.clone());
        over.flag("query.password", "--password", self.password.clone());
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Table,
    Csv,
    Json,
    Arrow,
}

#[derive(Debug, Args)]
pub struct QueryArgs {
    /// One SQL statement
    pub sql: String,
    /// csv, json (a line a row) and arrow (an IPC stream) are written as they arrive
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub format: OutputFormat,
    #[command(flatten)]
    pub login: ServerLogin,
}

#[derive(Debug, Args)]
pub struct QueriesArgs {
    #[command(subcommand)]
    pub command: QueriesCommand,
}

#[derive(Debug, Subcommand)]
pub enum QueriesCommand {
    /// Your own statements, an admin's list has everyone's
    List(QueriesListArgs),
    /// Stop one of your own, an admin may stop any
    Cancel(QueriesCancelArgs),
}

#[derive(Debug, Args)]
pub struct QueriesListArgs {
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub format: OutputFormat,
    #[command(flatten)]
    pub login: ServerLogin,
}

#[derive(Debug, Args)]
pub struct QueriesCancelArgs {
    pub id: String,
    #[command(flatten)]
    pub login: ServerLogin,
}

impl QueriesArgs {
    pub fn put(&self, over: &mut Overrides) {
        match &self.command {
            QueriesCommand::List(args) => args.login.put(over),
            QueriesCommand::Cancel(args) => args.login.put(over),
        }
    }
}
