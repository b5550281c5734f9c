//! A table function where a parsed statement calls it, in either of the two forms that the parser has: `f(...)` and `LATERAL f(...)`.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{FunctionArg, ObjectName, ObjectNamePart, TableAlias, TableFactor, VisitorMut};

use crate::walk::walk_mut;

/// Writes names without quotes in lower case, as those of everything else are read: the engine looks a table function up by its name as it stands,
/// and some tools write all functions in capitals.
pub fn fold_names(statement: &mut DFStatement) {
    let _all = walk_mut(statement, &mut Fold);
}

struct Fold;

impl VisitorMut for Fold {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            name, args: Some(_), ..
        }
        | TableFactor::Function { name, .. } = factor
        {
            fold(name);
        }
        ControlFlow::Continue(())
    }
}

fn fold(name: &mut ObjectName) {
    for part in &mut name.0 {
        if let ObjectNamePart::Identifier(part) = part
            && part.quote_style.is_none()
        {
            part.value = part.value.to_lowercase();
        }
    }
}

/// Its name, which [`fold_names`] has folded, and its arguments.
pub fn call(factor: &TableFactor) -> Option<(String, &[FunctionArg])> {
    let (name, args) = match factor {
        TableFactor::Table {
            name, args: Some(args), ..
        } => (name, args.args.as_slice()),
        TableFactor::Function { name, args, .. } => (name, args.as_slice()),
        _ => return None,
    };
    Some((name.to_string(), args))
}

/// What the call is named in the statement; the call is left without.
pub fn take_alias(factor: &mut TableFactor) -> Option<TableAlias> {
    match factor {
        TableFactor::Table { alias, .. } | TableFactor::Function { alias, .. } => alias.take(),
        _ => None,
    }
}
