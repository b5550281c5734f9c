//! Scalar functions for mappings that SQL does not have: names of pairs, flags in hex, lists in JSON.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, ListBuilder, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use ticklake_sql::symbols;

/// All of them, to register in a session.
pub fn all() -> [ScalarUDF; 3] {
    [
        ScalarUDF::new_from_impl(VenueSymbol::new()),
        ScalarUDF::new_from_impl(HexFlags::new()),
        ScalarUDF::new_from_impl(JsonTexts::new()),
    ]
}

/// Binance's joined name -> BASE-QUOTE.
static BINANCE: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    symbols::pairs(symbols::BINANCE_PAIRS)
        .map(|pair| (pair.replace('-', ""), pair))
        .collect()
});

/// `venue_symbol('binance', 'BTCUSDT')` is `BTC-USDT`; NULL where the shipped list lacks the name. A canonical name stays as it is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct VenueSymbol(Signature);

impl VenueSymbol {
    fn new() -> Self {
        Self(Signature::new(TypeSignature::String(2), Volatility::Immutable))
    }

    fn canonical(venue: &str, name: &str) -> Option<String> {
        if venue != "binance" {
            return None;
        }
        let name = name.to_ascii_uppercase();
        match name.split_once('-') {
            Some((base, quote)) if !base.is_empty() && !quote.is_empty() => Some(name),
            _ => BINANCE.get(&name).map(|pair| (*pair).to_owned()),
        }
    }
}

impl ScalarUDFImpl for VenueSymbol {
    fn name(&self) -> &str {
        "venue_symbol"
    }
    fn signature(&self) -> &Signature {
        &self.0
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (venues, names) = (text(&args, 0)?, text(&args, 1)?);
        let symbols: StringArray = venues
            .as_string::<i32>()
            .iter()
            .zip(names.as_string::<i32>())
            .map(|(venue, name)| Self::canonical(venue?, name?))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(symbols)))
    }
}

/// `hex_flags('20002020')` is `[0x20, 0x2000, 0x20000000]`: one text a bit that is set. NULL for what is no hex number of 64 bits.
#[derive(Debug, PartialEq, Eq, Hash)]
struct HexFlags(Signature);

impl HexFlags {
    fn new() -> Self {
        Self(Signature::new(TypeSignature::String(1), Volatility::Immutable))
    }
}

impl ScalarUDFImpl for HexFlags {
    fn name(&self) -> &str {
        "hex_flags"
    }
    fn signature(&self) -> &Signature {
        &self.0
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(texts_type())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let flags = text(&args, 0)?;
        let mut lists = ListBuilder::new(StringBuilder::new());
        for flags in flags.as_string::<i32>() {
            let bits = flags.and_then(|flags| u64::from_str_radix(flags, 16).ok());
            for bit in (0..64).filter(|bit| bits.is_some_and(|bits| bits >> bit & 1 == 1)) {
                lists.values().append_value(format!("{:#x}", 1u64 << bit));
            }
            lists.append(bits.is_some());
        }
        Ok(ColumnarValue::Array(Arc::new(lists.finish())))
    }
}

/// `json_texts('["A", "B"]')` is the list of those texts. NULL for what is no JSON list of texts.
#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonTexts(Signature);

impl JsonTexts {
    fn new() -> Self {
        Self(Signature::new(TypeSignature::String(1), Volatility::Immutable))
    }
}

impl ScalarUDFImpl for JsonTexts {
    fn name(&self) -> &str {
        "json_texts"
    }
    fn signature(&self) -> &Signature {
        &self.0
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(texts_type())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for json in text(&args, 0)?.as_string::<i32>() {
            let texts = json.and_then(|json| serde_json::from_str::<Vec<String>>(json).ok());
            for text in texts.iter().flatten() {
                lists.values().append_value(text);
            }
            lists.append(texts.is_some());
        }
        Ok(ColumnarValue::Array(Arc::new(lists.finish())))
    }
}

fn texts_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

/// Argument `index` as Utf8, whatever kind of text it is.
fn text(args: &ScalarFunctionArgs, index: usize) -> Result<ArrayRef> {
    let Some(argument) = args.args.get(index) else {
        return exec_err!("argument {index} is missing");
    };
    Ok(cast(&argument.to_array(args.number_rows)?, &DataType::Utf8)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_looked_up_and_never_guessed() {
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(VenueSymbol::canonical("binance", name).as_deref(), expected, "{name}");
        };
        check("BTCUSDT", Some("BTC-USDT"));
        check("ethbtc", Some("ETH-BTC"));
        check("FOOUSDT", None);
        check("FOO-USDT", Some("FOO-USDT"));
        assert_eq!(VenueSymbol::canonical("kraken", "BTCUSDT"), None);
    }
}
