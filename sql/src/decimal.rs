//! Exact decimal text: digits with an optional sign, point and exponent become an unscaled integer, or the reason why not.

/// Why text is not an exact decimal of the wanted precision and scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalError {
    /// Not decimal text at all (`NaN`, `abc`, empty) or beyond anything representable (`1e400`).
    NotANumber,
    /// More non-zero decimals than `scale`.
    Inexact,
    /// More integer digits than the precision leaves.
    OutOfRange,
}

/// Parses `text` as DECIMAL(precision, scale): `parse("1.50", 28, 12) == Ok(1_500_000_000_000)`. Trailing zeros and exponents pass when exact.
pub fn parse(_text: &str, _precision: u8, _scale: u8) -> Result<i128, DecimalError> {
    Err(DecimalError::NotANumber)
}

/// True where `text` is decimal text of any scale that a reader could hold: what a decoder asks.
pub fn is_number(_text: &str) -> bool {
    false
}
