//! Time travel: `table_at('gold.ohlcv_1m', 3)` reads a table at a version, `table_at('gold.ohlcv_1m', TIMESTAMP '...')` as it stood
//! at a time (UTC). What a time means is settled when the statement is pinned, and carried in its ticket.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result as DFResult, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{
    DataType as SqlType, Expr as SqlExpr, FunctionArg, FunctionArgExpr, TableFactor, Value, Visitor,
};
use ticklake_sql::{TableName, tables};

use crate::error::{Error, Result};
use crate::scan::PinnedTable;
use crate::table_function;
use crate::version::TableVersion;
use crate::walk::walk;

pub const NAME: &str = "table_at";
const USAGE: &str =
    "write table_at('gold.ohlcv_1m', 3) or table_at('gold.ohlcv_1m', TIMESTAMP '2026-01-01 00:00:00'), both literals";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum At {
    Version(u64),
    /// Microseconds since the epoch.
    Time(i64),
}

/// A table at some other time than now. Its text is its key among the pinned versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Travel {
    pub table: TableName,
    pub at: At,
}

impl fmt::Display for Travel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            At::Version(version) => write!(f, "{}@{version}", self.table),
            At::Time(us) => write!(f, "{}@{us}us", self.table),
        }
    }
}

/// The table functions that a statement names.
#[derive(Debug, Default)]
pub struct Functions {
    pub names: BTreeSet<String>,
    pub travels: BTreeSet<Travel>,
}

pub fn functions(statement: &DFStatement) -> Result<Functions> {
    let mut found = Functions::default();
    match walk(statement, &mut found) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(found),
    }
}

impl Visitor for Functions {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Error> {
        let Some((name, args)) = table_function::call(factor) else {
            return ControlFlow::Continue(());
        };
        if name == NAME {
            match travel(args) {
                Ok(travel) => self.travels.insert(travel),
                Err(error) => return ControlFlow::Break(error),
            };
        }
        self.names.insert(name);
        ControlFlow::Continue(())
    }
}

fn travel(args: &[FunctionArg]) -> Result<Travel> {
    let usage = || Error::Plan(USAGE.into());
    let literals: Vec<_> = args
        .iter()
        .filter_map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect();
    let [table, at] = literals.as_slice() else {
        return Err(usage());
    };
    let SqlExpr::Value(table) = table else {
        return Err(usage());
    };
    let Value::SingleQuotedString(table) = &table.value else {
        return Err(usage());
    };
    let table = TableName::parse(table)
        .ok()
        .filter(|name| tables::spec(name).is_ok())
        .ok_or_else(|| Error::NotFound(format!("table {table} does not exist; SHOW TABLES lists those that do")))?;
    let at = match at {
        SqlExpr::Value(value) => match &value.value {
            Value::Number(digits, _) => At::Version(digits.parse().map_err(|_| usage())?),
            _ => return Err(usage()),
        },
        SqlExpr::TypedString(typed) if matches!(typed.data_type, SqlType::Timestamp(..)) => match &typed.value.value {
            Value::SingleQuotedString(text) => At::Time(micros(text)?),
            _ => return Err(usage()),
        },
        _ => return Err(usage()),
    };
    Ok(Travel { table, at })
}

fn micros(text: &str) -> Result<i64> {
    string_to_timestamp_nanos(text)
        .map(|ns| ns.div_euclid(1_000))
        .map_err(|e| Error::Plan(format!("{e}; {USAGE}")))
}

/// The function as a plan calls it: over the versions that were pinned for its statement.
#[derive(Debug, Default)]
pub struct TableAt(pub HashMap<String, Arc<TableVersion>>);

impl TableFunctionImpl for TableAt {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> DFResult<Arc<dyn TableProvider>> {
        let usage = || DataFusionError::Plan(USAGE.into());
        let [Expr::Literal(table, _), Expr::Literal(at, _)] = args.exprs() else {
            return Err(usage());
        };
        let table = table.try_as_str().flatten().ok_or_else(usage)?;
        let at = match at {
            ScalarValue::Int64(Some(version)) => version.to_string(),
            ScalarValue::UInt64(Some(version)) => version.to_string(),
            ScalarValue::TimestampNanosecond(Some(ns), _) => format!("{}us", ns.div_euclid(1_000)),
            ScalarValue::TimestampMicrosecond(Some(us), _) => format!("{us}us"),
            _ => return Err(usage()),
        };
        let version = self.0.get(&format!("{table}@{at}")).ok_or_else(usage)?;
        Ok(Arc::new(PinnedTable::new(version.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::parse;

    fn keys(sql: &str) -> Result<Vec<String>> {
        Ok(parse(sql, 10_000, "gold")?
            .travels
            .iter()
            .map(ToString::to_string)
            .collect())
    }

    #[test]
    fn versions_and_times_are_found() {
        let sql = "SELECT * FROM table_at('gold.ohlcv_1m', 3) a JOIN TABLE_AT('gold.ohlcv_1m', TIMESTAMP '1970-01-01 00:00:01') b USING (symbol)";
        assert_eq!(keys(sql).unwrap(), ["gold.ohlcv_1m@3", "gold.ohlcv_1m@1000000us"]);
        assert!(keys("SELECT * FROM generate_series(1, 3)").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_literal_is_told() {
        for sql in [
            "SELECT * FROM table_at('gold.ohlcv_1m')",
            "SELECT * FROM table_at('gold.ohlcv_1m', $1)",
            "SELECT * FROM table_at('gold.ohlcv_1m', 'yesterday')",
            "SELECT * FROM table_at('gold.ohlcv_1m', TIMESTAMP 'yesterday')",
            "SELECT * FROM table_at('gold.ohlcv_1m', -1)",
        ] {
            assert!(
                keys(sql).expect_err(sql).to_string().contains("table_at('gold"),
                "{sql}"
            );
        }
        assert!(matches!(
            keys("SELECT * FROM table_at('gold.nope', 1)"),
            Err(Error::NotFound(_))
        ));
    }
}
