//! The value of a Kafka record -> the fields of a canonical trade, borrowed from the value; or the class of what is wrong with it.
//!
//! Decimals travel as text and must read as numbers; whether they fit is silver's business. Unknown fields are ignored.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;
use ticklake_sql::decimal;

/// A value above this is set aside unread: no trade is that long, and one flush must fit into memory.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// A record nests two deep; the JSON parser recurses, and its stack is finite.
const MAX_DEPTH: usize = 64;

/// Names stand in file statistics; no venue needs more.
const MAX_NAME_BYTES: usize = 256;

/// Microseconds of 0001-01-01 and of the end of 9999: what every reader of a timestamp column can show.
const TIMESTAMPS_US: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// Why a record does not decode, as `bronze.dead_letters.error_class` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    NullValue,
    EmptyValue,
    NotUtf8,
    NotJson,
    MissingField,
    WrongType,
    BadNumber,
    BadValue,
    TooLarge,
}

impl ErrorClass {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NullValue => "null_value",
            Self::EmptyValue => "empty_value",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::BadNumber => "bad_number",
            Self::BadValue => "bad_value",
            Self::TooLarge => "too_large",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    pub class: ErrorClass,
    pub message: String,
}

impl DecodeError {
    fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Text of a value, borrowed unless it holds escapes. (`Option<Cow<str>>` never borrows: serde's blanket impl owns.)
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// One canonical trade as it stands in a record.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Record<'a> {
    #[serde(borrow)]
    pub venue: Text<'a>,
    pub symbol: Text<'a>,
    pub kind: Option<Text<'a>>,
    pub trade_id: Text<'a>,
    pub seq: i64,
    pub price: Text<'a>,
    pub qty: Text<'a>,
    pub side: Option<Text<'a>>,
    /// Microseconds since the epoch, UTC.
    pub ts: i64,
    pub received_at: i64,
    pub source: Text<'a>,
    pub conditions: Option<Vec<Text<'a>>>,
    pub ref_trade_id: Option<Text<'a>>,
    pub count: Option<i64>,
    pub first_id: Option<i64>,
    pub last_id: Option<i64>,
}

impl Record<'_> {
    pub fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("trade")
    }

    pub fn count(&self) -> i64 {
        self.count.unwrap_or(1)
    }
}

/// Decodes one value. `None` is Kafka's null value (a tombstone).
pub fn decode(value: Option<&[u8]>) -> Result<Record<'_>, DecodeError> {
    let Some(value) = value else {
        return Err(DecodeError::new(ErrorClass::NullValue, "the value is null"));
    };
    if value.len() > MAX_VALUE_BYTES {
        let message = format!(
            "the value has {} bytes, more than the {MAX_VALUE_BYTES} of any trade",
            value.len()
        );
        return Err(DecodeError::new(ErrorClass::TooLarge, message));
    }
    let text = match std::str::from_utf8(value) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("the value is no UTF-8 from byte {} on", error.valid_up_to());
            return Err(DecodeError::new(ErrorClass::NotUtf8, message));
        }
    };
    // A struct would be read from an array too.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(diagnose(text, "the value is no trade"));
    }
    if nests_too_deep(value) {
        let message = format!("the value nests deeper than {MAX_DEPTH} levels");
        return Err(DecodeError::new(ErrorClass::BadValue, message));
    }
    match sonic_rs::from_str::<Record<'_>>(text) {
        Ok(record) => check(&record).map(|()| record),
        Err(error) => Err(diagnose(text, &first_line(&error.to_string()))),
    }
}

/// True where brackets open inside each other too often. Almost always the number of brackets alone says no.
fn nests_too_deep(value: &[u8]) -> bool {
    // `[` and `{` differ in one bit.
    let opening = |byte: &u8| byte | 0x20 == b'{';
    if value.iter().filter(|byte| opening(byte)).count() <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in value {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// What the JSON grammar cannot say.
fn check(record: &Record<'_>) -> Result<(), DecodeError> {
    for (name, text) in [("price", &record.price), ("qty", &record.qty)] {
        if !decimal::is_number(text) {
            let message = format!("field `{name}` is `{}`, which is no decimal number", shown(text));
            return Err(DecodeError::new(ErrorClass::BadNumber, message));
        }
    }
    let bad = |name: &str, value: &str, wanted: &str| {
        let message = format!("field `{name}` is `{}`; it must be {wanted}", shown(value));
        Err(DecodeError::new(ErrorClass::BadValue, message))
    };
    for (name, text) in [
        ("venue", &record.venue),
        ("symbol", &record.symbol),
        ("trade_id", &record.trade_id),
    ] {
        if text.is_empty() || text.len() > MAX_NAME_BYTES {
            return bad(name, text, "text of 1 to 256 bytes");
        }
    }
    if !matches!(record.kind(), "trade" | "agg" | "cancel" | "correct") {
        return bad("kind", record.kind(), "trade, agg, cancel or correct");
    }
    if let Some(side) = &record.side
        && !matches!(&**side, "buy" | "sell")
    {
        return bad("side", side, "buy, sell or null");
    }
    if !matches!(&*record.source, "live" | "repair" | "replay" | "sim" | "import") {
        return bad("source", &record.source, "live, repair, replay, sim or import");
    }
    for (name, ts) in [("ts", record.ts), ("received_at", record.received_at)] {
        if !TIMESTAMPS_US.contains(&ts) {
            return bad(
                name,
                &ts.to_string(),
                "microseconds since 1970 within the years 1 to 9999",
            );
        }
    }
    if record.count() < 1 {
        return bad("count", &record.count().to_string(), "1 or more");
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Integer,
    TextList,
}

/// (field, type, required).
const FIELDS: &[(&str, Type, bool)] = &[
    ("venue", Type::Text, true),
    ("symbol", Type::Text, true),
    ("kind", Type::Text, false),
    ("trade_id", Type::Text, true),
    ("seq", Type::Integer, true),
    ("price", Type::Text, true),
    ("qty", Type::Text, true),
    ("side", Type::Text, false),
    ("ts", Type::Integer, true),
    ("received_at", Type::Integer, true),
    ("source", Type::Text, true),
    ("conditions", Type::TextList, false),
    ("ref_trade_id", Type::Text, false),
    ("count", Type::Integer, false),
    ("first_id", Type::Integer, false),
    ("last_id", Type::Integer, false),
];

/// Finds out what is wrong with a value that did not decode. Slow, and only for those.
fn diagnose(text: &str, decoder_says: &str) -> DecodeError {
    if text.trim_ascii().is_empty() {
        return DecodeError::new(ErrorClass::EmptyValue, "the value is empty");
    }
    let raw: &RawValue = match serde_json::from_str(text) {
        Ok(raw) => raw,
        Err(error) => return DecodeError::new(ErrorClass::NotJson, format!("the value is no JSON: {error}")),
    };
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = match serde_json::from_str(raw.get()) {
        Ok(fields) => fields,
        Err(_) => {
            return DecodeError::new(
                ErrorClass::WrongType,
                format!("the value is {}, not an object", type_of(raw)),
            );
        }
    };
    for &(name, wanted, required) in FIELDS {
        let Some(found) = fields.get(name) else {
            if required {
                return DecodeError::new(ErrorClass::MissingField, format!("field `{name}` is missing"));
            }
            continue;
        };
        if !(fits(found.get(), wanted) || (!required && found.get() == "null")) {
            let wanted = match wanted {
                Type::Text => "text",
                Type::Integer => "an integer of 64 bits",
                Type::TextList => "a list of texts",
            };
            let message = format!("field `{name}` is {}; it must be {wanted}", type_of(found));
            return DecodeError::new(ErrorClass::WrongType, message);
        }
    }
    DecodeError::new(ErrorClass::BadValue, decoder_says)
}

fn fits(json: &str, wanted: Type) -> bool {
    match wanted {
        Type::Text => json.starts_with('"'),
        Type::Integer => json.parse::<i64>().is_ok(),
        Type::TextList => serde_json::from_str::<Vec<Cow<'_, str>>>(json).is_ok(),
    }
}

fn type_of(raw: &RawValue) -> String {
    match raw.get().as_bytes().first() {
        Some(b'"') => "text".to_owned(),
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "a list".to_owned(),
        Some(b't' | b'f') => "a boolean".to_owned(),
        Some(b'n') => "null".to_owned(),
        _ => format!("the number {}", shown(raw.get())),
    }
}

/// At most 40 characters of something that came from outside.
fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(40) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"venue":"binance-spot","symbol":"BTC-USDT","kind":"trade","trade_id":"4839201","seq":4839201,"price":"64231.12","qty":"0.0125","side":"buy","ts":1735689600123456,"received_at":1735689600153211,"source":"live","conditions":[],"raw":"{\"e\":1}"}"#;

    #[test]
    fn the_contract_s_example_decodes_without_a_copy() {
        let record = decode(Some(GOOD.as_bytes())).unwrap();
        assert_eq!(
            (&*record.venue, &*record.symbol, record.kind()),
            ("binance-spot", "BTC-USDT", "trade")
        );
        assert_eq!(
            (record.seq, record.ts, record.received_at),
            (4_839_201, 1_735_689_600_123_456, 1_735_689_600_153_211)
        );
        assert_eq!((&*record.price, &*record.qty), ("64231.12", "0.0125"));
        assert_eq!(record.count(), 1);
        assert_eq!(record.conditions.as_deref(), Some([].as_slice()));
        assert!(matches!(record.venue.0, Cow::Borrowed(_)));
        assert!(matches!(record.side.unwrap().0, Cow::Borrowed(_)));
    }

    #[test]
    fn optional_fields_may_be_null_or_absent_and_unknown_ones_are_ignored() {
        let text = r#" {"venue":"v","symbol":"s","trade_id":"1","seq":-1,"price":"1","qty":"2e-3","side":null,"ts":0,"received_at":0,
            "source":"sim","count":3,"first_id":1,"last_id":3,"ref_trade_id":null,"new":{"a":[1,{"b":null}]},"conditions":["A","\u0042"]} "#;
        let record = decode(Some(text.as_bytes())).unwrap();
        assert_eq!(
            (record.kind(), record.count(), record.side.as_ref()),
            ("trade", 3, None)
        );
        let conditions = record.conditions.unwrap();
        assert_eq!(conditions.iter().map(|c| &**c).collect::<Vec<_>>(), ["A", "B"]);
    }

    fn check_class(value: impl AsRef<[u8]>, class: ErrorClass, says: &str) {
        let value = value.as_ref();
        let error = decode(Some(value)).unwrap_err();
        let text = String::from_utf8_lossy(value);
        assert_eq!(error.class, class, "{text}: {error}");
        assert!(error.message.contains(says), "{text}: {error}");
    }

    #[test]
    fn every_fault_has_its_class() {
        let with = |from: &str, to: &str| {
            assert!(GOOD.contains(from), "{from}");
            GOOD.replace(from, to)
        };
        use ErrorClass::*;
        assert_eq!(decode(None).unwrap_err().class, NullValue);
        check_class("", EmptyValue, "empty");
        check_class("  \n", EmptyValue, "empty");
        check_class(b"{\"venue\":\"\xff\"}", NotUtf8, "byte 10");
        check_class("hello", NotJson, "no JSON");
        check_class(&GOOD[..GOOD.len() - 1], NotJson, "no JSON");
        check_class(format!("{GOOD}{GOOD}"), NotJson, "no JSON");
        check_class("[1,2]", WrongType, "a list, not an object");
        check_class(
            r#"["v","s","trade","1",1,"1","1","buy",0,0,"live"]"#,
            WrongType,
            "a list",
        );
        check_class("null", WrongType, "null");
        check_class(vec![b'['; 100_000], NotJson, "");
        check_class(with(r#""seq":4839201,"#, ""), MissingField, "`seq` is missing");
        check_class(with(r#""venue":"binance-spot","#, ""), MissingField, "`venue`");
        check_class(
            with(r#""seq":4839201"#, r#""seq":"4839201""#),
            WrongType,
            "`seq` is text",
        );
        check_class(
            with(r#""seq":4839201"#, r#""seq":1.5"#),
            WrongType,
            "`seq` is the number 1.5",
        );
        check_class(
            with(r#""seq":4839201"#, r#""seq":99999999999999999999"#),
            WrongType,
            "`seq`",
        );
        check_class(with(r#""seq":4839201"#, r#""seq":null"#), WrongType, "`seq` is null");
        check_class(
            with(r#""price":"64231.12""#, r#""price":64231.12"#),
            WrongType,
            "`price` is the number 64231.12",
        );
        check_class(with(r#""price":"64231.12""#, r#""price":1e400"#), WrongType, "`price`");
        check_class(
            with(r#""conditions":[]"#, r#""conditions":[1]"#),
            WrongType,
            "`conditions`",
        );
        check_class(with("64231.12", "1e400"), BadNumber, "1e400");
        check_class(with("64231.12", "NaN"), BadNumber, "NaN");
        check_class(with("64231.12", "Infinity"), BadNumber, "Infinity");
        check_class(with("0.0125", ""), BadNumber, "`qty`");
        check_class(
            with(r#""kind":"trade""#, r#""kind":"quote""#),
            BadValue,
            "`kind` is `quote`",
        );
        check_class(with(r#""side":"buy""#, r#""side":"BUY""#), BadValue, "`side`");
        check_class(with(r#""source":"live""#, r#""source":"x""#), BadValue, "`source`");
        check_class(with("BTC-USDT", ""), BadValue, "`symbol`");
        check_class(with("1735689600123456", "9223372036854775807"), BadValue, "`ts`");
        check_class(with(r#""raw""#, r#""count":0,"raw""#), BadValue, "`count`");
        check_class(with(r#""raw""#, r#""seq":1,"raw""#), BadValue, "duplicate field");
        check_class(vec![b'x'; MAX_VALUE_BYTES + 1], TooLarge, "1048577 bytes");
    }

    #[test]
    fn deep_nesting_is_set_aside_and_many_brackets_are_not() {
        let with = |field: &str| GOOD.replace(r#""raw":"#, &format!(r#"{field},"raw":"#));
        let nested = |depth: usize| format!(r#""deep":{}{}"#, "[".repeat(depth), "]".repeat(depth));
        for depth in [64, 200_000] {
            check_class(with(&nested(depth)), ErrorClass::BadValue, "nests deeper");
        }
        assert!(decode(Some(with(&nested(63)).as_bytes())).is_ok());
        assert!(decode(Some(with(&format!(r#""flat":[{}[]]"#, "[],".repeat(500))).as_bytes())).is_ok());
        assert!(decode(Some(with(&format!(r#""text":"\"{}""#, "[".repeat(500))).as_bytes())).is_ok());
    }
}
