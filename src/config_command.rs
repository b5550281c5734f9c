//! `ticklake config check|show`.

use toml::Table;

use crate::cli::ConfigCommand;
use crate::config::{Settings, secrets};
use crate::{jobs, maintenance, options};

#[allow(clippy::print_stdout)]
pub fn run(command: ConfigCommand, settings: &Settings) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check => {
            options::produce(settings)?;
            options::bronze(settings, false)?;
            options::server(settings)?;
            jobs::all(settings, maintenance::ON_A_SERVER)?;
            println!("the configuration is right");
        }
        ConfigCommand::Show => print!("{}", toml::to_string(&secrets::masked(Table::try_from(settings)?))?),
    }
    Ok(())
}
