//! A format: the text of a mapping and what its header comment says about the files that it reads.
//!
//! `-- reads: csv|jsonl|parquet`; `-- columns: a, b, c?` names the columns of a CSV by position, `?` marks those that some files lack.

use std::collections::BTreeSet;
use std::path::Path;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use ticklake_sql::import;

use super::BackfillOptions;
use crate::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    Csv,
    Jsonl,
    Parquet,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnName {
    pub name: String,
    /// Some files lack it.
    pub optional: bool,
}

#[derive(Debug, Clone)]
pub struct Format {
    /// What messages call it.
    pub name: String,
    pub sql: String,
    pub reads: Reads,
    /// Columns of a CSV by position; empty: the first line names them.
    pub columns: Vec<ColumnName>,
    /// Every word of the statement that may be a column: those that a file lacks are NULL there.
    pub words: BTreeSet<String>,
}

impl Format {
    /// The format that the options name.
    pub fn of(options: &BackfillOptions) -> Result<Self> {
        match (&options.mapping, &options.format) {
            (Some(path), format) => Self::user(path, format.as_deref()),
            (None, Some(name)) => {
                let text = import::format(name).ok_or_else(|| Error::Invalid(unknown(name)))?;
                Self::parse(name, text, None)
            }
            (None, None) => Err(Error::Invalid(format!("no format is given: {}", choices()))),
        }
    }

    /// `--format csv|jsonl|parquet` beside a mapping says how its files are read where the text does not.
    fn user(path: &Path, format: Option<&str>) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::Invalid(format!("mapping {} cannot be read: {error}", path.display())))?;
        let reads = format.map(reads).transpose()?;
        Self::parse(&path.display().to_string(), &text, reads)
    }

    pub fn parse(name: &str, sql: &str, given: Option<Reads>) -> Result<Self> {
        let stated = directive(sql, "reads").map(reads).transpose()?;
        let columns = directive(sql, "columns").map(column_names).unwrap_or_default();
        Ok(Self {
            name: name.to_owned(),
            reads: given.or(stated).unwrap_or(Reads::Csv),
            columns,
            words: words(name, sql)?,
            sql: sql.to_owned(),
        })
    }
}

fn reads(text: &str) -> Result<Reads> {
    match text {
        "csv" => Ok(Reads::Csv),
        "jsonl" => Ok(Reads::Jsonl),
        "parquet" => Ok(Reads::Parquet),
        other => Err(Error::Invalid(format!(
            "a mapping of one's own reads csv, jsonl or parquet, not {other:?}: name one of them with --format or in a line `-- reads: csv`"
        ))),
    }
}

fn unknown(name: &str) -> String {
    format!("{name:?} is no format: {}", choices())
}

fn choices() -> String {
    let names: Vec<&str> = import::FORMATS.iter().map(|(name, _)| *name).collect();
    format!("write --format {} or --mapping FILE.sql", names.join("|"))
}

/// The rest of the comment line `-- KEY: ...`.
fn directive<'a>(sql: &'a str, key: &str) -> Option<&'a str> {
    sql.lines()
        .filter_map(|line| line.trim().strip_prefix("--"))
        .find_map(|comment| comment.trim().strip_prefix(key)?.strip_prefix(':'))
        .map(str::trim)
}

fn column_names(list: &str) -> Vec<ColumnName> {
    list.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(|name| ColumnName {
            name: name.trim_end_matches('?').to_lowercase(),
            optional: name.ends_with('?'),
        })
        .collect()
}

fn words(name: &str, sql: &str) -> Result<BTreeSet<String>> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize()
        .map_err(|error| Error::Invalid(format!("mapping {name}: {error}")))?;
    Ok(tokens
        .into_iter()
        .filter_map(|token| match token {
            Token::Word(word) if word.quote_style.is_some() => Some(word.value),
            Token::Word(word) => Some(word.value.to_lowercase()),
            _ => None,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_formats_say_what_they_read() {
        for (name, text) in import::FORMATS {
            let format = Format::parse(name, text, None).unwrap();
            assert!(format.words.contains("price"), "{name}");
            assert!(directive(text, "reads").is_some(), "{name}");
        }
        let trades = Format::parse("t", import::format("binance-trades").unwrap(), None).unwrap();
        assert_eq!(trades.columns.len(), 7);
        assert!(trades.columns[6].optional && !trades.columns[5].optional);
        assert_eq!(trades.columns[6].name, "is_best_match");
    }

    #[test]
    fn wrong_formats_name_the_choices() {
        let of = |format: Option<&str>| {
            let options = BackfillOptions {
                format: format.map(str::to_owned),
                ..BackfillOptions::default()
            };
            Format::of(&options).unwrap_err().to_string()
        };
        assert!(of(Some("binance")).contains("binance-trades"));
        assert!(of(None).contains("--mapping"));
    }
}
