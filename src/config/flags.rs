//! Overrides by path: what flags and variables put on top of the file, each remembering where it came from.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// A layer of settings; `origins` says which flag or variable set a path.
#[derive(Debug, Default, Clone)]
pub struct Overrides {
    pub table: Table,
    pub origins: BTreeMap<String, String>,
}

impl Overrides {
    /// Sets `path` where the flag was given.
    pub fn flag(&mut self, path: &str, flag: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set_from(path, value.into(), flag.to_owned());
        }
    }

    /// Sets `path`; everything after `kafka.librdkafka.` is one key, dots and all.
    pub fn set_from(&mut self, path: &str, value: Value, origin: String) {
        self.origins.insert(path.to_owned(), origin);
        let parts: Vec<&str> = match path.strip_prefix("kafka.librdkafka.") {
            Some(option) => vec!["kafka", "librdkafka", option],
            None => path.split('.').collect(),
        };
        let Some((last, sections)) = parts.split_last() else {
            return;
        };
        let mut table = &mut self.table;
        for section in sections {
            let entry = table.entry(*section).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = entry else { return };
            table = inner;
        }
        table.insert((*last).to_owned(), value);
    }
}
