//! Creating a table from its definition, and checking that a table found is the one defined.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use deltalake::kernel::transaction::TransactionError;
use deltalake::logstore::{CommitOrBytes, LogStoreRef};
use serde_json::json;

use crate::ddl::TableSpec;
use crate::log_state::LogState;
use crate::{Error, Lake, Result};

/// What NOT NULL and timestamps with time zone need; every Delta reader has them.
const MIN_READER_VERSION: i32 = 1;
const MIN_WRITER_VERSION: i32 = 2;

/// Puts version 0. Another creator may win: then its version 0 stands.
pub(crate) async fn create(lake: &Lake, spec: &TableSpec, log_store: &LogStoreRef) -> Result<()> {
    let entry = first_entry(spec, lake.clock().now().timestamp_millis())?;
    let put = log_store
        .write_commit_entry(0, CommitOrBytes::LogBytes(entry.into()), uuid::Uuid::new_v4())
        .await;
    match put {
        Ok(()) => {
            tracing::info!(table = %spec.name, "table created");
            Ok(())
        }
        Err(TransactionError::VersionAlreadyExists(_)) => Ok(()),
        Err(TransactionError::ObjectStore { source }) => Err(lake.unreachable(source)),
        Err(other) => Err(Error::Delta {
            what: "cannot create the log",
            table: spec.name.clone(),
            source: Box::new(other.into()),
        }),
    }
}

fn first_entry(spec: &TableSpec, now_ms: i64) -> Result<String> {
    let internal = |why: String| Error::Internal(format!("schema of table {}: {why}", spec.name));
    let schema: StructType = spec
        .schema
        .as_ref()
        .try_into_kernel()
        .map_err(|e| internal(format!("{e}")))?;
    let schema_string = serde_json::to_string(&schema).map_err(|e| internal(e.to_string()))?;
    let info = json!({"commitInfo": {
        "timestamp": now_ms,
        "operation": "CREATE TABLE",
        "operationParameters": {},
        "engineInfo": crate::ENGINE_INFO,
    }});
    let protocol =
        json!({"protocol": {"minReaderVersion": MIN_READER_VERSION, "minWriterVersion": MIN_WRITER_VERSION}});
    let metadata = json!({"metaData": {
        "id": uuid::Uuid::new_v4().to_string(),
        "name": spec.name.to_string(),
        "description": spec.comment,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema_string,
        "partitionColumns": spec.partition_columns,
        "configuration": spec.properties,
        "createdTime": now_ms,
    }});
    Ok(format!("{info}\n{protocol}\n{metadata}\n"))
}

/// The definition as the table has it, or what differs. The partition columns are the table's own: they are a setting at creation.
pub(crate) fn check(spec: &Arc<TableSpec>, state: &LogState) -> Result<Arc<TableSpec>> {
    let differs = |message: String| Error::Data {
        table: spec.name.clone(),
        message,
    };
    state.check_writable(&spec.name)?;
    let stored: StructType =
        serde_json::from_str(&state.schema_string).map_err(|e| differs(format!("its schema cannot be read: {e}")))?;
    let stored: Schema = (&stored)
        .try_into_arrow()
        .map_err(|e| differs(format!("its schema cannot be read: {e}")))?;
    for wanted in spec.schema.fields() {
        let name = wanted.name();
        let Ok(found) = stored.field_with_name(name) else {
            return Err(differs(format!(
                "column {name} is missing; the table was made by another version, or by hand"
            )));
        };
        if !same_type(wanted.data_type(), found.data_type()) {
            return Err(differs(format!(
                "column {name} is {}, the definition says {}",
                found.data_type(),
                wanted.data_type()
            )));
        }
        if found.is_nullable() && !wanted.is_nullable() {
            let null = |nullable| if nullable { "nullable" } else { "NOT NULL" };
            return Err(differs(format!(
                "column {name} is {}, the definition says {}",
                null(found.is_nullable()),
                null(wanted.is_nullable())
            )));
        }
    }
    if let Some(extra) = stored
        .fields()
        .iter()
        .find(|f| spec.schema.field_with_name(f.name()).is_err())
    {
        return Err(differs(format!("column {} is not in the definition", extra.name())));
    }
    if let Some((wanted, found)) = spec
        .schema
        .fields()
        .iter()
        .zip(stored.fields())
        .find(|(w, f)| w.name() != f.name())
    {
        return Err(differs(format!(
            "column {} stands where the definition has {}",
            found.name(),
            wanted.name()
        )));
    }
    if state.partition_columns == spec.partition_columns {
        return Ok(spec.clone());
    }
    let columns: Vec<_> = state.partition_columns.iter().map(String::as_str).collect();
    spec.partitioned_by(&columns).map(Arc::new)
}

/// Columns that the definition lets be NULL, and an older table does not.
fn stricter(spec: &TableSpec, schema: &serde_json::Value) -> Vec<String> {
    let fields = schema["fields"].as_array().into_iter().flatten();
    let is_stricter = |field: &&serde_json::Value| {
        let wanted = field["name"]
            .as_str()
            .and_then(|name| spec.schema.field_with_name(name).ok());
        wanted.is_some_and(|wanted| wanted.is_nullable()) && field["nullable"] == false
    };
    let names = fields.filter(is_stricter).filter_map(|field| field["name"].as_str());
    names.map(str::to_owned).collect()
}

/// Lets columns be NULL that the definition lets be, where an older version made the table without. False where nothing is to do; true where the log
/// has moved, by this commit or another's.
pub(crate) async fn loosen(lake: &Lake, spec: &TableSpec, log_store: &LogStoreRef, state: &LogState) -> Result<bool> {
    let internal = |e: serde_json::Error| Error::Internal(format!("schema of table {}: {e}", spec.name));
    let mut schema: serde_json::Value = serde_json::from_str(&state.schema_string).map_err(internal)?;
    let columns = stricter(spec, &schema);
    if columns.is_empty() {
        return Ok(false);
    }
    state.check_writable(&spec.name)?;
    for field in schema["fields"].as_array_mut().into_iter().flatten() {
        if columns.iter().any(|column| field["name"] == column.as_str()) {
            field["nullable"] = true.into();
        }
    }
    let mut metadata = state.metadata.clone();
    metadata["schemaString"] = schema.to_string().into();
    let info = json!({"commitInfo": {
        "timestamp": lake.clock().now().timestamp_millis(),
        "operation": "CHANGE COLUMN",
        "operationParameters": {"columns": columns.join(", "), "change": "DROP NOT NULL"},
        "engineInfo": crate::ENGINE_INFO,
    }});
    let entry = format!("{info}\n{}\n", json!({ "metaData": metadata }));
    let put = log_store
        .write_commit_entry(
            state.version + 1,
            CommitOrBytes::LogBytes(entry.into()),
            uuid::Uuid::new_v4(),
        )
        .await;
    match put {
        Ok(()) => {
            tracing::info!(table = %spec.name, columns = columns.join(", "), "columns may be NULL from now on");
            Ok(true)
        }
        Err(TransactionError::VersionAlreadyExists(_)) => Ok(true),
        Err(TransactionError::ObjectStore { source }) => Err(lake.unreachable(source)),
        Err(other) => Err(Error::Delta {
            what: "cannot change columns",
            table: spec.name.clone(),
            source: Box::new(other.into()),
        }),
    }
}

fn same_type(wanted: &DataType, found: &DataType) -> bool {
    match (wanted, found) {
        (DataType::List(wanted), DataType::List(found)) => same_type(wanted.data_type(), found.data_type()),
        _ => wanted == found,
    }
}
