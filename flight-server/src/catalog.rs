//! What there is: catalogs, schemas, tables with their columns, table types.
//!
//! A missing filter is no filter; patterns are LIKE with `\` as escape; a table whose name equals the pattern comes first,
//! because some clients pass a plain name and take the first row.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_flight::error::FlightError;
use arrow_flight::sql::{CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables};
use arrow_flight::{IpcMessage, SchemaAsIpc, Ticket};
use datafusion::arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use datafusion::arrow::compute::kernels::comparison::like;
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use ticklake_sql::ddl::TableSpec;
use tonic::Request;

use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::latest;
use crate::output;
use crate::profile::Profile;
use crate::schemas::{CATALOG, SCHEMAS};
use crate::service::Service;
use crate::system;

const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";
/// Of a filter: no name is nearly as long.
const MAX_PATTERN_BYTES: usize = 1 << 10;
/// Names that clients give tables in their filters.
const TABLE_ALIASES: [&str; 2] = ["TABLE", "BASE TABLE"];

pub fn catalogs(query: CommandGetCatalogs) -> Result<RecordBatch> {
    let mut builder = query.into_builder();
    builder.append(CATALOG);
    builder.build().map_err(internal)
}

pub fn schemas(service: &Service, query: CommandGetDbSchemas, request: &Request<Ticket>) -> Result<RecordBatch> {
    let identity = Caller::of(&service.engine, request)?.identity;
    list_schemas(query, SCHEMAS.into_iter().filter(|schema| identity.may_read(schema)))
}

fn list_schemas(query: CommandGetDbSchemas, schemas: impl Iterator<Item = &'static str>) -> Result<RecordBatch> {
    check_patterns([&query.db_schema_filter_pattern])?;
    let mut builder = query.into_builder();
    for schema in schemas {
        builder.append(CATALOG, schema);
    }
    builder.build().map_err(internal)
}

pub fn table_types(query: CommandGetTableTypes) -> Result<RecordBatch> {
    let mut builder = query.into_builder();
    builder.append(TABLE);
    builder.append(VIEW);
    builder.build().map_err(internal)
}

fn internal(error: FlightError) -> Error {
    Error::Internal(error.to_string())
}

/// Before a pattern is compiled, here or in arrow-flight.
pub fn check_patterns<const N: usize>(patterns: [&Option<String>; N]) -> Result<()> {
    match patterns.into_iter().flatten().map(String::len).max() {
        Some(bytes @ MAX_PATTERN_BYTES..) => Err(Error::Request(format!(
            "a pattern of {bytes} bytes, fewer than {MAX_PATTERN_BYTES} are allowed; names are shorter"
        ))),
        _ => Ok(()),
    }
}

pub async fn tables(service: &Service, query: CommandGetTables, request: &Request<Ticket>) -> Result<RecordBatch> {
    check_patterns([&query.db_schema_filter_pattern, &query.table_name_filter_pattern])?;
    let caller = Caller::of(&service.engine, request)?;
    let all = service.engine.snapshots.all().await?;
    let mut specs: Vec<_> = all
        .iter()
        .filter(|v| caller.identity.may_read(v.name().schema()))
        .map(|v| v.spec().clone())
        .collect();
    if let Some(bars) = specs.iter().find(|spec| spec.name == latest::source()).cloned() {
        specs.push(Arc::new(latest::spec(&bars)?));
    }
    if caller.identity.may_read(system::SCHEMA) {
        specs.extend(system::specs()?.map(Arc::new));
    }
    list(&query, specs, caller.profile)
}

fn list(query: &CommandGetTables, specs: Vec<Arc<TableSpec>>, profile: Profile) -> Result<RecordBatch> {
    let schema = query.clone().into_builder().schema();
    let wanted = query.catalog.as_deref().is_none_or(|c| c == CATALOG) && wants_tables(&query.table_types);
    let mut rows = Vec::new();
    for spec in specs {
        let by_schema = matches(query.db_schema_filter_pattern.as_deref(), spec.name.schema())?;
        let by_table = matches(query.table_name_filter_pattern.as_deref(), spec.name.table())?;
        if wanted && by_schema && by_table {
            rows.push(spec);
        }
    }
    let exact = |spec: &TableSpec| {
        let same = |pattern: &Option<String>, name: &str| pattern.as_deref().is_some_and(|p| unescape(p) == name);
        same(&query.table_name_filter_pattern, spec.name.table()) as u8
            + same(&query.db_schema_filter_pattern, spec.name.schema()) as u8
    };
    rows.sort_by(|a, b| exact(b).cmp(&exact(a)).then_with(|| a.name.cmp(&b.name)));

    let text = |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let mut columns = vec![
        text(vec![CATALOG; rows.len()]),
        text(rows.iter().map(|s| s.name.schema()).collect()),
        text(rows.iter().map(|s| s.name.table()).collect()),
        text(vec![TABLE; rows.len()]),
    ];
    if query.include_schema {
        let encoded = rows
            .iter()
            .map(|spec| encode(&described(spec, profile)))
            .collect::<Result<Vec<_>>>()?;
        columns.push(Arc::new(BinaryArray::from_iter_values(encoded)));
    }
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn wants_tables(types: &[String]) -> bool {
    types.is_empty()
        || types
            .iter()
            .any(|t| TABLE_ALIASES.iter().any(|a| a.eq_ignore_ascii_case(t)))
}

fn matches(pattern: Option<&str>, name: &str) -> Result<bool> {
    let Some(pattern) = pattern else { return Ok(true) };
    let name = StringArray::from(vec![name]);
    Ok(like(&name, &StringArray::new_scalar(pattern))?.value(0))
}

fn unescape(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    out
}

fn encode(schema: &Schema) -> Result<Vec<u8>> {
    let message: IpcMessage = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into()?;
    Ok(message.0.to_vec())
}

/// The table's columns as queries return them, with what catalogs of drivers ask for in the metadata.
fn described(spec: &TableSpec, profile: Profile) -> Schema {
    let fields: Vec<Field> = spec
        .schema
        .fields()
        .iter()
        .map(|field| {
            let data_type = output::data_type(field.data_type(), profile);
            let mut metadata = HashMap::from([
                (key("CATALOG_NAME"), CATALOG.to_owned()),
                (key("SCHEMA_NAME"), spec.name.schema().to_owned()),
                (key("TABLE_NAME"), spec.name.table().to_owned()),
                (key("TYPE_NAME"), type_name(&data_type)),
                (key("IS_AUTO_INCREMENT"), "0".to_owned()),
                (key("IS_READ_ONLY"), "1".to_owned()),
                (key("IS_SEARCHABLE"), "1".to_owned()),
            ]);
            if let Some(comment) = field.metadata().get("comment") {
                metadata.insert(key("REMARKS"), comment.clone());
            }
            if let Some((precision, scale)) = precision_scale(&data_type) {
                metadata.insert(key("PRECISION"), precision.to_string());
                metadata.insert(key("SCALE"), scale.to_string());
            }
            Field::new(field.name(), data_type, field.is_nullable()).with_metadata(metadata)
        })
        .collect();
    Schema::new_with_metadata(fields, HashMap::from([(key("REMARKS"), spec.comment.clone())]))
}

fn key(name: &str) -> String {
    format!("ARROW:FLIGHT:SQL:{name}")
}

/// The column's type as SQL writes it.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "VARBINARY".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INTEGER".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "REAL".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Decimal128(_, _) => "DECIMAL".into(),
        DataType::UInt64 => "BIGINT UNSIGNED".into(),
        DataType::Timestamp(_, None) => "TIMESTAMP".into(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".into(),
        DataType::List(item) => format!("{} ARRAY", type_name(item.data_type())),
        other => other.to_string().to_uppercase(),
    }
}

fn precision_scale(data_type: &DataType) -> Option<(u32, i32)> {
    match data_type {
        DataType::Decimal128(p, s) => Some((u32::from(*p), i32::from(*s))),
        DataType::Int32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        DataType::UInt64 => Some((20, 0)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some((26, 6)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some((29, 9)),
        DataType::Date32 => Some((10, 0)),
        DataType::Boolean => Some((1, 0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::ipc::convert::try_schema_from_ipc_buffer;
    use ticklake_sql::{TableName, tables};

    use super::*;
    use crate::profile::{Timestamps, Types};

    fn specs() -> Vec<Arc<TableSpec>> {
        let names = [
            TableName::gold_ohlcv("1m"),
            TableName::gold_ohlcv("5m"),
            TableName::parse("gold.ohlcv_10m").unwrap(),
            TableName::silver_trades(),
            TableName::bronze_trades(),
        ];
        names.iter().map(|n| tables::spec(n).unwrap()).collect()
    }

    fn names(query: CommandGetTables) -> Vec<String> {
        let rows = list(&query, specs(), Profile::default()).unwrap();
        assert_eq!(rows.num_columns(), if query.include_schema { 5 } else { 4 });
        let (schemas, tables) = (rows.column(1).as_string::<i32>(), rows.column(2).as_string::<i32>());
        (0..rows.num_rows())
            .map(|i| format!("{}.{}", schemas.value(i), tables.value(i)))
            .collect()
    }

    fn query() -> CommandGetTables {
        CommandGetTables::default()
    }

    #[test]
    fn no_filter_lists_all() {
        assert_eq!(names(query()).len(), 5);
        assert_eq!(
            names(CommandGetTables {
                catalog: Some(CATALOG.into()),
                ..query()
            })
            .len(),
            5
        );
        assert!(
            names(CommandGetTables {
                catalog: Some("other".into()),
                ..query()
            })
            .is_empty()
        );
    }

    #[test]
    fn patterns_are_like_with_escape_and_exact_names_come_first() {
        let by_table = |p: &str| {
            names(CommandGetTables {
                table_name_filter_pattern: Some(p.into()),
                ..query()
            })
        };
        assert_eq!(by_table("ohlcv%").len(), 3);
        assert_eq!(by_table("ohlcv_1m"), ["gold.ohlcv_1m"]);
        assert_eq!(by_table("ohlcv\\_5m"), ["gold.ohlcv_5m"]);
        assert_eq!(by_table("trades"), ["bronze.trades", "silver.trades"]);
        assert_eq!(by_table("OHLCV_1M").len(), 0);
        let both = CommandGetTables {
            db_schema_filter_pattern: Some("silver".into()),
            table_name_filter_pattern: Some("trade_".into()),
            ..query()
        };
        assert_eq!(names(both), ["silver.trades"]);
    }

    #[test]
    fn a_name_that_matches_by_its_wildcard_comes_after_the_one_that_is_meant() {
        let bars = tables::spec(&TableName::gold_ohlcv("1m")).unwrap();
        // One before and one after it in the order of names.
        let alike = ["gold.ohlcvx1m", "gold.ohlcv01m", "gold.ohlcv_1m"].map(|name| {
            Arc::new(TableSpec {
                name: TableName::parse(name).unwrap(),
                ..bars.as_ref().clone()
            })
        });
        let by_table = |pattern: &str| {
            let query = CommandGetTables {
                table_name_filter_pattern: Some(pattern.into()),
                ..query()
            };
            let rows = list(&query, alike.to_vec(), Profile::default()).unwrap();
            let names = rows.column(2).as_string::<i32>().iter().flatten();
            names.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(by_table("ohlcv_1m"), ["ohlcv_1m", "ohlcv01m", "ohlcvx1m"]);
        assert_eq!(by_table("ohlcv\\_1m"), ["ohlcv_1m"]);
        assert_eq!(by_table("ohlcv%1m").len(), 3);
        assert_eq!(by_table("ohlcv\\%1m").len(), 0);
    }

    #[test]
    fn types_are_compared_with_aliases() {
        let by_type = |t: &str| {
            names(CommandGetTables {
                table_types: vec![t.into()],
                ..query()
            })
            .len()
        };
        assert_eq!(
            (
                by_type("TABLE"),
                by_type("table"),
                by_type("BASE TABLE"),
                by_type("VIEW")
            ),
            (5, 5, 5, 0)
        );
    }

    #[test]
    fn columns_carry_what_drivers_ask_for() {
        let query = CommandGetTables {
            table_name_filter_pattern: Some("ohlcv_1m".into()),
            include_schema: true,
            ..query()
        };
        let rows = list(&query, specs(), Profile::default()).unwrap();
        let schema = try_schema_from_ipc_buffer(rows.column(4).as_binary::<i32>().value(0)).unwrap();
        let open = schema.field_with_name("open").unwrap();
        assert_eq!(open.metadata()[&key("TYPE_NAME")], "DECIMAL");
        assert_eq!(open.metadata()[&key("SCALE")], "12");
        assert!(open.metadata()[&key("REMARKS")].contains("price of the first trade"));
        assert!(open.is_nullable());
        assert!(!schema.field_with_name("volume").unwrap().is_nullable());
        assert!(schema.metadata().contains_key(&key("REMARKS")));
    }

    #[test]
    fn columns_are_told_as_they_are_sent() {
        let told = |profile: Profile, column: &str| {
            let schema = described(&specs()[0], profile);
            let metadata = schema.field_with_name(column).unwrap().metadata();
            let get = |name: &str| metadata.get(&key(name)).cloned().unwrap_or_default();
            [get("TYPE_NAME"), get("PRECISION"), get("SCALE")]
        };
        let naive = Profile {
            timestamps: Timestamps::Naive,
            ..Default::default()
        };
        let grafana = Profile {
            types: Types::Grafana,
            timestamps: Timestamps::Ns,
        };
        assert_eq!(
            told(Profile::default(), "window_start"),
            ["TIMESTAMP WITH TIME ZONE", "26", "6"]
        );
        assert_eq!(told(naive, "window_start"), ["TIMESTAMP", "26", "6"]);
        assert_eq!(told(grafana, "window_start"), ["TIMESTAMP WITH TIME ZONE", "29", "9"]);
        assert_eq!(told(grafana, "date"), ["TIMESTAMP", "29", "9"]);
        assert_eq!(told(grafana, "open"), ["DOUBLE", "", ""]);
        assert_eq!(told(naive, "open"), ["DECIMAL", "28", "12"]);
    }

    #[test]
    fn catalogs_schemas_and_types() {
        assert_eq!(catalogs(CommandGetCatalogs {}).unwrap().num_rows(), 1);
        let all = || SCHEMAS.into_iter();
        assert_eq!(
            list_schemas(CommandGetDbSchemas::default(), all()).unwrap().num_rows(),
            4
        );
        let one = CommandGetDbSchemas {
            catalog: None,
            db_schema_filter_pattern: Some("g%".into()),
        };
        assert_eq!(list_schemas(one, all()).unwrap().num_rows(), 1);
        assert_eq!(table_types(CommandGetTableTypes {}).unwrap().num_rows(), 2);
    }
}
