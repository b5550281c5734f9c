//! From text to a read-only logical plan. Whatever could change the lake, the session or the host is refused here.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::common::TableReference;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement as DFStatement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{Expr, SetExpr, Statement as SqlStatement, visit_expressions};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use ticklake_sql::{TableName, tables};

use crate::error::{Error, Result};
use crate::schemas::CATALOG;
use crate::travel::{self, Travel};
use crate::{bounds, dropped, known_at, latest, placeholders, system, table_function};

/// Nesting of expressions and subqueries.
const RECURSION_LIMIT: usize = 50;

/// One statement that only reads, and what it reads from.
#[derive(Debug, Clone)]
pub struct Parsed {
    pub statement: DFStatement,
    /// With `$n` placeholders.
    pub sql: String,
    pub parameters: usize,
    pub tables: Vec<TableName>,
    /// Names that cannot be tables of the lake.
    pub others: Vec<String>,
    /// Reads `gold.latest`, which is made from one of `tables`.
    pub latest: bool,
    /// Table functions, in lower case.
    pub functions: BTreeSet<String>,
    /// Tables at another time than now.
    pub travels: Vec<Travel>,
    /// Those of [`system::MADE`].
    pub system: BTreeSet<String>,
    /// Reads the list of tables, or of what the server does: information_schema, SHOW, DESCRIBE, `system`.
    pub lists_tables: bool,
    pub lane: Lane,
}

/// Where a statement takes its turn, and what it computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Reads the list of tables or what the server does, and no rows of the lake: a lane of its own.
    Metadata,
    /// One SELECT without FROM, such as `SELECT 1`: takes its turn with the others, and does not wait for their threads.
    Constants,
    Rows,
}

impl Parsed {
    fn find_lane(&self) -> Lane {
        if !self.tables.is_empty() || !self.travels.is_empty() || !self.functions.is_empty() {
            return Lane::Rows;
        }
        match self.lists_tables {
            true => Lane::Metadata,
            false if has_no_source(&self.statement) => Lane::Constants,
            false => Lane::Rows,
        }
    }
}

fn has_no_source(statement: &DFStatement) -> bool {
    let DFStatement::Statement(statement) = statement else {
        return false;
    };
    let SqlStatement::Query(query) = statement.as_ref() else {
        return false;
    };
    let SetExpr::Select(select) = query.body.as_ref() else {
        return false;
    };
    let mut queries = 0;
    let _all = visit_expressions(query.as_ref(), |expr| {
        queries += usize::from(matches!(
            expr,
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. }
        ));
        ControlFlow::<()>::Continue(())
    });
    select.from.is_empty() && query.with.is_none() && queries == 0
}

pub fn parse(sql: &str, max_bytes: usize, default_schema: &str) -> Result<Parsed> {
    if sql.len() > max_bytes {
        return Err(Error::Syntax(format!(
            "it has {} bytes, {max_bytes} are allowed",
            sql.len()
        )));
    }
    bounds::check_depth(sql)?;
    let numbered = placeholders::number(sql)?;
    let mut statement = one_statement(&numbered.sql)?;
    table_function::fold_names(&mut statement);
    known_at::expand(&mut statement)?;
    refuse_writes(&statement)?;
    dropped::refuse(&statement)?;
    bounds::check_scans(&statement)?;
    bounds::check_arguments(&statement)?;
    let functions = travel::functions(&statement)?;
    let (references, _ctes) = resolve_table_references(&statement, true)?;
    let mut parsed = Parsed {
        lists_tables: !reads_rows(&statement),
        statement,
        sql: numbered.sql,
        parameters: numbered.parameters,
        tables: Vec::new(),
        others: Vec::new(),
        latest: false,
        travels: functions.travels.into_iter().collect(),
        system: BTreeSet::new(),
        functions: functions.names,
        lane: Lane::Rows,
    };
    for reference in references {
        parsed.refer(reference, default_schema);
    }
    parsed.lane = parsed.find_lane();
    Ok(parsed)
}

impl Parsed {
    fn refer(&mut self, reference: TableReference, default_schema: &str) {
        let resolved = reference.clone().resolve(CATALOG, default_schema);
        // A function looks like a table to the resolver.
        if matches!(&reference, TableReference::Bare { table } if self.functions.contains(table.as_ref())) {
            return;
        }
        if resolved.schema.as_ref() == "information_schema" {
            self.lists_tables = true;
            return;
        }
        if resolved.schema.as_ref() == system::SCHEMA && system::MADE.contains(&resolved.table.as_ref()) {
            self.lists_tables = true;
            self.system.insert(resolved.table.to_string());
            return;
        }
        let ours = resolved.catalog.as_ref() == CATALOG;
        if ours && (resolved.schema.as_ref(), resolved.table.as_ref()) == (latest::SCHEMA, latest::TABLE) {
            self.latest = true;
            return self.read(latest::source());
        }
        match TableName::parse(&format!("{}.{}", resolved.schema, resolved.table)) {
            Ok(name) if ours && tables::spec(&name).is_ok() => self.read(name),
            _ => self.others.push(reference.to_string()),
        }
    }

    /// Once, however often and by whatever name it is named: it is pinned once.
    fn read(&mut self, table: TableName) {
        if !self.tables.contains(&table) {
            self.tables.push(table);
        }
    }
}

fn one_statement(sql: &str) -> Result<DFStatement> {
    let mut statements = DFParserBuilder::new(sql)
        .with_dialect(&GenericDialect {})
        .with_recursion_limit(RECURSION_LIMIT)
        .build()?
        .parse_statements()?;
    match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => Ok(statement),
        (None, _) => Err(Error::Syntax("it is empty".into())),
        (Some(_), more) => Err(Error::Syntax(format!(
            "{} statements in one text; send one at a time",
            more + 1
        ))),
    }
}

fn refuse_writes(statement: &DFStatement) -> Result<()> {
    match statement {
        DFStatement::Statement(statement) => refuse_sql_writes(statement),
        DFStatement::Explain(explain) => refuse_writes(&explain.statement),
        DFStatement::CreateExternalTable(_) => Err(Error::ReadOnly("CREATE EXTERNAL TABLE".into())),
        DFStatement::CopyTo(_) => Err(Error::ReadOnly("COPY".into())),
        DFStatement::Reset(_) => Err(Error::ReadOnly("RESET".into())),
    }
}

fn refuse_sql_writes(statement: &SqlStatement) -> Result<()> {
    match statement {
        SqlStatement::Query(_)
        | SqlStatement::ExplainTable { .. }
        | SqlStatement::ShowTables { .. }
        | SqlStatement::ShowColumns { .. }
        | SqlStatement::ShowVariable { .. }
        | SqlStatement::ShowFunctions { .. } => Ok(()),
        SqlStatement::Explain { statement, .. } => refuse_sql_writes(statement),
        other => Err(Error::ReadOnly(leading_words(&other.to_string()))),
    }
}

/// `DROP TABLE` of `DROP TABLE gold.x`: enough to say what was refused.
fn leading_words(sql: &str) -> String {
    let words: Vec<_> = sql
        .split_whitespace()
        .take(2)
        .take_while(|w| w.chars().all(char::is_alphabetic))
        .collect();
    if words.is_empty() {
        "the statement".into()
    } else {
        words.join(" ").to_uppercase()
    }
}

fn reads_rows(statement: &DFStatement) -> bool {
    match statement {
        DFStatement::Statement(statement) => matches!(statement.as_ref(), SqlStatement::Query(_)),
        DFStatement::Explain(explain) => reads_rows(&explain.statement),
        _ => false,
    }
}

/// Plans `parsed` against the tables of `state`.
pub async fn plan(state: &SessionState, parsed: &Parsed, missing: &[String]) -> Result<LogicalPlan> {
    let plan = match state.statement_to_plan(parsed.statement.clone()).await {
        Ok(plan) => plan,
        Err(error) => return Err(named_missing(error.into(), missing)),
    };
    let read_only = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    if read_only.verify_plan(&plan).is_err() {
        return Err(Error::ReadOnly(leading_words(&parsed.sql)));
    }
    Ok(plan)
}

/// A plan that failed over a table that is not there is told so.
fn named_missing(error: Error, missing: &[String]) -> Error {
    let text = error.to_string();
    match (
        &error,
        missing
            .iter()
            .find(|name| text.contains(name.rsplit('.').next().unwrap_or(name))),
    ) {
        (Error::Plan(_), Some(name)) => {
            Error::NotFound(format!("table {name} does not exist; SHOW TABLES lists those that do"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schemas::DEFAULT_SCHEMA;

    fn parsed(sql: &str) -> Result<Parsed> {
        parse(sql, 10_000, DEFAULT_SCHEMA)
    }

    #[test]
    fn what_reads_passes() {
        for sql in [
            "SELECT 1",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "VALUES (1)",
            "SHOW TABLES",
            "SHOW COLUMNS FROM gold.ohlcv_1m",
            "DESCRIBE gold.ohlcv_1m",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE SELECT 1",
            "SELECT 1;",
        ] {
            parsed(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
    }

    #[test]
    fn what_writes_is_refused() {
        for sql in [
            "DROP TABLE gold.ohlcv_1m",
            "CREATE TABLE t (a INT)",
            "CREATE VIEW v AS SELECT 1",
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
            "COPY (SELECT 1) TO '/tmp/x.csv'",
            "INSERT INTO gold.ohlcv_1m SELECT * FROM gold.ohlcv_1m",
            "UPDATE gold.ohlcv_1m SET open = 1",
            "DELETE FROM gold.ohlcv_1m",
            "SET datafusion.runtime.memory_limit = '1G'",
            "RESET datafusion.execution.batch_size",
            "EXPLAIN INSERT INTO gold.ohlcv_1m VALUES (1)",
            "EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/x.csv'",
            "PREPARE p AS SELECT 1",
            "BEGIN",
            "TRUNCATE TABLE gold.ohlcv_1m",
        ] {
            let refused = parsed(sql).expect_err(sql);
            assert!(matches!(refused, Error::ReadOnly(_)), "{sql}: {refused}");
        }
    }

    #[test]
    fn one_statement_at_a_time() {
        assert!(
            parsed("SELECT 1; SELECT 2")
                .unwrap_err()
                .to_string()
                .contains("one at a time")
        );
        assert!(parsed("SELECT 1; DROP TABLE x").is_err());
        assert!(matches!(parsed(""), Err(Error::Syntax(_))));
        assert!(matches!(parsed("SELEC 1"), Err(Error::Syntax(_))));
        assert!(matches!(parsed(&"x".repeat(10_001)), Err(Error::Syntax(_))));
        assert!(parsed(&format!("SELECT {}1{}", "(".repeat(3_000), ")".repeat(3_000))).is_err());
    }

    #[test]
    fn table_references_are_told_apart() {
        let sql = "WITH c AS (SELECT 1) SELECT * FROM c, gold.ohlcv_1m, ohlcv_5m, ticklake.silver.trades, other.x.y, \"/etc/passwd\", gold.nope";
        let p = parsed(sql).unwrap();
        let mut names: Vec<_> = p.tables.iter().map(ToString::to_string).collect();
        names.sort();
        assert_eq!(names, ["gold.ohlcv_1m", "gold.ohlcv_5m", "silver.trades"]);
        assert_eq!(p.others.len(), 3);
        assert!(!p.lists_tables);
        assert!(parsed("SELECT * FROM information_schema.tables").unwrap().lists_tables);
        assert!(parsed("SHOW TABLES").unwrap().lists_tables);
    }
}
