//! `ohlcv_known_at('gold.ohlcv_1m', TIMESTAMP '...')`: the bars as they were known at an instant, so that a study sees no correction that came later.
//!
//! The call is replaced by its model (`sql/models/known_at.sql`) in the parsed statement, so everything after that sees two tables of the lake like any
//! others: they are pinned, authorised and carried in tickets as those are.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Query, Statement, TableAlias, TableFactor, Value, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use ticklake_sql::{TableName, models};

use crate::error::{Error, Result};
use crate::table_function;
use crate::walk::walk_mut;

pub const NAME: &str = "ohlcv_known_at";
const USAGE: &str = "write ohlcv_known_at('gold.ohlcv_1m', TIMESTAMP '2026-01-01 00:00:00')";
/// The table that the model names for the bars of an interval.
const BARS: &str = "gold.ohlcv";

/// Puts the model in the place of every call.
pub fn expand(statement: &mut DFStatement) -> Result<()> {
    match walk_mut(statement, &mut Calls) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Calls;

impl VisitorMut for Calls {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let subquery = match table_function::call(factor) {
            Some((name, args)) if name == NAME => known_at(args),
            _ => return ControlFlow::Continue(()),
        };
        let subquery = match subquery {
            Ok(subquery) => Box::new(subquery),
            Err(error) => return ControlFlow::Break(error),
        };
        let alias = table_function::take_alias(factor).unwrap_or_else(|| TableAlias {
            explicit: true,
            name: Ident::new(NAME),
            columns: Vec::new(),
            at: None,
        });
        *factor = TableFactor::Derived {
            lateral: false,
            subquery,
            alias: Some(alias),
            sample: None,
        };
        ControlFlow::Continue(())
    }
}

/// The model with its arguments bound.
fn known_at(args: &[FunctionArg]) -> Result<Query> {
    let usage = || Error::Plan(USAGE.into());
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(table))),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(at)),
    ] = args
    else {
        return Err(usage());
    };
    let Value::SingleQuotedString(table) = &table.value else {
        return Err(usage());
    };
    let name = TableName::parse(table).map_err(|_| usage())?;
    let Some(interval) = name.ohlcv_interval() else {
        return Err(Error::Plan(format!("{name} holds no bars; {USAGE}")));
    };
    let parsed = Parser::parse_sql(&GenericDialect {}, models::KNOWN_AT);
    let Some(Statement::Query(query)) = parsed.ok().and_then(|mut parsed| parsed.pop()) else {
        return Err(Error::Plan("the model of ohlcv_known_at is no query".into()));
    };
    let mut query = *query;
    let mut binding = Binding {
        table: ObjectName::from(vec![Ident::new(name.schema()), Ident::new(name.table())]),
        interval: Expr::value(Value::SingleQuotedString(interval.to_owned())),
        at: Expr::Nested(Box::new(at.clone())),
    };
    match query.visit(&mut binding) {
        ControlFlow::Break(()) => Err(usage()),
        ControlFlow::Continue(()) => Ok(query),
    }
}

struct Binding {
    table: ObjectName,
    interval: Expr,
    at: Expr,
}

impl VisitorMut for Binding {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        if relation.to_string() == BARS {
            *relation = self.table.clone();
        }
        ControlFlow::Continue(())
    }

    /// After its children: what is put in is not looked into again.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(name) = &value.value
        {
            let bound = match name.as_str() {
                "$at" => self.at.clone(),
                "$interval" => self.interval.clone(),
                _ => return ControlFlow::Break(()),
            };
            *expr = bound;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::parse;

    fn tables(sql: &str) -> Vec<String> {
        let parsed = parse(sql, 10_000, "gold").unwrap();
        let mut tables: Vec<String> = parsed.tables.iter().map(ToString::to_string).collect();
        tables.sort();
        tables
    }

    #[test]
    fn a_call_reads_the_bars_and_their_earlier_states() {
        let at = "ohlcv_known_at('gold.ohlcv_5m', TIMESTAMP '2026-01-01 00:00:00')";
        for sql in [
            format!("SELECT * FROM {at}"),
            format!("SELECT b.close FROM {at} AS b WHERE b.symbol = 'BTC-USDT'"),
            format!(
                "EXPLAIN SELECT * FROM (SELECT * FROM {at} x JOIN {} y USING (symbol))",
                at.to_uppercase().replace("GOLD.OHLCV_5M", "gold.ohlcv_5m")
            ),
            "SELECT * FROM ohlcv_known_at('gold.ohlcv_5m', $1)".to_owned(),
            "SELECT * FROM ohlcv_known_at('gold.ohlcv_5m', now() - INTERVAL '1 hour')".to_owned(),
        ] {
            assert_eq!(tables(&sql), ["gold.ohlcv_5m", "gold.ohlcv_revisions"], "{sql}");
        }
    }

    #[test]
    fn what_is_no_call_says_how_one_is_written() {
        for sql in [
            "SELECT * FROM ohlcv_known_at('gold.ohlcv_5m')",
            "SELECT * FROM ohlcv_known_at(1, TIMESTAMP '2026-01-01 00:00:00')",
            "SELECT * FROM ohlcv_known_at('silver.trades', TIMESTAMP '2026-01-01 00:00:00')",
            "SELECT * FROM ohlcv_known_at('gold', TIMESTAMP '2026-01-01 00:00:00')",
        ] {
            let error = parse(sql, 10_000, "gold").unwrap_err().to_string();
            assert!(error.contains("ohlcv_known_at('gold.ohlcv_1m'"), "{sql}: {error}");
        }
    }
}
