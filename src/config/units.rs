//! Durations and sizes with units, as people write them: "500ms", "1h 30m", "128MB", "64KiB".
//!
//! A bad unit is named together with the nearest right one.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::keys::nearest;

const DURATION_UNITS: &[&str] = &[
    "us", "ms", "s", "sec", "seconds", "m", "min", "minutes", "h", "hours", "d", "days",
];

/// Decimal and binary multiples of a byte.
const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A duration setting: text with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A size setting in bytes: text with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl Span {
    pub const fn millis(value: u64) -> Self {
        Self(Duration::from_millis(value))
    }
    pub const fn seconds(value: u64) -> Self {
        Self(Duration::from_secs(value))
    }
}

pub fn parse_span(text: &str) -> Result<Span, String> {
    humantime::parse_duration(text.trim())
        .map(Span)
        .map_err(|error| match error {
            humantime::DurationError::UnknownUnit { unit, .. } if !unit.is_empty() => {
                let hint = nearest(&unit, DURATION_UNITS.iter().copied()).unwrap_or("s");
                format!("unknown unit {unit:?} in the duration {text:?}; did you mean {hint:?}?")
            }
            humantime::DurationError::NumberOverflow => format!("the duration {text:?} is too long"),
            _ => format!("{text:?} is no duration; write a number with a unit, such as \"500ms\", \"5s\" or \"1h\""),
        })
}

pub fn parse_size(text: &str) -> Result<Size, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_').len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let Ok(number) = number.replace('_', "").parse::<u64>() else {
        return Err(format!(
            "{text:?} is no size; write a whole number with a unit, such as \"64KB\" or \"128MB\""
        ));
    };
    if unit.is_empty() {
        return Err(format!(
            "the size {text:?} has no unit; write for example \"{number}MB\" or \"{number}B\""
        ));
    }
    let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) else {
        let hint = nearest(unit, SIZE_UNITS.iter().map(|(name, _)| *name)).unwrap_or("MB");
        return Err(format!(
            "unknown unit {unit:?} in the size {text:?}; did you mean {hint:?}?"
        ));
    };
    number
        .checked_mul(*factor)
        .map(Size)
        .ok_or_else(|| format!("the size {text:?} is too large"))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Display for Size {
    /// The largest unit that divides the size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let best = SIZE_UNITS
            .iter()
            .filter(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .max_by_key(|(_, f)| *f);
        let (unit, factor) = best.copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitText {
            what: "a duration with a unit, such as \"5s\"",
            parse: parse_span,
        })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitText {
            what: "a size with a unit, such as \"128MB\"",
            parse: parse_size,
        })
    }
}

struct UnitText<T> {
    what: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> de::Visitor<'_> for UnitText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        Err(E::custom(format!("{number} has no unit; write {}", self.what)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_back_as_they_are_shown() {
        for text in ["500ms", "5s", "1h 30m", "7days"] {
            let span = parse_span(text).unwrap();
            assert_eq!(parse_span(&span.to_string()).unwrap(), span);
        }
        for (text, bytes) in [("128MB", 128_000_000), ("64KiB", 65_536), ("1_000b", 1_000), ("0B", 0)] {
            assert_eq!(parse_size(text).unwrap(), Size(bytes), "{text}");
            assert_eq!(parse_size(&Size(bytes).to_string()).unwrap(), Size(bytes));
        }
    }

    #[test]
    fn a_bad_unit_is_named_with_the_nearest_right_one() {
        let check = |error: Result<(), String>, parts: &[&str]| {
            let error = error.unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{error} lacks {part}");
            }
        };
        check(parse_span("5secs2").map(drop), &["5secs2"]);
        check(parse_span("5 mss").map(drop), &["\"mss\"", "\"ms\""]);
        check(parse_span("5").map(drop), &["\"5s\""]);
        check(parse_size("128MBs").map(drop), &["\"MBs\"", "\"MB\""]);
        check(parse_size("128").map(drop), &["no unit", "128MB"]);
        check(parse_size("many").map(drop), &["no size"]);
        check(parse_size("99999999TB").map(drop), &["too large"]);
    }
}
