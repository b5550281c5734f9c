//! Table definitions: the text under `sql/tables/` parsed into what the writers need.
//!
//! The dialect is Hive's, which Spark shares: `COMMENT`, `PARTITIONED BY`, `CLUSTERED BY .. SORTED BY`, `USING DELTA`, `TBLPROPERTIES` in that order.

use std::any::TypeId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::sql::sqlparser::ast::{
    self, ColumnDef, ColumnOption, CommentDef, CreateTable, CreateTableOptions, ExactNumberInfo, Expr,
    HiveDistributionStyle, SqlOption, Statement,
};
use datafusion::sql::sqlparser::dialect::{Dialect, HiveDialect};
use datafusion::sql::sqlparser::parser::Parser;

use crate::{Error, Result, TableName};

/// What a `CREATE TABLE` says. The Arrow schema has strings as Utf8, timestamps as microseconds with time zone "UTC".
#[derive(Debug, Clone)]
pub struct TableSpec {
    pub name: TableName,
    pub comment: String,
    /// All columns in order, partition columns included; comments as field metadata `comment`.
    pub schema: SchemaRef,
    pub partition_columns: Vec<String>,
    /// Empty: rows are stored as they come.
    pub sort_columns: Vec<String>,
    pub properties: BTreeMap<String, String>,
}

/// Columns that follow from a time of the same row: partitions by them are what retention takes out.
const FOLLOWING_DATES: [&str; 2] = ["date", "ingest_date"];

impl TableSpec {
    /// Parses one `CREATE TABLE` statement; `name` overrides the one in the text (one template, many tables).
    pub fn parse(name: &TableName, ddl: &str) -> Result<Self> {
        let invalid = |why: String| Error::Invalid(format!("definition of table {name}: {why}"));
        let mut statements = Parser::parse_sql(&SparkDialect, ddl).map_err(|e| invalid(e.to_string()))?;
        let (Some(Statement::CreateTable(table)), true) = (statements.pop(), statements.is_empty()) else {
            return Err(invalid("expected exactly one CREATE TABLE statement".into()));
        };
        let fields = table
            .columns
            .iter()
            .map(field)
            .collect::<Result<Vec<_>, _>>()
            .map_err(invalid)?;
        let spec = Self {
            name: name.clone(),
            comment: comment(&table),
            schema: Arc::new(Schema::new(fields)),
            partition_columns: partition_columns(&table),
            sort_columns: sort_columns(&table),
            properties: properties(&table).map_err(invalid)?,
        };
        for column in spec.partition_columns.iter().chain(&spec.sort_columns) {
            if spec.schema.field_with_name(column).is_err() {
                return Err(invalid(format!(
                    "column {column} is not among the columns of the table"
                )));
            }
        }
        Ok(spec)
    }

    /// The same table partitioned by `columns` instead: the setting (date) or (symbol, date) of silver and gold.
    pub fn partitioned_by(&self, columns: &[&str]) -> Result<Self> {
        let mut spec = self.clone();
        if !columns.iter().any(|column| FOLLOWING_DATES.contains(column)) {
            return Err(Error::Invalid(format!(
                "table {} cannot be partitioned by {}: retention takes out whole dates, so one of the columns is {}",
                self.name,
                columns.join(", "),
                self.schema
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str())
                    .find(|name| FOLLOWING_DATES.contains(name))
                    .unwrap_or("its date")
            )));
        }
        spec.partition_columns = columns.iter().map(|c| (*c).to_owned()).collect();
        for column in columns {
            if spec.schema.field_with_name(column).is_err() {
                return Err(Error::Invalid(format!(
                    "table {} cannot be partitioned by {column}: it has no such column",
                    self.name
                )));
            }
        }
        Ok(spec)
    }

    /// The columns that a data file holds: all but the partition columns, in order.
    pub fn file_schema(&self) -> SchemaRef {
        let fields: Vec<_> = self
            .schema
            .fields()
            .iter()
            .filter(|f| !self.partition_columns.contains(f.name()))
            .cloned()
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// The columns in which rows are made and compared, whatever the table is partitioned by: all but the date, which follows from another column.
    pub fn row_schema(&self) -> SchemaRef {
        let is_given = |field: &&arrow::datatypes::FieldRef| !FOLLOWING_DATES.contains(&field.name().as_str());
        let fields: Vec<_> = self.schema.fields().iter().filter(is_given).cloned().collect();
        Arc::new(Schema::new(fields))
    }

    /// A whole-number table property, e.g. `delta.checkpointInterval`.
    pub fn property_u64(&self, key: &str) -> Option<u64> {
        self.properties.get(key).and_then(|v| v.parse().ok())
    }
}

/// Hive's dialect with Spark's `USING`: the parser has none that knows all clauses.
#[derive(Debug)]
struct SparkDialect;

impl Dialect for SparkDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<HiveDialect>()
    }
    fn is_identifier_start(&self, ch: char) -> bool {
        HiveDialect {}.is_identifier_start(ch)
    }
    fn is_identifier_part(&self, ch: char) -> bool {
        HiveDialect {}.is_identifier_part(ch)
    }
    fn supports_create_table_using(&self) -> bool {
        true
    }
}

fn field(column: &ColumnDef) -> Result<Field, String> {
    let name = &column.name.value;
    let data_type = data_type(&column.data_type)
        .ok_or_else(|| format!("column {name} has the unknown type {}", column.data_type))?;
    let (mut nullable, mut metadata) = (true, HashMap::new());
    for option in &column.options {
        match &option.option {
            ColumnOption::NotNull => nullable = false,
            ColumnOption::Comment(text) => {
                metadata.insert("comment".to_owned(), text.clone());
            }
            other => return Err(format!("column {name} has the unknown option {other}")),
        }
    }
    Ok(Field::new(name, data_type, nullable).with_metadata(metadata))
}

fn data_type(sql: &ast::DataType) -> Option<DataType> {
    Some(match sql {
        ast::DataType::String(None) => DataType::Utf8,
        ast::DataType::Int(None) | ast::DataType::Integer(None) => DataType::Int32,
        ast::DataType::BigInt(None) => DataType::Int64,
        ast::DataType::Boolean => DataType::Boolean,
        ast::DataType::Date => DataType::Date32,
        ast::DataType::Binary(None) => DataType::Binary,
        ast::DataType::Timestamp(None, ast::TimezoneInfo::None) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        ast::DataType::Decimal(ExactNumberInfo::PrecisionAndScale(precision, scale)) => {
            let (precision, scale) = (u8::try_from(*precision).ok()?, i8::try_from(*scale).ok()?);
            (precision <= 38).then_some(DataType::Decimal128(precision, scale))?
        }
        ast::DataType::Array(ast::ArrayElemTypeDef::AngleBracket(item)) => {
            // `element` and nullable: what Delta readers give for ARRAY<STRING>.
            DataType::List(Arc::new(Field::new("element", data_type(item)?, true)))
        }
        _ => return None,
    })
}

fn comment(table: &CreateTable) -> String {
    match &table.comment {
        Some(CommentDef::WithEq(text) | CommentDef::WithoutEq(text)) => text.clone(),
        None => String::new(),
    }
}

fn partition_columns(table: &CreateTable) -> Vec<String> {
    match &table.hive_distribution {
        HiveDistributionStyle::PARTITIONED { columns } => columns.iter().map(|c| c.name.value.clone()).collect(),
        _ => Vec::new(),
    }
}

fn sort_columns(table: &CreateTable) -> Vec<String> {
    let sorted_by = table.clustered_by.as_ref().and_then(|c| c.sorted_by.as_ref());
    sorted_by.into_iter().flatten().map(|by| by.expr.to_string()).collect()
}

fn properties(table: &CreateTable) -> Result<BTreeMap<String, String>, String> {
    let CreateTableOptions::TableProperties(options) = &table.table_options else {
        return Ok(BTreeMap::new());
    };
    let property = |option: &SqlOption| match option {
        SqlOption::KeyValue {
            key,
            value: Expr::Value(value),
        } => value.value.clone().into_string().map(|text| (key.value.clone(), text)),
        _ => None,
    };
    options
        .iter()
        .map(|o| property(o).ok_or_else(|| format!("table property {o} is not of the form 'key' = 'text'")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_error(ddl: &str, expected: &str) {
        let error = TableSpec::parse(&TableName::silver_trades(), ddl)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_definition_says_columns_partitions_order_and_properties() {
        let spec = TableSpec::parse(
            &TableName::gold_ohlcv("5m"),
            "-- comment\nCREATE TABLE x.y (a STRING NOT NULL COMMENT 'it''s', d DATE, n DECIMAL(38,22), l ARRAY<STRING>, t TIMESTAMP) COMMENT 'c'
             PARTITIONED BY (d) CLUSTERED BY (a) SORTED BY (a, t) INTO 1 BUCKETS USING DELTA TBLPROPERTIES ('delta.checkpointInterval' = '100')",
        )
        .unwrap();
        assert_eq!(spec.name.to_string(), "gold.ohlcv_5m");
        assert_eq!(spec.comment, "c");
        assert_eq!(spec.partition_columns, ["d"]);
        assert_eq!(spec.sort_columns, ["a", "t"]);
        assert_eq!(spec.property_u64("delta.checkpointInterval"), Some(100));
        let a = spec.schema.field(0);
        assert_eq!(
            (a.data_type(), a.is_nullable(), a.metadata()["comment"].as_str()),
            (&DataType::Utf8, false, "it's")
        );
        assert_eq!(spec.schema.field(2).data_type(), &DataType::Decimal128(38, 22));
        assert!(spec.schema.field(3).is_nullable());
        assert_eq!(spec.file_schema().fields().len(), 4);
    }

    #[test]
    fn a_broken_definition_names_its_fault() {
        check_error("CREATE TABLE x.y (a FLOAT)", "column a has the unknown type FLOAT");
        check_error(
            "CREATE TABLE x.y (a STRING) PARTITIONED BY (b)",
            "column b is not among",
        );
        check_error("SELECT 1", "expected exactly one CREATE TABLE");
    }
}
