//! `ticklake backup` and `ticklake restore`: a lake copied to another address as it is now, copied back, or one of its tables set back.

use ticklake_engine::backup::{self, CopiedTable, To};
use ticklake_sql::{Durability, TableName};

use crate::cli::{BackupArgs, RestoreArgs};
use crate::config::Settings;
use crate::exit::Usage;
use crate::options;

pub async fn backup(args: &BackupArgs, settings: &Settings) -> anyhow::Result<()> {
    let lake = options::lake(settings, Durability::Sync)?;
    let to = options::lake_at(&args.to, settings, Durability::Sync)?;
    tell(&backup::copy(&lake, &to, &names(&args.tables)?).await?);
    Ok(())
}

#[allow(clippy::print_stdout)]
pub async fn restore(args: &RestoreArgs, settings: &Settings) -> anyhow::Result<()> {
    let lake = options::lake(settings, Durability::Sync)?;
    let names = names(&args.tables)?;
    if let Some(from) = &args.from {
        let from = options::lake_at(from, settings, Durability::Sync)?;
        tell(&backup::copy(&from, &lake, &names).await?);
        return Ok(());
    }
    let [table] = names.as_slice() else {
        return Err(Usage("--version and --at set one table back: name it with --tables".into()).into());
    };
    let to = match (args.version, &args.at) {
        (Some(version), _) => To::Version(version),
        (None, Some(at)) => To::Time(
            at.parse()
                .map_err(|_| Usage(format!("--at {at:?} is no time; write it like 2026-11-21T10:00:00Z")))?,
        ),
        (None, None) => return Err(Usage("name a version or a time".into()).into()),
    };
    let done = backup::rollback(&lake, table, to).await?;
    println!(
        "{table}: version {} holds what version {} held, {} files back in and {} out",
        done.version, done.to, done.files_added, done.files_removed
    );
    Ok(())
}

fn names(tables: &[String]) -> anyhow::Result<Vec<TableName>> {
    Ok(tables
        .iter()
        .map(|table| TableName::parse(table))
        .collect::<Result<_, _>>()?)
}

#[allow(clippy::print_stdout)]
fn tell(tables: &[CopiedTable]) {
    for copied in tables {
        println!(
            "{}: version {}, {} files of {} bytes; {} files of {} bytes were new",
            copied.table, copied.version, copied.files, copied.bytes, copied.copied_files, copied.copied_bytes
        );
    }
}
