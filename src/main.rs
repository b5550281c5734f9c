//! `ticklake`: one binary, one role a subcommand. Parses, wires, exits; the work is in the crates.

mod audit_log;
mod backfill;
mod backup;
mod cli;
mod config;
mod config_command;
mod data_dir;
mod dlq;
mod embedded_broker;
mod exit;
mod heartbeat;
mod ingest;
mod jobs;
mod jobs_command;
mod logs;
mod maintenance;
mod optimize;
mod options;
mod parity;
mod produce;
mod quarantine;
mod query;
mod rebuild;
mod run;
mod serve;
mod shutdown;
mod signing_key;
mod status;
mod store_figures;
mod up;
mod users;
mod vacuum;
mod verify;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use ticklake_sql::Durability;

use audit_log::AuditLog;
use cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let settings = config::load(cli.config.as_deref(), &cli.overrides())?;
    let is_role = match &cli.command {
        Command::Produce(_) | Command::Ingest(_) | Command::Serve(_) => true,
        Command::Run(args) => !args.dry_run,
        _ => false,
    };
    // A progress bar has the terminal to itself.
    let tells_progress =
        matches!(cli.command, Command::Backfill(_)) && !std::io::IsTerminal::is_terminal(&std::io::stderr());
    let audit = match &cli.command {
        Command::Up(_) => Some(AuditLog::in_folder(Path::new(&settings.up.data_dir))),
        _ => None,
    };
    logs::init(&settings.log, is_role || tells_progress, audit)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Up(_) => up::run(settings).await,
            Command::Produce(_) => produce::run(&settings).await,
            Command::Ingest(args) => ingest::run(&settings, args.until_latest).await,
            Command::Run(args) => run::run(&settings, &args).await,
            Command::Jobs(args) => jobs_command::run(&args, &settings).await,
            Command::Refresh(args) => jobs::refresh(&settings, args.layer).await,
            Command::Backfill(args) => backfill::run(&args, &settings).await,
            Command::Optimize(args) => optimize::run(&settings, &args).await,
            Command::Vacuum(args) => vacuum::run(&settings, &args).await,
            Command::Rebuild(args) => rebuild::run(&settings, &args).await,
            Command::Serve(_) => serve::run(&settings).await,
            Command::Query(args) => query::run(args, &settings.query).await,
            Command::Queries(args) => query::queries(args.command, &settings.query).await,
            Command::Status(args) => status::run(&args, &settings, &options::lake(&settings, Durability::Sync)?).await,
            Command::Verify(args) => verify::run(&args, &settings, &options::lake(&settings, Durability::Sync)?).await,
            Command::Parity(args) => parity::run(&args, &options::lake(&settings, Durability::Sync)?).await,
            Command::Backup(args) => backup::backup(&args, &settings).await,
            Command::Restore(args) => backup::restore(&args, &settings).await,
            Command::Dlq(args) => dlq::run(&args.command, &options::lake(&settings, Durability::Sync)?).await,
            Command::Quarantine(args) => {
                let lake = options::lake(&settings, Durability::Sync)?;
                quarantine::run(&args.command, &settings, lake).await
            }
            Command::User(args) => users::user(&args.command, &settings),
            Command::Token(args) => users::token(&args.command, &settings),
            Command::Config(args) => config_command::run(args.command, &settings),
        }
    })
}
