//! Masks secrets before settings are shown.

use toml::{Table, Value};

/// What stands in place of a secret.
const MASK: &str = "***";

/// Words in a key's name that make its value a secret. `access_key_id` alone is a name, not a secret.
const SECRET_WORDS: &[&str] = &[
    "password",
    "secret",
    "token",
    "credential",
    "jaas",
    "key.pem",
    "account_key",
    "storage_access_key",
    "master_key",
    "sas_key",
    "signing_key",
    "sasl.oauthbearer.config",
];

/// `table` with every non-empty secret masked.
pub fn masked(mut table: Table) -> Table {
    for (key, value) in table.iter_mut() {
        match value {
            Value::Table(inner) => *inner = masked(std::mem::take(inner)),
            Value::String(text) if !text.is_empty() && is_secret(key) => *text = MASK.to_owned(),
            Value::Array(items) if is_secret(key) => {
                items.iter_mut().for_each(|item| *item = Value::String(MASK.to_owned()))
            }
            _ => {}
        }
    }
    table
}

fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    // Where a secret lies is none.
    !key.ends_with("_file") && SECRET_WORDS.iter().any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_names_are_not() {
        let table = "[storage]\nsecret_access_key = 'hunter2'\naccess_key_id = 'me'\nsession_token = ''\n\
             account_key = 'hunter2'\nsas_token = 'hunter2'\n\
         [storage.options]\nazure_storage_access_key = 'hunter2'\ngoogle_service_account_key = 'hunter2'\n\
         [kafka.librdkafka]\n'sasl.password' = 'hunter2'\n[serve]\ntokens = ['hunter2']";
        let shown = masked(table.parse().unwrap()).to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("'me'") || shown.contains("\"me\""), "{shown}");
    }
}
