//! A table function where a parsed statement calls it, in either of the two forms that the parser has: `f(...)` and `LATERAL f(...)`.

use datafusion::sql::sqlparser::ast::{FunctionArg, TableAlias, TableFactor};

/// Its name in lower case, and its arguments.
pub fn call(factor: &TableFactor) -> Option<(String, &[FunctionArg])> {
    let (name, args) = match factor {
        TableFactor::Table {
            name, args: Some(args), ..
        } => (name, args.args.as_slice()),
        TableFactor::Function { name, args, .. } => (name, args.as_slice()),
        _ => return None,
    };
    Some((name.to_string().to_lowercase(), args))
}

/// What the call is named in the statement; the call is left without.
pub fn take_alias(factor: &mut TableFactor) -> Option<TableAlias> {
    match factor {
        TableFactor::Table { alias, .. } | TableFactor::Function { alias, .. } => alias.take(),
        _ => None,
    }
}
