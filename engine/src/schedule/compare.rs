//! Bars against venues' own candles as a scheduled job. Where candles come from is the caller's business: the engine has no HTTP client.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use ticklake_sql::error::chain;
use ticklake_sql::{ErrorKind, Lake};

use super::outcome::Ran;
use crate::gold::Interval;
use crate::parity::{self, Candle, ParityOptions};
use crate::{Error, Result};

/// Candles by their file or address.
pub type Fetch = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<Candle>>> + Send + Sync>;

/// One series of candles to compare with.
#[derive(Clone)]
pub struct Compare {
    pub options: ParityOptions,
    pub fetch: Fetch,
}

impl fmt::Debug for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)
    }
}

/// Each series in turn; one that cannot be compared keeps none of the others waiting.
pub(super) async fn compare(lake: &Lake, compares: &[Compare]) -> Result<Ran> {
    let mut ran = Ran::default();
    let mut first_error: Option<Error> = None;
    for one in compares {
        match compare_one(lake, one).await {
            Ok(found) => {
                let (candles, differences) = (found.candles, found.differences.len() as u64);
                let ParityOptions {
                    venue,
                    symbol,
                    interval,
                    ..
                } = &one.options;
                tracing::info!(
                    venue,
                    symbol,
                    interval,
                    candles,
                    differences,
                    "bars held against candles"
                );
                ran.rows_in += candles;
                ran.rows_out += differences;
                ran.effect = true;
            }
            Err(error) if error.kind() == ErrorKind::Lease => return Err(error),
            Err(error) => {
                let source = &one.options.source;
                tracing::warn!(
                    source,
                    error = chain(&error),
                    "candles could not be compared, going on with the others"
                );
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(ran), Err)
}

async fn compare_one(lake: &Lake, one: &Compare) -> Result<parity::Parity> {
    let mut candles = (one.fetch)(one.options.source.clone())
        .await
        .map_err(|source| Error::Input {
            path: one.options.source.clone(),
            source,
        })?;
    // The newest candle of a running market is in the making.
    let (width_us, now_us) = (
        Interval::parse(&one.options.interval)?.width_us(),
        lake.clock().now_us(),
    );
    candles.retain(|candle| candle.start_us + width_us <= now_us);
    parity::parity(lake, &candles, &one.options).await
}
