//! `?` placeholders become `$1`, `$2`, ... before parsing: the engine reads every `?` as one and the same name.
//!
//! Works on the tokens of the engine's own tokenizer, so text, identifiers and comments are never touched.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

use crate::error::{Error, Result};

/// More parameters than any statement of a driver has; bounds what a handle carries.
pub const MAX_PARAMETERS: usize = 4_096;

/// A statement with `$n` placeholders only, and how many values it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub sql: String,
    pub parameters: usize,
}

/// Rewrites `?` to `$n` by position. `$n` may stand instead, not beside it.
pub fn number(sql: &str) -> Result<Statement> {
    if !sql.contains(['?', '$']) {
        return Ok(Statement {
            sql: sql.to_owned(),
            parameters: 0,
        });
    }
    let (marks, numbered) = placeholders(sql)?;
    if !marks.is_empty() && numbered > 0 {
        return Err(Error::Syntax(
            "use ? or $1, $2, ... for parameters, not both in one statement".into(),
        ));
    }
    let parameters = marks.len().max(numbered);
    if parameters > MAX_PARAMETERS {
        return Err(Error::Syntax(format!(
            "{parameters} parameters are more than the {MAX_PARAMETERS} a statement may have"
        )));
    }
    if marks.is_empty() {
        let sql = sql.to_owned();
        return Ok(Statement { sql, parameters });
    }
    let sql = replace(sql, &marks);
    // The tokenizer reads the inside of a hint by places of its own.
    match placeholders(&sql) {
        Ok((left, numbered)) if left.is_empty() && numbered == parameters => Ok(Statement { sql, parameters }),
        _ => Err(Error::Syntax(
            "a ? stands where it cannot be counted; keep parameters out of /*! */ comments".into(),
        )),
    }
}

/// Where each `?` stands, and the greatest `$n`, 0 without one.
fn placeholders(sql: &str) -> Result<(Vec<Location>, usize)> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize_with_location()
        .map_err(|error| Error::Syntax(error.to_string()))?;
    let (mut marks, mut numbered) = (Vec::new(), 0);
    for token in &tokens {
        let Token::Placeholder(text) = &token.token else {
            continue;
        };
        if text == "?" {
            marks.push(token.span.start);
        } else {
            numbered = numbered.max(position(text)?);
        }
    }
    Ok((marks, numbered))
}

/// 1-based position of `$n`.
pub fn position(placeholder: &str) -> Result<usize> {
    placeholder
        .strip_prefix('$')
        .and_then(|digits| digits.parse().ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| {
            Error::Syntax(format!(
                "parameter {placeholder} is not supported; use ? or $1, $2, ..."
            ))
        })
}

/// `marks` are the tokenizer's 1-based (line, column) places, columns counted in characters. What stands right before or behind a mark is set apart:
/// `LIMIT?` would else become a name.
fn replace(sql: &str, marks: &[Location]) -> String {
    let mut out = String::with_capacity(sql.len() + marks.len() * 4);
    let mut marks = marks.iter().enumerate().peekable();
    let (mut line, mut column) = (1, 1);
    let mut is_behind_mark = false;
    for c in sql.chars() {
        match marks.peek() {
            Some((n, mark)) if (mark.line, mark.column) == (line, column) => {
                if out.chars().next_back().is_some_and(may_be_of_a_name) {
                    out.push(' ');
                }
                out.push_str(&format!("${}", n + 1));
                marks.next();
                is_behind_mark = true;
            }
            _ => {
                if is_behind_mark && may_be_of_a_name(c) {
                    out.push(' ');
                }
                out.push(c);
                is_behind_mark = false;
            }
        }
        if c == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += 1;
        }
    }
    out
}

/// Wider than any dialect's names: a space too many changes nothing.
fn may_be_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || !c.is_ascii() || matches!(c, '_' | '$' | '@' | '#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &str, parameters: usize) {
        assert_eq!(
            number(sql).unwrap(),
            Statement {
                sql: expected.to_owned(),
                parameters
            }
        );
    }

    #[test]
    fn a_mark_in_a_hint_is_refused() {
        assert!(number("SELECT a /*!? */ ? */0").is_err());
    }

    #[test]
    fn question_marks_are_numbered_by_position() {
        check("SELECT 1", "SELECT 1", 0);
        check("SELECT ?", "SELECT $1", 1);
        check(
            "SELECT a FROM t WHERE b=? AND c IN (?, ?)",
            "SELECT a FROM t WHERE b=$1 AND c IN ($2, $3)",
            3,
        );
        check("SELECT a FROM t LIMIT?OFFSET?", "SELECT a FROM t LIMIT $1 OFFSET $2", 2);
        check("SELECT ?,\n  ?\r\n, ?", "SELECT $1,\n  $2\r\n, $3", 3);
    }

    #[test]
    fn text_identifiers_and_comments_stay() {
        check(
            "SELECT '?', \"a?b\", ? -- what?\n, 'it''s ?' /* ? */",
            "SELECT '?', \"a?b\", $1 -- what?\n, 'it''s ?' /* ? */",
            1,
        );
        check("SELECT 'ünï → ?' AS \"→?\", ?", "SELECT 'ünï → ?' AS \"→?\", $1", 1);
        check("SELECT $$ ? $$, ?", "SELECT $$ ? $$, $1", 1);
        check("SELECT '?'", "SELECT '?'", 0);
    }

    #[test]
    fn ten_follows_nine() {
        let sql = format!("SELECT {}", ["?"; 11].join(", "));
        let out = number(&sql).unwrap();
        assert!(out.sql.ends_with("$9, $10, $11"), "{}", out.sql);
        assert_eq!(out.parameters, 11);
    }

    #[test]
    fn numbered_placeholders_pass() {
        check("SELECT $2, $1, $2", "SELECT $2, $1, $2", 2);
    }

    #[test]
    fn what_cannot_be_bound_by_position_is_refused() {
        assert!(number("SELECT ?, $1").is_err());
        assert!(number("SELECT $name").unwrap_err().to_string().contains("$name"));
        assert!(number("SELECT $0").is_err());
        assert!(number("SELECT ?1").is_err());
        assert!(number(&format!("SELECT {}", vec!["?"; MAX_PARAMETERS + 1].join(","))).is_err());
        assert!(number("SELECT 'open ?").is_err());
    }
}
