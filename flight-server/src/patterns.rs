//! Patterns of LIKE and of regular expressions: short, small once they are compiled, and few in one batch of rows.
//!
//! A compiled expression may have megabytes, and the engine keeps each that a batch has met. A pattern that stands in the
//! statement is looked at once, when it is planned; one that each row brings, in each batch.

use std::collections::HashSet;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result as DFResult, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use regex::RegexBuilder;

use crate::error::Error;

/// Functions with where their pattern stands and where their flags.
pub const FUNCTIONS: [(&str, usize, usize); 5] = [
    ("regexp_count", 1, 3),
    ("regexp_instr", 1, 4),
    ("regexp_like", 1, 2),
    ("regexp_match", 1, 2),
    ("regexp_replace", 1, 3),
];
const MAX_PATTERN_BYTES: usize = 1 << 10;
/// Compiled; the engine alone would let one have three times as much, and as many as there are rows.
const MAX_COMPILED_BYTES: usize = 3 << 20;
/// Of each where rows bring them.
const MAX_COMPILED_BYTES_OF_MANY: usize = 128 << 10;
/// In one batch.
const MAX_DISTINCT: usize = 64;
/// Flags are put before the pattern as they are.
const MAX_FLAGS_BYTES: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Like,
    Regex,
    Flags,
}

/// `pattern` as it is, once it was looked at.
pub fn checked(kind: Kind, pattern: Expr) -> Expr {
    if let Expr::ScalarFunction(call) = &pattern
        && call.func.inner().is::<Checked>()
    {
        return pattern;
    }
    let checked = Checked {
        kind,
        signature: Signature::any(1, Volatility::Immutable),
    };
    ScalarUDF::new_from_impl(checked).call(vec![pattern])
}

/// Named and shown as its argument is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        "checked_pattern"
    }

    fn display_name(&self, args: &[Expr]) -> DFResult<String> {
        self.schema_name(args)
    }

    fn schema_name(&self, args: &[Expr]) -> DFResult<String> {
        Ok(args.iter().map(|arg| arg.schema_name().to_string()).collect())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DFResult<DataType> {
        match types {
            [one] => Ok(one.clone()),
            _ => exec_err!("one pattern at a time"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DFResult<FieldRef> {
        match args.arg_fields {
            [one] => Ok(one.clone()),
            _ => exec_err!("one pattern at a time"),
        }
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DFResult<ColumnarValue> {
        let Some(value) = args.args.pop() else {
            return exec_err!("one pattern at a time");
        };
        match &value {
            ColumnarValue::Scalar(scalar) => {
                if let Some(Some(pattern)) = scalar.try_as_str() {
                    self.kind.check(pattern, MAX_COMPILED_BYTES)?;
                }
            }
            ColumnarValue::Array(array) => {
                let texts = cast(array, &DataType::Utf8)?;
                let mut met = HashSet::new();
                for pattern in texts.as_string::<i32>().iter().flatten() {
                    if met.contains(pattern) {
                        continue;
                    }
                    if met.len() == MAX_DISTINCT {
                        return Err(Error::Limit(format!(
                            "more than {MAX_DISTINCT} different patterns in one batch of rows; write the pattern in the \
                             statement, or compare with starts_with, contains or strpos"
                        ))
                        .into());
                    }
                    self.kind.check(pattern, MAX_COMPILED_BYTES_OF_MANY)?;
                    met.insert(pattern);
                }
            }
        }
        Ok(value)
    }
}

impl Kind {
    fn check(self, pattern: &str, compiled_bytes: usize) -> Result<(), Error> {
        let allowed = match self {
            Kind::Flags => MAX_FLAGS_BYTES,
            Kind::Like | Kind::Regex => MAX_PATTERN_BYTES,
        };
        if pattern.len() > allowed {
            return Err(Error::Request(format!(
                "a pattern, or its flags, of {} bytes, {allowed} are allowed; write a shorter one",
                pattern.len()
            )));
        }
        if self != Kind::Regex {
            return Ok(());
        }
        match RegexBuilder::new(pattern).size_limit(compiled_bytes).build() {
            Err(regex::Error::CompiledTooBig(_)) => Err(Error::Request(format!(
                "the regular expression takes more than {compiled_bytes} bytes once it is compiled; repeat less in it, or use \
                 [0-9] and [a-z] in the place of \\d and \\w"
            ))),
            // What does not parse is the engine's to tell.
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_passes() {
        for pattern in [
            r"^[A-Z]{2,10}-(USDT?|EUR)$",
            r"(\d+)\.(\d{1,12})",
            r"\w{1,20}@\w+",
            r"(?i)btc.*perp",
            "(",
        ] {
            Kind::Regex.check(pattern, MAX_COMPILED_BYTES).unwrap();
        }
        Kind::Like.check(&"%a".repeat(500), 0).unwrap();
        Kind::Flags.check("gi", 0).unwrap();
    }

    #[test]
    fn what_grows_is_refused() {
        for (kind, pattern) in [
            (Kind::Regex, "(a{1,300}){1,300}".to_owned()),
            (Kind::Regex, "a".repeat(2_000)),
            (Kind::Like, "%a".repeat(1_000)),
            (Kind::Flags, "i)(a{1,1000}".to_owned()),
        ] {
            assert!(matches!(
                kind.check(&pattern, MAX_COMPILED_BYTES),
                Err(Error::Request(_))
            ));
        }
    }
}
