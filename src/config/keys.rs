//! The list of right keys is the default settings themselves; a layer is checked against it before it counts.

use toml::{Table, Value};

use super::{ConfigError, Settings};

/// Names further away than this many edits are no suggestion.
const MAX_DISTANCE: usize = 4;

/// Tables whose keys are not ours: what stands in them is passed on.
const OPEN_TABLES: &[&str] = &[
    "kafka.librdkafka",
    "storage.options",
    "jobs.kinds",
    "lake.partition_columns",
    "jobs.prices",
    "jobs.sessions",
    "jobs.timeouts",
    "retention.tables",
];

/// Every key with its default.
pub fn catalogue() -> Table {
    Table::try_from(Settings::default()).unwrap_or_default()
}

pub fn is_open_table(path: &str) -> bool {
    OPEN_TABLES.contains(&path)
}

/// The default at `path` (`section.key`), `None` where there is no such key. An open table has every key, as text.
pub fn lookup<'a>(catalogue: &'a Table, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let mut found = catalogue.get(parts.next()?)?;
    for part in parts {
        found = found.as_table()?.get(part)?;
    }
    Some(found)
}

/// All paths, `section.key`.
pub fn paths(table: &Table, prefix: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (key, value) in table {
        let path = join(prefix, key);
        match value {
            Value::Table(inner) if !is_open_table(&path) => all.extend(paths(inner, &path)),
            _ => all.push(path),
        }
    }
    all
}

/// Errs at the first key of `layer` that the catalogue does not have. `origin` says where the layer comes from.
pub fn check(layer: &Table, origin: &str) -> Result<(), ConfigError> {
    check_table(layer, &catalogue(), "", origin)
}

fn check_table(layer: &Table, known: &Table, prefix: &str, origin: &str) -> Result<(), ConfigError> {
    for (key, value) in layer {
        let path = join(prefix, key);
        match (known.get(key), value) {
            (None, _) => return Err(unknown(&path, known, prefix, origin)),
            (Some(Value::Table(_)), Value::Table(_)) if is_open_table(&path) => {}
            (Some(Value::Table(known)), Value::Table(inner)) => check_table(inner, known, &path, origin)?,
            (Some(Value::Table(_)), _) => {
                let message = format!("is a section; write [{path}] and its keys below");
                return Err(ConfigError::Value {
                    key: path,
                    origin: origin.to_owned(),
                    message,
                });
            }
            (Some(_), Value::Table(_)) => {
                let message = "is a single value, not a section".to_owned();
                return Err(ConfigError::Value {
                    key: path,
                    origin: origin.to_owned(),
                    message,
                });
            }
            (Some(_), _) => {}
        }
    }
    Ok(())
}

fn unknown(path: &str, siblings: &Table, prefix: &str, origin: &str) -> ConfigError {
    let name = path.rsplit('.').next().unwrap_or(path);
    let near = nearest(name, siblings.keys().map(String::as_str)).map(|near| join(prefix, near));
    // A right key in a wrong section is the other common slip.
    let elsewhere = || {
        paths(&catalogue(), "")
            .into_iter()
            .find(|known| known.rsplit('.').next() == Some(name))
    };
    let nearest = near.or_else(elsewhere).or_else(|| nearest_path(path));
    ConfigError::UnknownKey {
        key: path.to_owned(),
        origin: origin.to_owned(),
        nearest,
    }
}

pub fn nearest_path(path: &str) -> Option<String> {
    let all = paths(&catalogue(), "");
    nearest(path, all.iter().map(String::as_str)).map(str::to_owned)
}

/// The candidate with the fewest edits, none where all are far off.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= MAX_DISTANCE.min(candidate.len().max(2) - 1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(layer: &str) -> String {
        check(&layer.parse().unwrap(), "ticklake.toml").unwrap_err().to_string()
    }

    #[test]
    fn the_nearest_right_key_is_named() {
        assert_eq!(
            message("[kafka]\nbootstrap_server = 'x'"),
            "unknown key kafka.bootstrap_server in ticklake.toml; did you mean kafka.bootstrap_servers?"
        );
        assert!(message("[kafak]\n").contains("did you mean kafka?"));
        assert!(message("[kafka]\ncommit_age = '5s'").contains("did you mean ingest.commit_age?"));
        assert!(message("[kafka]\nzzzzzzzzzzzzzz = 1").contains("config show"));
    }

    #[test]
    fn a_section_is_no_value_and_a_value_no_section() {
        assert!(message("kafka = 'x'").contains("is a section"));
        assert!(message("[kafka.topic]\nname = 'x'").contains("is a single value"));
    }

    #[test]
    fn librdkafka_options_pass_through() {
        check(&"[kafka.librdkafka]\n'linger.ms' = '5'".parse().unwrap(), "x").unwrap();
    }
}
