//! The crates depend on each other in a star: `ticklake-sql` in the middle, the binary around it, no other edge.

use std::process::Command;

use serde_json::Value;

/// (package, the workspace packages that it may depend on, in any kind of dependency).
const ALLOWED: &[(&str, &[&str])] = &[
    ("ticklake-sql", &[]),
    ("ticklake-ingest", &["ticklake-sql"]),
    ("ticklake-engine", &["ticklake-sql"]),
    ("ticklake-flight-server", &["ticklake-sql"]),
    (
        "ticklake",
        &[
            "ticklake-sql",
            "ticklake-ingest",
            "ticklake-engine",
            "ticklake-flight-server",
        ],
    ),
];

#[test]
fn dependencies_form_a_star() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let asked = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--manifest-path",
            manifest,
        ])
        .output();
    let metadata: Value = serde_json::from_slice(&asked.unwrap().stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let mut found: Vec<_> = packages.iter().map(name).collect();
    let mut known: Vec<_> = ALLOWED.iter().map(|(name, _)| name.to_string()).collect();
    known.sort();
    found.sort();
    assert_eq!(found, known, "a new package needs its place in the star");
    for package in packages {
        let package_name = name(package);
        let allowed = ALLOWED.iter().find(|(allowed, _)| *allowed == package_name).unwrap().1;
        let dependencies = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|dependency| (name(dependency), &dependency["kind"]));
        for (dependency, kind) in dependencies.filter(|(dependency, _)| found.contains(dependency)) {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{package_name} must not depend on {dependency} (kind {kind})"
            );
        }
    }
}
