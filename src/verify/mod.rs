//! `ticklake verify`: proves that nothing was lost or doubled between Kafka and the bars. Reads only; exit code 3 where something differs.
//!
//! Reading order: `kafka` asks the broker, `screen` prints.

mod kafka;
mod screen;

use std::time::Instant;

use ticklake_engine::verify::{self, Mode, VerifyOptions};
use ticklake_sql::Lake;

use crate::cli::{ReportFormat, VerifyArgs, VerifyMode};
use crate::config::Settings;
use crate::exit::Differences;
use crate::jobs;

#[allow(clippy::print_stdout)]
pub async fn run(args: &VerifyArgs, settings: &Settings, lake: &Lake) -> anyhow::Result<()> {
    let started = Instant::now();
    let asked = kafka::topic(settings).await?;
    let options = VerifyOptions {
        mode: match args.mode {
            VerifyMode::Full => Mode::Full,
            VerifyMode::Cheap => Mode::Cheap,
        },
        ..jobs::verify_options(settings)?
    };
    let mut report = verify::verify(lake, asked.as_ref().map(|asked| &asked.topic), &options).await?;
    kafka::settle(asked.as_ref(), &mut report).await?;
    report.elapsed = started.elapsed();
    match args.format {
        ReportFormat::Json => println!("{}", serde_json::to_string_pretty(&report.to_json())?),
        ReportFormat::Table => print!("{}", screen::draw(lake.uri(), &report)),
    }
    if report.is_clean() {
        Ok(())
    } else {
        Err(Differences(report.total()).into())
    }
}
