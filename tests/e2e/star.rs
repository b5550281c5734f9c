//! The crates depend on each other in a star: `ticklake-sql` in the middle, the binary around it, no other edge.

use cargo_metadata::MetadataCommand;

/// (package, the workspace packages that it may depend on, in any kind of dependency).
const ALLOWED: &[(&str, &[&str])] = &[
    ("ticklake-sql", &[]),
    ("ticklake-ingest", &["ticklake-sql"]),
    ("ticklake-engine", &["ticklake-sql"]),
    ("ticklake-flight-server", &["ticklake-sql"]),
    ("ticklake", &["ticklake-sql", "ticklake-ingest", "ticklake-engine", "ticklake-flight-server"]),
];

#[test]
fn dependencies_form_a_star() {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    let ours: Vec<_> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let mut known: Vec<_> = ALLOWED.iter().map(|(name, _)| name.to_string()).collect();
    let mut found = ours.clone();
    known.sort();
    found.sort();
    assert_eq!(found, known, "a new package needs its place in the star");
    for package in &metadata.packages {
        let allowed = ALLOWED.iter().find(|(name, _)| *name == package.name.as_str()).unwrap().1;
        for dependency in package.dependencies.iter().filter(|dependency| ours.contains(&dependency.name)) {
            assert!(
                allowed.contains(&dependency.name.as_str()),
                "{} must not depend on {} ({:?})",
                package.name,
                dependency.name,
                dependency.kind
            );
        }
    }
}
