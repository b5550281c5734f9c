//! `TICKLAKE_SECTION__KEY` variables as a layer of overrides, and the variables of other tools that fill an empty `[storage]`.
//!
//! A variable's text takes the type that the key's default has; lists are separated by commas.

use toml::Value;

use super::flags::Overrides;
use super::{ConfigError, keys};

const PREFIX: &str = "TICKLAKE_";
const LIBRDKAFKA: &str = "kafka.librdkafka.";
const STORE_OPTIONS: &str = "storage.options.";

/// Variable that tools of a provider know, and the key that it fills. The later wins.
const PROVIDERS: &[(&str, &str)] = &[
    ("AWS_ENDPOINT_URL", "storage.endpoint"),
    ("AWS_ENDPOINT_URL_S3", "storage.endpoint"),
    ("AWS_DEFAULT_REGION", "storage.region"),
    ("AWS_REGION", "storage.region"),
    ("AWS_ACCESS_KEY_ID", "storage.access_key_id"),
    ("AWS_SECRET_ACCESS_KEY", "storage.secret_access_key"),
    ("AWS_SESSION_TOKEN", "storage.session_token"),
    ("AWS_ALLOW_HTTP", "storage.allow_http"),
    ("AZURE_STORAGE_ACCOUNT", "storage.account"),
    ("AZURE_STORAGE_ACCOUNT_NAME", "storage.account"),
    ("AZURE_STORAGE_KEY", "storage.account_key"),
    ("AZURE_STORAGE_ACCOUNT_KEY", "storage.account_key"),
    ("AZURE_STORAGE_SAS_TOKEN", "storage.sas_token"),
    ("GOOGLE_APPLICATION_CREDENTIALS", "storage.credentials_file"),
];

/// The overrides among `variables`. Other programs' variables are none of ours; a `TICKLAKE_SECTION_...` that names no key is an error.
pub fn read(variables: impl Iterator<Item = (String, String)>) -> Result<Overrides, ConfigError> {
    let catalogue = keys::catalogue();
    let mut overrides = Overrides::default();
    let mut variables: Vec<_> = variables.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, text) in variables {
        let bare = name[PREFIX.len()..].to_lowercase();
        let Some((section, key)) = bare.split_once("__") else {
            if catalogue.keys().any(|section| bare.starts_with(&format!("{section}_"))) {
                return Err(unknown(&name, &bare));
            }
            continue;
        };
        let path = match key.strip_prefix("librdkafka__") {
            Some(option) if section == "kafka" => format!("{LIBRDKAFKA}{}", option.replace('_', ".")),
            _ => format!("{section}.{}", key.replace("__", ".")),
        };
        let value = if path.starts_with(LIBRDKAFKA) || path.starts_with(STORE_OPTIONS) {
            Value::String(text)
        } else {
            let default = keys::lookup(&catalogue, &path).filter(|default| !default.is_table());
            typed(&name, text, default.ok_or_else(|| unknown(&name, &path))?)?
        };
        overrides.set_from(&path, value, name);
    }
    Ok(overrides)
}

/// What the usual variables of the providers say about the store. They stand below the file: a setting of ours wins.
pub fn read_providers(variables: impl Iterator<Item = (String, String)>) -> Overrides {
    let variables: std::collections::HashMap<_, _> = variables.collect();
    let mut overrides = Overrides::default();
    for (name, path) in PROVIDERS {
        if let Some(text) = variables.get(*name).filter(|text| !text.is_empty()) {
            let value = match *path {
                "storage.allow_http" => Value::Boolean(matches!(text.as_str(), "1" | "true" | "TRUE" | "True")),
                _ => Value::String(text.clone()),
            };
            overrides.set_from(path, value, (*name).to_owned());
        }
    }
    overrides
}

fn typed(name: &str, text: String, default: &Value) -> Result<Value, ConfigError> {
    let wrong = |what: &str| {
        let message = format!("{text:?} is not {what}");
        Err(ConfigError::Value {
            key: name.to_owned(),
            origin: "the environment".to_owned(),
            message,
        })
    };
    match default {
        Value::Integer(_) => text
            .trim()
            .parse()
            .map(Value::Integer)
            .or_else(|_| wrong("a whole number")),
        Value::Float(_) => text.trim().parse().map(Value::Float).or_else(|_| wrong("a number")),
        Value::Boolean(_) => text
            .trim()
            .parse()
            .map(Value::Boolean)
            .or_else(|_| wrong("true or false")),
        Value::Array(_) => Ok(list(&text)),
        _ => Ok(Value::String(text)),
    }
}

/// `a,b` as a list of texts.
pub fn list(text: &str) -> Value {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
}

fn unknown(name: &str, path: &str) -> ConfigError {
    let nearest = keys::nearest_path(path).or_else(|| keys::nearest_path(&path.replacen('_', ".", 1)));
    let nearest = nearest.map(|path| format!("{PREFIX}{}", path.replace('.', "__").to_uppercase()));
    ConfigError::UnknownKey {
        key: name.to_owned(),
        origin: "the environment".to_owned(),
        nearest,
    }
}

#[cfg(test)]
mod tests {
    use toml::Table;

    use super::*;

    fn layer(pairs: &[(&str, &str)]) -> Result<Table, ConfigError> {
        read(pairs.iter().map(|(name, text)| (name.to_string(), text.to_string()))).map(|overrides| overrides.table)
    }

    #[test]
    fn text_takes_the_type_of_the_key() {
        let table = layer(&[
            ("TICKLAKE_KAFKA__PARTITIONS", "3"),
            ("TICKLAKE_STORAGE__SECRET_ACCESS_KEY", "12345"),
            ("TICKLAKE_STORAGE__ALLOW_HTTP", "true"),
            ("TICKLAKE_FEED__SYMBOLS", "BTC-USDT, ETH-USDT"),
            ("TICKLAKE_KAFKA__LIBRDKAFKA__SASL_USERNAME", "me"),
            ("TICKLAKE_STORAGE__OPTIONS__AZURE_STORAGE_USE_EMULATOR", "true"),
            ("TICKLAKE_TEST_KAFKA", "ignored"),
            ("HOME", "/root"),
        ])
        .unwrap();
        let expected = "[kafka]\npartitions = 3\nlibrdkafka = {'sasl.username' = 'me'}\n[storage]\nsecret_access_key = '12345'\n\
             allow_http = true\noptions = {azure_storage_use_emulator = 'true'}\n[feed]\nsymbols = ['BTC-USDT', 'ETH-USDT']";
        assert_eq!(table, expected.parse().unwrap());
    }

    #[test]
    fn a_wrong_name_or_value_names_the_variable() {
        let message = |name, text| layer(&[(name, text)]).unwrap_err().to_string();
        assert_eq!(
            message("TICKLAKE_KAFKA__TOPICS", "x"),
            "unknown key TICKLAKE_KAFKA__TOPICS in the environment; did you mean TICKLAKE_KAFKA__TOPIC?"
        );
        assert!(message("TICKLAKE_KAFKA_TOPIC", "x").contains("did you mean TICKLAKE_KAFKA__TOPIC?"));
        assert!(message("TICKLAKE_KAFKA__PARTITIONS", "ten").contains("TICKLAKE_KAFKA__PARTITIONS"));
    }
}
