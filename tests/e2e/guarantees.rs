//! The tables of guarantees in tests/README.md name tests that exist.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_test_that_the_tables_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("tests/README.md")).unwrap();
    let rows = table.lines().skip_while(|line| !line.starts_with("| given "));
    let headers = ["| given ", "| fault of a job ", "|---"];
    let rows = rows.filter(|line| !headers.iter().any(|header| line.starts_with(header)));
    let rows: Vec<_> = rows.filter_map(|line| line.rsplit('|').nth(1)).collect();
    assert!(rows.len() > 40, "the tables have {} rows", rows.len());
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests", "sql", "ingest", "engine", "flight-server"] {
        find_tests(&root.join(folder), &mut tests);
    }
    for row in rows {
        let named: Vec<_> = row
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| !name.contains('='))
            .collect();
        assert!(!named.is_empty(), "no test stands for {row}");
        for name in named {
            assert!(tests.contains(name), "there is no test {name}");
        }
    }
}

/// Names of the functions that follow a `#[test]` or `#[tokio::test...]`.
fn find_tests(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_tests(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                let name = line.split_once("fn ").and_then(|(_, rest)| rest.split('(').next());
                into.extend(name.filter(|_| is_test).map(str::to_owned));
                is_test = line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            }
        }
    }
}
