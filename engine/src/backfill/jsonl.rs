//! JSON objects, one a line, into raw columns: texts as they read, numbers and all else as they stand in the line, so no digit is lost.

use std::borrow::Cow;
use std::collections::HashMap;

use arrow::datatypes::SchemaRef;
use serde_json::value::RawValue;

use super::bad_line::{BadLine, Class};
use super::csv::{Lines, MAX_LINE_BYTES};
use super::raw::{LINE, RawBuilder, RawRows};
use crate::Result;

/// As [`super::csv::CsvParser::parse`].
pub fn parse(
    text: &[u8],
    schema: &SchemaRef,
    first_line: i64,
    from_line: i64,
    bad: &mut Vec<BadLine>,
    mut each: impl FnMut(RawRows) -> Result<()>,
) -> Result<()> {
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|f| f.name().as_str())
        .filter(|n| *n != LINE)
        .collect();
    let mut builder = RawBuilder::new(schema.clone());
    for (number, line) in Lines::new(text, first_line) {
        if number < from_line || line.trim_ascii().is_empty() {
            continue;
        }
        match object(line) {
            Ok(object) => {
                builder.start(number, line);
                for (index, name) in names.iter().enumerate() {
                    let value = object.get(*name).map_or(Cow::Borrowed(""), |value| as_text(value));
                    builder.put(index, value.as_bytes());
                }
            }
            Err((class, message)) => bad.push(BadLine::new(number, class, message, line)),
        }
        if builder.is_full() {
            each(builder.finish()?)?;
        }
    }
    if !builder.is_empty() {
        each(builder.finish()?)?;
    }
    Ok(())
}

fn object(line: &[u8]) -> Result<HashMap<Cow<'_, str>, &RawValue>, (Class, String)> {
    if line.len() > MAX_LINE_BYTES {
        return Err((
            Class::TooLarge,
            format!("the line has {} bytes, more than any trade", line.len()),
        ));
    }
    let text = std::str::from_utf8(line).map_err(|error| {
        (
            Class::NotUtf8,
            format!("the line is no UTF-8 from byte {} on", error.valid_up_to()),
        )
    })?;
    serde_json::from_str(text).map_err(|error| (Class::NotJson, format!("the line is no JSON object: {error}")))
}

/// `null` is nothing; a text without its quotes and escapes; anything else as written.
fn as_text(value: &RawValue) -> Cow<'_, str> {
    match value.get() {
        "null" => Cow::Borrowed(""),
        text if text.starts_with('"') => serde_json::from_str(text).unwrap_or(Cow::Borrowed(text)),
        other => Cow::Borrowed(other),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::super::raw::text_schema;
    use super::*;

    #[test]
    fn values_keep_their_digits() {
        let text = "{\"p\":1.50,\"q\":\"2\\u0030\",\"n\":{\"a\":[1, 2]}}\n[1]\n\n{\"p\":null}\n{\"p\":";
        let (mut rows, mut bad) = (Vec::new(), Vec::new());
        parse(text.as_bytes(), &text_schema(["p", "q", "n"]), 1, 1, &mut bad, |raw| {
            for row in 0..raw.rows() {
                let texts = ["p", "q", "n"].map(|name| {
                    let column = raw.columns.column_by_name(name).unwrap().as_string::<i32>();
                    column.is_valid(row).then(|| column.value(row).to_owned())
                });
                rows.push((raw.lines.value(row), texts));
            }
            Ok(())
        })
        .unwrap();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            rows,
            [
                (1, [some("1.50"), some("20"), some("{\"a\":[1, 2]}")]),
                (4, [None, None, None])
            ]
        );
        assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 5]);
    }
}
