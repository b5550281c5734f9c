//! All of a parsed statement, or of the one that an EXPLAIN is asked about, for whoever looks for something in it.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Visit, VisitMut, Visitor, VisitorMut};

pub fn walk<V: Visitor>(statement: &Statement, visitor: &mut V) -> ControlFlow<V::Break> {
    match statement {
        Statement::Statement(statement) => statement.visit(visitor),
        Statement::Explain(explain) => walk(&explain.statement, visitor),
        _ => ControlFlow::Continue(()),
    }
}

pub fn walk_mut<V: VisitorMut>(statement: &mut Statement, visitor: &mut V) -> ControlFlow<V::Break> {
    match statement {
        Statement::Statement(statement) => statement.visit(visitor),
        Statement::Explain(explain) => walk_mut(&mut explain.statement, visitor),
        _ => ControlFlow::Continue(()),
    }
}
