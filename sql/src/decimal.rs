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

/// Greatest exponent, either sign, that is still a number: that of a double, so `1e400` is none and `1e300` is out of range.
const EXPONENT_LIMIT: i64 = 308;
/// Digits that surely fit in an i128 / a u64.
const I128_DIGITS: usize = 38;
const U64_DIGITS: usize = 19;

/// Parses `text` as DECIMAL(precision, scale): `parse("1.50", 28, 12) == Ok(1_500_000_000_000)`. Trailing zeros and exponents pass when exact.
pub fn parse(text: &str, precision: u8, scale: u8) -> Result<i128, DecimalError> {
    let number = Number::split(text.as_bytes()).ok_or(DecimalError::NotANumber)?;
    let Some((first, last)) = number.significant() else {
        return Ok(0);
    };
    // The last significant digit has the value digit x 10^lowest; unscaled by `scale` it needs lowest + scale >= 0.
    let shift = number.power_of(last) + i64::from(scale);
    if number.power_of(first) + i64::from(scale) >= i64::from(precision) {
        return Err(DecimalError::OutOfRange);
    }
    if shift < 0 {
        return Err(DecimalError::Inexact);
    }
    // Here digits + shift <= precision <= 38: neither the digits nor the product overflow an i128.
    let unscaled = number.digits(first, last) * 10i128.pow(shift as u32);
    Ok(if number.negative { -unscaled } else { unscaled })
}

/// True where `text` is decimal text of any scale that a reader could hold: what a decoder asks.
pub fn is_number(text: &str) -> bool {
    Number::split(text.as_bytes()).is_some()
}

/// Decimal text taken apart: `-12.5e3` is negative, whole `12`, fraction `5`, exponent 3.
struct Number<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Number<'a> {
    fn split(text: &'a [u8]) -> Option<Self> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let (whole, rest) = digits_prefix(text);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => digits_prefix(rest),
            _ => (&rest[..0], rest),
        };
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => exponent(rest)?,
            _ => return None,
        };
        let number = Self {
            negative,
            whole,
            fraction,
            exponent,
        };
        // Zero has no magnitude: 0e400 stays a number only within the limit too, which keeps the rule one sentence.
        (!(whole.is_empty() && fraction.is_empty()) && exponent.abs() <= EXPONENT_LIMIT).then_some(number)
    }

    fn digit(&self, index: usize) -> u8 {
        match self.whole.get(index) {
            Some(digit) => digit - b'0',
            None => self.fraction[index - self.whole.len()] - b'0',
        }
    }

    /// Indexes of the first and last digit that is not zero.
    fn significant(&self) -> Option<(usize, usize)> {
        let nonzero = |digit: &u8| *digit != b'0';
        let whole = self.whole.len();
        let first = self
            .whole
            .iter()
            .position(nonzero)
            .or_else(|| self.fraction.iter().position(nonzero).map(|i| i + whole))?;
        let last = self
            .fraction
            .iter()
            .rposition(nonzero)
            .map(|i| i + whole)
            .or_else(|| self.whole.iter().rposition(nonzero))?;
        Some((first, last))
    }

    /// Power of ten of the digit at `index`.
    fn power_of(&self, index: usize) -> i64 {
        self.whole.len() as i64 - 1 - index as i64 + self.exponent
    }

    fn digits(&self, first: usize, last: usize) -> i128 {
        debug_assert!(last - first < I128_DIGITS);
        if last - first < U64_DIGITS {
            return i128::from((first..=last).fold(0u64, |sum, i| sum * 10 + u64::from(self.digit(i))));
        }
        (first..=last).fold(0i128, |sum, i| sum * 10 + i128::from(self.digit(i)))
    }
}

fn digits_prefix(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len()))
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0i64, |sum, b| (sum * 10 + i64::from(b - b'0')).min(EXPONENT_LIMIT + 1));
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::DecimalError::*;
    use super::*;

    fn check(text: &str, precision: u8, scale: u8, expected: Result<i128, DecimalError>) {
        assert_eq!(parse(text, precision, scale), expected, "{text}");
    }

    #[test]
    fn exact_text_passes() {
        check("1.50", 28, 12, Ok(1_500_000_000_000));
        check("-0.0001", 28, 4, Ok(-1));
        check("+7", 28, 0, Ok(7));
        check(".5", 28, 1, Ok(5));
        check("5.", 28, 1, Ok(50));
        check("00000000000000000000000000000000000000000000001.10", 3, 1, Ok(11));
        check("1.5e3", 28, 2, Ok(150_000));
        check("1500E-3", 28, 1, Ok(15));
        check("0.000", 1, 0, Ok(0));
        check("-0", 1, 0, Ok(0));
        check(
            "9999999999999999.999999999999",
            28,
            12,
            Ok(9_999_999_999_999_999_999_999_999_999),
        );
        check(
            "99999999999999999999999999999999999999",
            38,
            0,
            Ok(99_999_999_999_999_999_999_999_999_999_999_999_999),
        );
    }

    #[test]
    fn the_reason_is_named() {
        for text in [
            "",
            "-",
            ".",
            "NaN",
            "inf",
            "abc",
            "1e",
            "1e+",
            "1e400",
            "1e99999999999999999999",
            "1.2.3",
            " 1",
            "1 ",
            "0x10",
            "1_000",
            "١",
            "e5",
            "1-",
        ] {
            check(text, 28, 12, Err(NotANumber));
            assert!(!is_number(text), "{text}");
        }
        check("0.0000000000001", 28, 12, Err(Inexact));
        check("1e-300", 28, 12, Err(Inexact));
        check("10000000000000000", 28, 12, Err(OutOfRange));
        check("1e300", 28, 12, Err(OutOfRange));
        check("10000000000000000.0000000000001", 28, 12, Err(OutOfRange));
        check("100000000000000000000000000000000000000", 38, 0, Err(OutOfRange));
        assert!(is_number("1e300") && is_number("-.5"));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_what_is_parsed(unscaled in -(10i128.pow(28) - 1)..10i128.pow(28), scale in 0u8..=28, zeros in 0usize..4, exponent in -20i64..20) {
            let digits = format!("{:0>29}", unscaled.unsigned_abs());
            let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
            let sign = if unscaled < 0 { "-" } else { "" };
            let point = if fraction.is_empty() && zeros == 0 { "" } else { "." };
            let plain = format!("{sign}{whole}{point}{fraction}{}", "0".repeat(zeros));
            prop_assert_eq!(parse(&plain, 28, scale), Ok(unscaled), "{}", &plain);
            // The same value, its point moved and moved back by the exponent.
            let shifted = format!("{sign}{}e{}", digits, exponent);
            let wanted = i64::from(scale) + exponent;
            if (0..=28).contains(&wanted) && unscaled.unsigned_abs() < 10u128.pow(28 - wanted as u32) {
                prop_assert_eq!(parse(&shifted, 28, scale), Ok(unscaled * 10i128.pow(wanted as u32)), "{}", &shifted);
            }
        }

        #[test]
        fn a_digit_too_many_is_inexact(whole in 0u32.., scale in 0usize..12, digit in 1u8..=9) {
            let text = format!("{whole}.{}{digit}", "0".repeat(scale));
            prop_assert_eq!(parse(&text, 28, scale as u8), Err(Inexact));
        }

        #[test]
        fn any_text_is_answered(text in "[-+.eE0-9a]{0,60}") {
            let parsed = parse(&text, 38, 10);
            prop_assert_eq!(parsed == Err(NotANumber), !is_number(&text));
        }
    }
}
