//! How producer and consumer reach the broker: options as the user gave them, checked against what this program fixes.
//!
//! Secrets never leave through `Debug` or an error. Options: <https://docs.confluent.io/platform/current/clients/librdkafka/html/md_CONFIGURATION.html>

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;

use crate::error::{Error, Result};

/// Names under which librdkafka also takes an option (`C_ALIAS` in its rdkafka_conf.c): (alias, name).
const ALIASES: &[(&str, &str)] = &[
    ("metadata.broker.list", "bootstrap.servers"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("request.required.acks", "acks"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("retries", "message.send.max.retries"),
    ("compression.type", "compression.codec"),
    ("sasl.mechanism", "sasl.mechanisms"),
    ("auto.commit.enable", "enable.auto.commit"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
];

/// Words that make an option's value a secret.
const SECRET_WORDS: &[&str] = &[
    "password",
    "secret",
    "key",
    "token",
    "jaas",
    "credential",
    "sasl.oauthbearer.config",
];

/// Where the broker is, and any librdkafka option on top.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    /// `host:port`, several with commas.
    pub bootstrap_servers: String,
    /// Passed to librdkafka as they stand; one that this program fixes is refused.
    pub librdkafka: BTreeMap<String, String>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            bootstrap_servers: "127.0.0.1:9092".to_owned(),
            librdkafka: BTreeMap::new(),
        }
    }
}

impl KafkaOptions {
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            ..Self::default()
        }
    }

    /// The client's configuration: `defaults`, then the user's options, then `fixed`, which nobody overrides.
    ///
    /// A user's option that names a fixed one, by an alias too, is an error even where the value is the same:
    /// a configuration file should not look as if it decided the matter.
    pub fn client_config(&self, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> Result<ClientConfig> {
        if self.bootstrap_servers.trim().is_empty() {
            return Err(Error::Invalid(
                "no Kafka broker given; set --bootstrap-servers HOST:PORT".to_owned(),
            ));
        }
        let mut config = ClientConfig::new();
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.librdkafka {
            let canonical = canonical_name(name);
            if canonical == "bootstrap.servers" {
                let message = format!(
                    "librdkafka option `{name}` is set by bootstrap_servers; remove it from the librdkafka section"
                );
                return Err(Error::Invalid(message));
            }
            if fixed
                .iter()
                .any(|(fixed_name, _)| canonical_name(fixed_name) == canonical)
            {
                let message = format!(
                    "librdkafka option `{name}` is fixed by ticklake's delivery guarantees; remove it from the librdkafka section"
                );
                return Err(Error::Invalid(message));
            }
            config.set(canonical, value.as_str());
        }
        for (name, value) in fixed {
            config.set(*name, *value);
        }
        config.set("bootstrap.servers", self.bootstrap_servers.as_str());
        Ok(config)
    }

    /// Puts a step and the broker's address to a librdkafka error, and keeps option values (secrets) out of it.
    pub fn error(&self, what: &'static str, source: KafkaError) -> Error {
        match source {
            KafkaError::ClientConfig(_, reason, key, value) => {
                let reason = if value.is_empty() {
                    reason
                } else {
                    reason.replace(value.as_str(), "***")
                };
                Error::KafkaOption { key, reason }
            }
            source => Error::Kafka {
                what,
                brokers: self.bootstrap_servers.clone(),
                source,
            },
        }
    }
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: BTreeMap<&str, &str> = self
            .librdkafka
            .iter()
            .map(|(name, value)| (name.as_str(), masked(name, value)))
            .collect();
        f.debug_struct("KafkaOptions")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("librdkafka", &shown)
            .finish()
    }
}

/// `value`, or stars where `name` says that it is a secret. Wider than need be: a hidden path harms nobody.
pub fn masked<'a>(name: &str, value: &'a str) -> &'a str {
    let name = name.to_ascii_lowercase();
    if SECRET_WORDS.iter().any(|word| name.contains(word)) {
        "***"
    } else {
        value
    }
}

fn canonical_name(name: &str) -> &str {
    ALIASES
        .iter()
        .find(|(alias, _)| *alias == name)
        .map_or(name, |(_, canonical)| canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> KafkaOptions {
        let librdkafka = pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        KafkaOptions {
            bootstrap_servers: "localhost:9092".to_owned(),
            librdkafka,
        }
    }

    #[test]
    fn users_options_beat_defaults() {
        let config = options(&[("linger.ms", "7")])
            .client_config(&[("linger.ms", "5"), ("batch.size", "1")], &[("acks", "all")])
            .unwrap();
        assert_eq!(config.get("linger.ms"), Some("7"));
        assert_eq!(config.get("batch.size"), Some("1"));
        assert_eq!(config.get("acks"), Some("all"));
    }

    #[test]
    fn a_fixed_option_is_refused_by_name_and_by_alias() {
        for name in [
            "acks",
            "request.required.acks",
            "bootstrap.servers",
            "metadata.broker.list",
        ] {
            let error = options(&[(name, "1")])
                .client_config(&[], &[("acks", "all")])
                .unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(error.kind(), crate::ErrorKind::Invalid);
        }
    }

    #[test]
    fn secrets_are_masked_in_debug() {
        let options = options(&[
            ("sasl.password", "hunter2"),
            ("ssl.key.pem", "hunter2"),
            ("sasl.oauthbearer.client.secret", "hunter2"),
            ("sasl.username", "reader"),
        ]);
        let shown = format!("{options:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("reader"), "{shown}");
    }

    #[test]
    fn a_refused_option_names_the_key_and_hides_the_value() {
        let options = options(&[("sasl.passwort", "hunter2")]);
        let config = options.client_config(&[], &[]).unwrap();
        let source = config
            .create::<rdkafka::producer::BaseProducer>()
            .map(|_| ())
            .unwrap_err();
        let error = options.error("connecting", source);
        assert!(error.to_string().contains("sasl.passwort"), "{error}");
        assert!(!format!("{error:?}{error}").contains("hunter2"), "{error:?}");
    }
}
