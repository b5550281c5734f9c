//! Flags of what says how things stand: status, the proof, bars against a venue's candles.

use clap::{Args, ValueEnum};

use super::{KafkaArgs, LakeArgs, ReportFormat};
use crate::config::Overrides;

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub format: ReportFormat,
}

impl StatusArgs {
    pub fn put(&self, over: &mut Overrides) {
        self.lake.put(over);
        self.kafka.put(over);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerifyMode {
    /// Reads every file and computes every bar again
    Full,
    /// Reads logs and listings, for every hour
    Cheap,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[arg(long, value_enum, default_value_t = VerifyMode::Full)]
    pub mode: VerifyMode,
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub format: ReportFormat,
}

impl VerifyArgs {
    pub fn put(&self, over: &mut Overrides) {
        self.lake.put(over);
        self.kafka.put(over);
    }
}

#[derive(Debug, Args)]
pub struct ParityArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    /// CSV or JSON: Binance's columns, time,open,high,low,close,volume, or CSV with a header; files (zip, gz, zst, plain), or the http(s) address
    /// of one
    #[arg(long, value_name = "FILE|URL", num_args = 1.., required = true)]
    pub candles: Vec<String>,
    /// How their rows are read; us-equities-minutes lie beside the ticks of that backfill format
    #[arg(long, value_enum, default_value_t = CandleFormat::Auto)]
    pub candle_format: CandleFormat,
    /// Market of the candles, e.g. binance-spot
    #[arg(long)]
    pub venue: String,
    /// e.g. BTC-USDT
    #[arg(long)]
    pub symbol: String,
    /// Width of the candles, as in the gold table's name
    #[arg(long, default_value = "1m")]
    pub interval: String,
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub format: ReportFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CandleFormat {
    Auto,
    UsEquitiesMinutes,
}
