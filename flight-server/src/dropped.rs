//! Refuses what the parser takes and the planner would drop without a word: other rows than asked for are no answer.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{
    GroupByExpr, OrderBy, OrderByKind, Query, Select, TableAlias, TableFactor, Visitor,
};

use crate::error::{Error, Result};
use crate::walk::walk;

pub fn refuse(statement: &DFStatement) -> Result<()> {
    match walk(statement, &mut Clauses) {
        ControlFlow::Break(what) => Err(Error::Unsupported(format!("{what} is not supported; leave it out"))),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Clauses;

impl Visitor for Clauses {
    /// What was found, in words.
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        told([
            (query.for_clause.is_some(), "FOR JSON or XML"),
            (query.settings.is_some(), "SETTINGS"),
            (query.format_clause.is_some(), "FORMAT"),
            (!query.locks.is_empty(), "FOR UPDATE or SHARE"),
            (
                query.order_by.as_ref().is_some_and(fills),
                "WITH FILL or INTERPOLATE in ORDER BY",
            ),
        ])
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<String> {
        let modified = match &select.group_by {
            GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers) => !modifiers.is_empty(),
        };
        told([
            (select.prewhere.is_some(), "PREWHERE"),
            (!select.connect_by.is_empty(), "CONNECT BY"),
            (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
            (modified, "WITH ROLLUP, CUBE or TOTALS after GROUP BY"),
            (select.exclude.is_some(), "EXCLUDE after the select list"),
            (select.value_table_mode.is_some(), "SELECT AS STRUCT or VALUE"),
        ])
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                version,
                sample,
                with_hints,
                with_ordinality,
                partitions,
                json_path,
                index_hints,
                ..
            } => {
                let what = [
                    (version.is_some(), "a version"),
                    (sample.is_some(), "TABLESAMPLE"),
                    (!with_hints.is_empty() || !index_hints.is_empty(), "hints"),
                    (!partitions.is_empty() || json_path.is_some(), "a partition or path"),
                    (*with_ordinality, "WITH ORDINALITY"),
                    (alias.as_ref().is_some_and(is_indexed), "AT after an alias"),
                ];
                match what.into_iter().find(|(found, _)| *found) {
                    Some((_, what)) => ControlFlow::Break(format!("table {name}: {what} in a table reference")),
                    None => ControlFlow::Continue(()),
                }
            }
            TableFactor::Derived { sample, .. } => told([(sample.is_some(), "TABLESAMPLE of a subquery")]),
            TableFactor::Function { with_ordinality, .. } => told([(*with_ordinality, "WITH ORDINALITY")]),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn told<const N: usize>(clauses: [(bool, &str); N]) -> ControlFlow<String> {
    match clauses.into_iter().find(|(found, _)| *found) {
        Some((_, what)) => ControlFlow::Break(what.to_owned()),
        None => ControlFlow::Continue(()),
    }
}

fn fills(order: &OrderBy) -> bool {
    let filled = match &order.kind {
        OrderByKind::Expressions(all) => all.iter().any(|e| e.with_fill.is_some()),
        OrderByKind::All(_) => false,
    };
    filled || order.interpolate.is_some()
}

fn is_indexed(alias: &TableAlias) -> bool {
    alias.at.is_some()
}

#[cfg(test)]
mod tests {
    use crate::error::Error;
    use crate::plan::parse;

    #[test]
    fn what_the_planner_would_drop_is_refused() {
        for sql in [
            "SELECT * FROM gold.a TABLESAMPLE (10 PERCENT)",
            "SELECT * FROM (SELECT * FROM gold.a TABLESAMPLE BERNOULLI (10))",
            "SELECT * FROM (SELECT * FROM gold.a) TABLESAMPLE (10 PERCENT)",
            "EXPLAIN SELECT * FROM gold.a TABLESAMPLE (10 PERCENT)",
            "SELECT * FROM gold.a PREWHERE open > 1",
            "SELECT * FROM gold.a START WITH open = 1 CONNECT BY PRIOR open = close",
            "SELECT symbol, count(*) FROM gold.a GROUP BY symbol WITH ROLLUP",
            "SELECT symbol, count(*) FROM gold.a GROUP BY symbol WITH TOTALS",
            "SELECT * FROM generate_series(1, 3) WITH ORDINALITY",
            "SELECT * FROM gold.a ORDER BY open WITH FILL",
            "SELECT * FROM gold.a FOR UPDATE",
            "SELECT * FROM gold.a SETTINGS max_threads = 1",
            "WITH x AS (SELECT * FROM gold.a PREWHERE open > 1) SELECT * FROM x",
        ] {
            let refused = parse(sql, 10_000, "gold").map(|_| ()).expect_err(sql);
            assert!(
                matches!(refused, Error::Unsupported(_) | Error::Syntax(_)),
                "{sql}: {refused}"
            );
        }
        for sql in [
            "SELECT * FROM gold.a FOR SYSTEM_TIME AS OF '2020-01-01'",
            "SELECT * FROM gold.a VERSION AS OF 3",
        ] {
            assert!(parse(sql, 10_000, "gold").is_err(), "{sql}");
        }
    }

    #[test]
    fn what_is_planned_passes() {
        for sql in [
            "SELECT DISTINCT ON (symbol) * FROM gold.a ORDER BY symbol, open DESC NULLS LAST LIMIT 3 OFFSET 1",
            "SELECT symbol, count(*) FROM gold.a GROUP BY ROLLUP (symbol) HAVING count(*) > 1",
            "SELECT * EXCLUDE (open) FROM gold.a AS x (b, c)",
            "SELECT * FROM gold.a QUALIFY row_number() OVER (ORDER BY open) = 1",
        ] {
            parse(sql, 10_000, "gold").unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
    }
}
