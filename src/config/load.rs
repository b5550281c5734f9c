//! Stacks the layers: defaults, the variables of store providers, the file, `TICKLAKE_*`, flags. An error names the layer that set the key.

use std::path::Path;

use toml::{Table, Value};

use super::{ConfigError, Overrides, Settings, env, file, keys};

/// Reads the file and the environment and puts `flags` on top.
pub fn load(path: Option<&Path>, flags: &Overrides) -> Result<Settings, ConfigError> {
    stack(
        path,
        std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?))),
        flags,
    )
}

fn stack(
    path: Option<&Path>,
    variables: impl Iterator<Item = (String, String)>,
    flags: &Overrides,
) -> Result<Settings, ConfigError> {
    let variables: Vec<_> = variables.collect();
    let mut table = keys::catalogue();
    merge(&mut table, env::read_providers(variables.iter().cloned()).table);
    let file = file::read(path)?;
    if let Some(file) = &file {
        merge(&mut table, file.table.clone());
    }
    let env = env::read(variables.into_iter())?;
    merge(&mut table, env.table.clone());
    merge(&mut table, flags.table.clone());

    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let key = error.path().to_string();
        let set_by = flags.origins.get(&key).or_else(|| env.origins.get(&key)).cloned();
        let in_file = || file.as_ref().map(|file| file.path.display().to_string());
        let origin = set_by.or_else(in_file).unwrap_or_else(|| "the defaults".to_owned());
        ConfigError::Value {
            key,
            origin,
            message: error.inner().message().trim().replace('\n', ", "),
        }
    })
}

/// Keys of `over` replace those of `table`, section by section.
fn merge(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(over)) => merge(inner, over),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::config::units::{Size, Span};

    fn loaded(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let mut path = tempfile::NamedTempFile::new().unwrap();
        path.write_all(file.as_bytes()).unwrap();
        let mut overrides = Overrides::default();
        for (key, value) in flags {
            overrides.flag(key, "--flag", Some(*value));
        }
        let variables = variables
            .iter()
            .map(|(name, text)| (name.to_string(), text.to_string()));
        stack(Some(path.path()), variables, &overrides)
    }

    #[test]
    fn flags_beat_variables_beat_the_file_beats_defaults() {
        let file = "[kafka]\ntopic = 'file'\npartitions = 3\n[ingest]\ncommit_age = '2s'\n[storage]\nregion = 'file'";
        let variables = [
            ("TICKLAKE_KAFKA__TOPIC", "env"),
            ("TICKLAKE_INGEST__COMMIT_BYTES", "1MB"),
            ("AWS_REGION", "aws"),
        ];
        let settings = loaded(file, &variables, &[("kafka.topic", "flag")]).unwrap();
        assert_eq!(settings.kafka.topic, "flag");
        assert_eq!(settings.kafka.partitions, 3);
        assert_eq!(settings.ingest.commit_age, Span::seconds(2));
        assert_eq!(settings.ingest.commit_bytes, Size(1_000_000));
        assert_eq!(settings.storage.region, "file");
        assert_eq!(settings.kafka.group, Settings::default().kafka.group);
    }

    #[test]
    fn a_bad_value_names_its_key_and_layer() {
        let file = loaded("[ingest]\ncommit_age = '5 mss'", &[], &[])
            .unwrap_err()
            .to_string();
        assert!(
            file.starts_with("ingest.commit_age in ") && file.contains("did you mean \"ms\"?"),
            "{file}"
        );
        let variable = loaded("", &[("TICKLAKE_INGEST__COMMIT_BYTES", "5 mib2")], &[])
            .unwrap_err()
            .to_string();
        assert!(
            variable.starts_with("ingest.commit_bytes in TICKLAKE_INGEST__COMMIT_BYTES"),
            "{variable}"
        );
        let flag = loaded("", &[], &[("ingest.commit_age", "soon")])
            .unwrap_err()
            .to_string();
        assert!(flag.starts_with("ingest.commit_age in --flag"), "{flag}");
        let number = loaded("[kafka]\npartitions = 'ten'", &[], &[]).unwrap_err().to_string();
        assert!(number.starts_with("kafka.partitions in "), "{number}");
    }

    #[test]
    fn the_defaults_read_back() {
        assert_eq!(loaded("", &[], &[]).unwrap(), Settings::default());
        let shown = toml::to_string(&Settings::default()).unwrap();
        assert_eq!(loaded(&shown, &[], &[]).unwrap(), Settings::default());
    }
}
