//! How much one statement may ask of the planner, judged before it is planned: the depth of its tree and the number of
//! tables that it scans once its CTEs are written out.
//!
//! Trees are walked and dropped by recursion, and a CTE is planned again wherever it is named: a hundred bytes can ask for
//! a million scans.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, ObjectName, Query, TableFactor, Visit, Visitor, visit_expressions,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{Error, Result};
use crate::table_function;
use crate::walk::walk;

/// Operators and the like in one statement: each may deepen the tree by one. What the stack of a query thread holds with
/// room to spare.
const MAX_LINKS: usize = 4_000;
/// Scans of tables after CTEs are written out.
const MAX_SCANS: u64 = 1_000;
/// Of functions in the arguments of one table function.
const MAX_CALLS: usize = 8;

/// Refuses text whose tree may get too deep.
pub fn check_depth(sql: &str) -> Result<()> {
    // A link takes two bytes at least.
    if sql.len() <= 2 * MAX_LINKS {
        return Ok(());
    }
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize()
        .map_err(|error| Error::Syntax(error.to_string()))?;
    let links = tokens.iter().filter(|token| is_link(token)).count();
    if links > MAX_LINKS {
        return Err(Error::Syntax(format!(
            "it chains {links} operators, {MAX_LINKS} are allowed; write long lists of values as IN (...) or a join with VALUES"
        )));
    }
    Ok(())
}

/// False for what makes a tree wider or is bounded elsewhere: names, values, lists, parentheses.
fn is_link(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::IN
                | Keyword::BETWEEN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::REGEXP
                | Keyword::RLIKE
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::DIV
                | Keyword::OVERLAPS
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::MINUS
                | Keyword::INTERSECT
                | Keyword::JOIN
                | Keyword::NOTNULL
        ),
        Token::Comma
        | Token::LParen
        | Token::RParen
        | Token::SemiColon
        | Token::Whitespace(_)
        | Token::Placeholder(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::HexStringLiteral(_)
        | Token::EscapedStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::Period
        | Token::EOF => false,
        _ => true,
    }
}

/// Refuses a statement that scans too many tables.
pub fn check_scans(statement: &DFStatement) -> Result<()> {
    match walk(statement, &mut Scans::default()) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Syntax(format!(
            "it reads more than {MAX_SCANS} tables, counting a CTE wherever it is named; read fewer"
        ))),
    }
}

/// Refuses arguments of table functions that make much before anything of a statement is counted: they are computed while it is
/// planned.
pub fn check_arguments(statement: &DFStatement) -> Result<()> {
    match walk(statement, &mut Arguments) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Syntax(format!(
            "the arguments of a table function are numbers, times and at most {MAX_CALLS} calls of functions that make them; compute more in the query"
        ))),
    }
}

struct Arguments;

impl Visitor for Arguments {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let Some((_, args)) = table_function::call(factor) else {
            return ControlFlow::Continue(());
        };
        let mut calls = 0;
        visit_expressions(&args.to_vec(), |expr| {
            calls += usize::from(matches!(expr, Expr::Function(_)));
            let grows = match expr {
                Expr::Array(_) | Expr::Struct { .. } | Expr::Dictionary(_) | Expr::Overlay { .. } => true,
                Expr::BinaryOp { op, .. } => *op == BinaryOperator::StringConcat,
                Expr::Cast { data_type, .. } => matches!(data_type, DataType::Array(_)),
                _ => false,
            };
            match grows || calls > MAX_CALLS {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    }
}

#[derive(Default)]
struct Scans {
    /// What naming each CTE costs.
    ctes: HashMap<String, u64>,
    /// Addresses of the CTEs' own queries, which count where they are named and not where they stand.
    bodies: HashSet<usize>,
    inside: usize,
    found: u64,
}

fn address(query: &Query) -> usize {
    std::ptr::from_ref(query).addr()
}

impl Visitor for Scans {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.bodies.contains(&address(query)) {
            self.inside += 1;
        }
        if self.inside > 0 {
            return ControlFlow::Continue(());
        }
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let mut inner = Scans {
                ctes: self.ctes.clone(),
                ..Default::default()
            };
            cte.query.visit(&mut inner)?;
            self.ctes
                .insert(cte.alias.name.value.to_lowercase(), inner.found.max(1));
            self.bodies.insert(address(&cte.query));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.bodies.contains(&address(query)) {
            self.inside -= 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        if self.inside > 0 {
            return ControlFlow::Continue(());
        }
        let name = match name.0.as_slice() {
            [one] => one.as_ident().map(|ident| ident.value.to_lowercase()),
            _ => None,
        };
        let cost = name.and_then(|name| self.ctes.get(&name).copied()).unwrap_or(1);
        self.found = self.found.saturating_add(cost);
        if self.found > MAX_SCANS {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::parse;

    const MEGABYTE: usize = 1 << 20;

    fn refusal(sql: &str) -> String {
        parse(sql, MEGABYTE, "gold").map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn chains_are_bounded_and_lists_are_not() {
        for link in [" + 1", " AND 1", " OR 1", "::INT", "[1]", " || 'a'", " IS NULL"] {
            assert!(
                refusal(&format!("SELECT 1{}", link.repeat(100_000))).contains("operators"),
                "{link}"
            );
        }
        assert!(refusal(&format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(50_000))).contains("operators"));
        let list = format!("SELECT 1 IN ({})", vec!["1"; 100_000].join(","));
        parse(&list, MEGABYTE, "gold").unwrap();
        parse(&format!("SELECT 1{}", " + 1".repeat(3_000)), MEGABYTE, "gold").unwrap();
    }

    #[test]
    fn arguments_of_table_functions_make_no_texts_and_lists() {
        for argument in [
            "length('a' || 'b')",
            "array_length([1, 2])",
            "array_length(TRY_CAST(1 AS INT[1000000000]))",
            "abs(abs(abs(abs(abs(abs(abs(abs(abs(1)))))))))",
        ] {
            let refused = refusal(&format!("SELECT * FROM generate_series(1, {argument})"));
            assert!(refused.contains("table function"), "{argument}");
        }
        let sql =
            "SELECT * FROM generate_series(date_trunc('day', now()) - INTERVAL '1 day', now(), INTERVAL '1 hour')";
        parse(sql, MEGABYTE, "gold").unwrap();
    }

    #[test]
    fn ctes_count_wherever_they_are_named() {
        let mut doubling = "WITH c0 AS (SELECT 1 AS v)".to_owned();
        for i in 1..40 {
            doubling += &format!(", c{i} AS (SELECT x.v FROM c{0} x, c{0} y)", i - 1);
        }
        assert!(refusal(&format!("{doubling} SELECT * FROM c39")).contains("tables"));
        let mut nested = "SELECT 1 AS v FROM gold.a".to_owned();
        for i in 0..12 {
            nested = format!("WITH c{i} AS ({nested}) SELECT * FROM c{i}");
        }
        parse(&nested, MEGABYTE, "gold").unwrap();
        let many = (0..2_000)
            .map(|i| format!("gold.a t{i}"))
            .collect::<Vec<_>>()
            .join(", ");
        assert!(refusal(&format!("SELECT 1 FROM {many}")).contains("tables"));
    }
}
