//! `ticklake dlq` and `ticklake quarantine`: what was set aside, listed, shown, taken up again or dropped, and the proof knows of it.

use crate::made::{Made, TRADES};
use crate::process::{output, stdout};

#[test]
fn a_dropped_dead_letter_is_not_missing() {
    let made = Made::new();
    let lake = made.lake();
    let lake = ["--lake", lake.to_str().unwrap()];
    let run = |args: &[&str]| stdout(made.folder.path(), &[args, &lake].concat());
    let shown = run(&[
        "dlq",
        "show",
        "--partition",
        "0",
        "--offset",
        &(TRADES / 2 + 1).to_string(),
    ]);
    assert!(shown.contains("no json") && shown.contains("not_json"), "{shown}");
    assert_eq!(
        run(&["dlq", "retry", "--all"]),
        "0 of 2 dead letters decode now and moved to bronze.trades\n"
    );
    assert_eq!(run(&["dlq", "drop", "--class", "not_json"]), "1 dead letters dropped\n");
    assert_eq!(run(&["dlq", "drop", "--class", "not_json"]), "0 dead letters dropped\n");
    let left = run(&["dlq", "list", "--format", "json"]);
    assert!(left.contains("empty_value") && !left.contains("not_json"), "{left}");
    assert!(run(&["dlq", "list", "--class", "dropped"]).contains("not_json: "));
    let broken = run(&["quarantine", "list", "--rule", "price_not_positive", "--format", "json"]);
    assert_eq!(broken.lines().count(), 1, "{broken}");
    for mode in ["full", "cheap"] {
        let (code, report) = made.verify(&made.lake(), mode);
        assert_eq!(code, Some(0), "{report:#}");
    }
    let neither = output(made.folder.path(), &[&["dlq", "drop"][..], &lake].concat());
    assert_eq!(neither.status.code(), Some(2), "all of them takes --all");
}
