//! The context in which the engine plans and runs its queries.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{SessionConfig, SessionContext};
use ticklake_sql::Table;

use crate::ohlcv;

/// A context with the bar aggregate, its streaming form, and the stores of `tables`. Cheap: made anew for each refresh.
pub fn session(runtime: Arc<RuntimeEnv>, config: SessionConfig, tables: &[&Table]) -> Result<SessionContext> {
    for table in tables {
        let log_store = table.log_store();
        runtime.register_object_store(log_store.object_store_url().as_ref(), log_store.object_store(None));
    }
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features();
    let mut state = ohlcv::stream_sorted(state).build();
    ohlcv::register(&mut state)?;
    Ok(SessionContext::new_with_state(state))
}

/// Settings for queries over data files.
pub fn config(target_partitions: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(target_partitions)
        .with_information_schema(false);
    config.options_mut().execution.parquet.pushdown_filters = false;
    config.options_mut().sql_parser.enable_ident_normalization = true;
    config
}
