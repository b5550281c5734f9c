//! CSV lines into raw columns: one line a row, quotes as in RFC 4180 but never around a line's end. Only the columns that the mapping reads
//! are copied.

use std::borrow::Cow;

use arrow::datatypes::SchemaRef;
use memchr::{memchr, memchr_iter};
use ticklake_sql::decimal;

use super::bad_line::{BadLine, Class};
use super::format::Format;
use super::raw::{LINE, RawBuilder, RawRows};
use crate::{Error, Result};

/// A line above this is set aside unread: no trade is that long.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// Lines looked at for one that has as many columns as the format says.
const SNIFFED_LINES: usize = 100;
const DELIMITER: u8 = b',';
const QUOTE: u8 = b'"';

/// What the first lines of a file say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvShape {
    /// Names of its columns.
    pub columns: Vec<String>,
    /// The line that names the columns, if there is one; it may come again where files were joined.
    pub header: Option<Vec<u8>>,
}

impl CsvShape {
    /// `text` is the beginning of the file. A first line in which nothing is a number is a header.
    pub fn of(text: &[u8], format: &Format, address: &str) -> Result<Self> {
        let mut lines = Lines::new(text, 1)
            .map(|(_, line)| line)
            .filter(|line| !line.is_empty());
        let Some(first) = lines.next() else {
            return Ok(Self {
                columns: format.columns.iter().map(|column| column.name.clone()).collect(),
                header: None,
            });
        };
        let fields = fields(first);
        let is_number = |field: &Cow<'_, [u8]>| std::str::from_utf8(field).is_ok_and(decimal::is_number);
        let is_header = !fields.iter().any(is_number);
        let header = is_header.then(|| first.to_vec());
        if format.columns.is_empty() {
            let columns = match is_header {
                true => fields.iter().map(|field| column_name(field, format)).collect(),
                false => (1..=fields.len()).map(|number| format!("c{number}")).collect(),
            };
            return Ok(Self { columns, header });
        }
        let most = format.columns.len();
        let least = most - format.columns.iter().rev().take_while(|column| column.optional).count();
        let count = std::iter::once(fields.len())
            .chain(lines.take(SNIFFED_LINES).map(|line| self::fields(line).len()))
            .find(|count| (least..=most).contains(count))
            .ok_or_else(|| {
                let wanted = if least == most {
                    most.to_string()
                } else {
                    format!("{least} to {most}")
                };
                Error::File {
                    path: address.to_owned(),
                    message: format!(
                        "its lines have {} columns, format {} reads {wanted}; is it another format?",
                        fields.len(),
                        format.name
                    ),
                }
            })?;
        Ok(Self {
            columns: format.columns[..count]
                .iter()
                .map(|column| column.name.clone())
                .collect(),
            header,
        })
    }
}

/// As the mapping writes it: SQL folds names to lower case unless they are quoted.
fn column_name(field: &[u8], format: &Format) -> String {
    let exact = String::from_utf8_lossy(field).trim().to_owned();
    if format.words.contains(&exact) {
        exact
    } else {
        exact.to_lowercase()
    }
}

/// Parses lines of one shape into the columns of `schema`.
pub struct CsvParser<'a> {
    shape: &'a CsvShape,
    /// Column of the builder for each column of the file.
    wanted: Vec<Option<usize>>,
    builder: RawBuilder,
    /// Columns of the builder that the file lacks.
    lacking: Vec<usize>,
    ends: Vec<usize>,
}

impl<'a> CsvParser<'a> {
    pub fn new(shape: &'a CsvShape, schema: &SchemaRef) -> Self {
        let texts: Vec<&String> = schema
            .fields()
            .iter()
            .map(|f| f.name())
            .filter(|name| *name != LINE)
            .collect();
        let wanted: Vec<Option<usize>> = shape
            .columns
            .iter()
            .map(|column| texts.iter().position(|text| *text == column))
            .collect();
        let lacking = (0..texts.len())
            .filter(|index| !wanted.contains(&Some(*index)))
            .collect();
        Self {
            shape,
            wanted,
            builder: RawBuilder::new(schema.clone()),
            lacking,
            ends: Vec::new(),
        }
    }

    /// Calls `each` with the rows of `text`, whose first line has the number `first_line`; lines below `from_line` are passed over.
    pub fn parse(
        mut self,
        text: &[u8],
        first_line: i64,
        from_line: i64,
        bad: &mut Vec<BadLine>,
        mut each: impl FnMut(RawRows) -> Result<()>,
    ) -> Result<()> {
        // Asked once for all: a slice without quotes or with nothing but text needs no look at each line.
        let has_quotes = memchr(QUOTE, text).is_some();
        let is_utf8 = std::str::from_utf8(text).is_ok();
        for (number, line) in Lines::new(text, first_line) {
            if number < from_line || line.is_empty() || self.shape.header.as_deref() == Some(line) {
                continue;
            }
            if line.len() > MAX_LINE_BYTES {
                let message = format!("the line has {} bytes, more than any trade", line.len());
                bad.push(BadLine::new(number, Class::TooLarge, message, line));
            } else if !is_utf8 && let Err(error) = std::str::from_utf8(line) {
                let message = format!("the line is no UTF-8 from byte {} on", error.valid_up_to());
                bad.push(BadLine::new(number, Class::NotUtf8, message, line));
            } else if has_quotes && memchr(QUOTE, line).is_some() {
                self.quoted(number, line, bad);
            } else {
                self.plain(number, line, bad);
            }
            if self.builder.is_full() {
                each(self.builder.finish()?)?;
            }
        }
        if !self.builder.is_empty() {
            each(self.builder.finish()?)?;
        }
        Ok(())
    }

    fn plain(&mut self, number: i64, line: &[u8], bad: &mut Vec<BadLine>) {
        self.ends.clear();
        self.ends.extend(memchr_iter(DELIMITER, line));
        self.ends.push(line.len());
        if self.ends.len() != self.wanted.len() {
            bad.push(self.miscounted(number, line, self.ends.len()));
            return;
        }
        self.builder.start(number, line);
        let mut start = 0;
        for (end, wanted) in self.ends.iter().zip(&self.wanted) {
            if let Some(index) = wanted {
                self.builder.put(*index, &line[start..*end]);
            }
            start = end + 1;
        }
        self.fill();
    }

    fn quoted(&mut self, number: i64, line: &[u8], bad: &mut Vec<BadLine>) {
        let fields = fields(line);
        if fields.len() != self.wanted.len() {
            bad.push(self.miscounted(number, line, fields.len()));
            return;
        }
        self.builder.start(number, line);
        for (field, wanted) in fields.iter().zip(&self.wanted) {
            if let Some(index) = wanted {
                self.builder.put(*index, field);
            }
        }
        self.fill();
    }

    fn fill(&mut self) {
        for index in &self.lacking {
            self.builder.put(*index, b"");
        }
    }

    fn miscounted(&self, number: i64, line: &[u8], found: usize) -> BadLine {
        let message = format!("the line has {found} columns, the file has {}", self.wanted.len());
        BadLine::new(number, Class::ColumnCount, message, line)
    }
}

/// Lines with their numbers, without their ends.
pub struct Lines<'a> {
    rest: &'a [u8],
    number: i64,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a [u8], first_line: i64) -> Self {
        Self {
            rest: text,
            number: first_line,
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (i64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = match memchr(b'\n', self.rest) {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &self.rest[..0]),
        };
        self.rest = rest;
        self.number += 1;
        Some((self.number - 1, line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

/// The fields of one line, unquoted. A quote that does not close runs to the line's end.
fn fields(line: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let (mut fields, mut rest) = (Vec::new(), line);
    loop {
        let (field, after) = match rest {
            [QUOTE, quoted @ ..] => unquote(quoted),
            _ => {
                let end = memchr(DELIMITER, rest).unwrap_or(rest.len());
                (Cow::Borrowed(&rest[..end]), &rest[end..])
            }
        };
        fields.push(field);
        match after {
            [] => return fields,
            [DELIMITER, next @ ..] => rest = next,
            // Text behind a closing quote: it belongs to nothing, and the count will tell.
            more => rest = more,
        }
    }
}

/// What stands up to the closing quote, `""` being a quote of the text; and what follows it.
fn unquote(mut rest: &[u8]) -> (Cow<'_, [u8]>, &[u8]) {
    let whole = rest;
    let mut owned: Vec<u8> = Vec::new();
    loop {
        let Some(quote) = memchr(QUOTE, rest) else {
            owned.extend_from_slice(rest);
            return (Cow::Owned(owned), &rest[rest.len()..]);
        };
        let (before, after) = (&rest[..quote], &rest[quote + 1..]);
        if let [QUOTE, more @ ..] = after {
            owned.extend_from_slice(&rest[..=quote]);
            rest = more;
        } else if owned.is_empty() {
            return (Cow::Borrowed(&whole[..quote]), after);
        } else {
            owned.extend_from_slice(before);
            return (Cow::Owned(owned), after);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::super::raw::text_schema;
    use super::*;

    fn format(sql: &str) -> Format {
        Format::parse("test", sql, None).unwrap()
    }

    fn parse(text: &str, shape: &CsvShape, from_line: i64) -> (Vec<(i64, String)>, Vec<BadLine>) {
        let schema = text_schema(["b", "gone"]);
        let (mut rows, mut bad) = (Vec::new(), Vec::new());
        CsvParser::new(shape, &schema)
            .parse(text.as_bytes(), 1, from_line, &mut bad, |raw| {
                let b = raw.columns.column_by_name("b").unwrap().as_string::<i32>();
                assert_eq!(raw.columns.column_by_name("gone").unwrap().null_count(), raw.rows());
                for (index, line) in raw.lines.values().iter().enumerate() {
                    let value = if b.is_null(index) { "NULL" } else { b.value(index) };
                    rows.push((*line, value.to_owned()));
                }
                Ok(())
            })
            .unwrap();
        (rows, bad)
    }

    #[test]
    fn headers_are_sniffed() {
        let named = format("SELECT a, \"camelCase\" FROM raw");
        let of = |text: &str, format: &Format| CsvShape::of(text.as_bytes(), format, "f.csv");
        let shape = of("A,camelCase\n1,2\n", &named).unwrap();
        assert_eq!(shape.columns, ["a", "camelCase"]);
        assert_eq!(shape.header.as_deref(), Some(b"A,camelCase".as_slice()));
        assert_eq!(of("1,x\n", &named).unwrap().columns, ["c1", "c2"]);
        let declared = format("-- columns: id, price, best?\nSELECT id FROM raw");
        assert_eq!(of("1,2,True\n", &declared).unwrap().columns.len(), 3);
        let futures = of("id,price\n1,2\n", &declared).unwrap();
        assert_eq!((futures.columns.len(), futures.header.is_some()), (2, true));
        assert_eq!(
            of("1\n1,2,True\n", &declared).unwrap().columns.len(),
            3,
            "the first line is cut off"
        );
        assert!(of("1,2,3,4\n", &declared).unwrap_err().to_string().contains("2 to 3"));
        assert_eq!(of("", &declared).unwrap().columns.len(), 3);
    }

    #[test]
    fn lines_become_rows_and_bad_ones_are_named() {
        let shape = CsvShape {
            columns: vec!["a".into(), "b".into()],
            header: Some(b"a,b".to_vec()),
        };
        let text = "a,b\r\n1,x\r\n2\n\n3,\n4,\"q \"\"u\"\", o\"\n5,y,z\n6,last";
        let (rows, bad) = parse(text, &shape, 1);
        let rows: Vec<(i64, &str)> = rows.iter().map(|(line, value)| (*line, value.as_str())).collect();
        assert_eq!(rows, [(2, "x"), (5, "NULL"), (6, "q \"u\", o"), (8, "last")]);
        let bad: Vec<(i64, &[u8])> = bad.iter().map(|bad| (bad.line, bad.payload.as_slice())).collect();
        assert_eq!(bad, [(3, b"2".as_slice()), (7, b"5,y,z")]);
        assert_eq!(parse(text, &shape, 6).0.len(), 2);
    }

    #[test]
    fn a_line_that_is_no_text_is_set_aside_alone() {
        let shape = CsvShape {
            columns: vec!["a".into(), "b".into()],
            header: None,
        };
        let (mut lines, mut bad) = (Vec::new(), Vec::new());
        CsvParser::new(&shape, &text_schema(["b"]))
            .parse(b"1,\xc3\xa4\n2,\xff\n3,z\n", 1, 1, &mut bad, |raw| {
                lines.extend_from_slice(raw.lines.values());
                Ok(())
            })
            .unwrap();
        assert_eq!(lines, [1, 3]);
        assert_eq!((bad.len(), bad[0].line, bad[0].class), (1, 2, Class::NotUtf8));
    }
}
