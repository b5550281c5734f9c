//! `ticklake user` and `ticklake token`: who may log in to the servers that read this users file.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use ticklake_flight_server::UsersFile;
use ticklake_sql::Clock;

use crate::cli::{TokenCommand, UserCommand};
use crate::config::Settings;
use crate::config::units::parse_span;
use crate::exit::Usage;

/// No token is good for longer.
const MAX_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// Where the servers of this configuration look.
pub fn path(settings: &Settings) -> PathBuf {
    if settings.serve.users_file.is_empty() {
        PathBuf::from(&settings.up.data_dir).join("users.toml")
    } else {
        PathBuf::from(&settings.serve.users_file)
    }
}

fn open(settings: &Settings) -> anyhow::Result<UsersFile> {
    let path = path(settings);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    Ok(UsersFile::open(&path)?)
}

#[allow(clippy::print_stdout)]
pub fn user(command: &UserCommand, settings: &Settings) -> anyhow::Result<()> {
    let mut file = open(settings)?;
    match command {
        UserCommand::Add(args) => {
            let password = if args.no_password { None } else { Some(password()?) };
            file.add(&args.name, &args.role, password.as_deref())?;
            println!("user {} may log in as {}", args.name, args.role);
        }
        UserCommand::List(_) => {
            for user in file.list() {
                let how = if user.password { "password" } else { "no password" };
                let state = if user.revoked { "  revoked" } else { "" };
                println!(
                    "{:<20} {:<10} {how}, {} tokens{state}",
                    user.user, user.role, user.tokens
                );
            }
        }
        UserCommand::Revoke(args) => {
            file.revoke(&args.name)?;
            println!("user {} is revoked", args.name);
        }
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
pub fn token(command: &TokenCommand, settings: &Settings) -> anyhow::Result<()> {
    let mut file = open(settings)?;
    let clock = Clock::system();
    match command {
        TokenCommand::Create(args) => {
            let life = parse_span(&args.expires_in).map_err(|error| Usage(format!("--expires-in: {error}")))?;
            if life.0 > MAX_LIFE {
                return Err(Usage("--expires-in: ten years at most".into()).into());
            }
            let expires = clock.now() + life.0;
            let (_, text) = file.create_token(&args.user, expires)?;
            // The text alone, for scripts; it is never shown again.
            println!("{text}");
        }
        TokenCommand::List(_) => {
            for token in file.list_tokens() {
                let state = if token.expires <= clock.now() { "  expired" } else { "" };
                println!(
                    "{:<14} {:<20} until {}{state}",
                    token.id,
                    token.user,
                    token.expires.format("%Y-%m-%d %H:%M UTC")
                );
            }
        }
        TokenCommand::Revoke(args) => {
            file.revoke_token(&args.id)?;
            println!("token {} is revoked", args.id);
        }
    }
    Ok(())
}

/// One line of stdin, so that no password stands in a shell's history or the list of processes.
#[allow(clippy::print_stderr)]
fn password() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprint!("password: ");
        std::io::stderr().flush()?;
    }
    let mut line = String::new();
    stdin
        .lock()
        .read_line(&mut line)
        .context("cannot read the password from stdin")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Usage(
            "no password on stdin; pipe one in, or say --no-password for tokens and certificates only".into(),
        )
        .into());
    }
    Ok(password.to_owned())
}
