//! `ticklake rebuild --side --dry-run` and `--swap`: a result that is looked at over SQL first, and swapped in later or not at all.

use crate::made::{Made, TRADES, trade_at};
use crate::process::{Running, output, stdout, ticklake};
use crate::roles::address;

#[test]
fn a_result_is_looked_at_over_sql_and_swapped_in_later() {
    let made = Made::new();
    let (folder, place) = (made.folder.path(), &made.place);
    made.send(&[trade_at(701, "5", -100)]);
    made.ingest();
    made.refresh_strictly();
    let beside = |from: &str, to: &str| {
        let args = [
            "rebuild",
            "--side",
            "--dry-run",
            "--layer",
            "silver",
            "--from",
            from,
            "--to",
            to,
        ];
        let said = place.stdout(folder, &args);
        let id = said
            .split("ticklake rebuild --swap ")
            .nth(1)
            .and_then(|rest| rest.split('`').next());
        let id = id.unwrap_or_else(|| panic!("no id in {said}")).to_owned();
        (said, id)
    };
    let (said, id) = beside("2024-12-31", "2025-01-01");
    assert!(
        said.contains("silver.trades: 0 rows before, 1 after: 1 added, 0 removed, 0 changed"),
        "{said}"
    );

    let serve = Running::start(ticklake(folder).args(["serve", "--lake", &place.uri, "--flight-addr", "127.0.0.1:0"]));
    let server = address(&serve);
    let rows = |table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        let text = stdout(folder, &["query", "--server", &server, "--format", "csv", &sql]);
        text.lines().nth(1).unwrap().parse::<i64>().unwrap()
    };
    assert_eq!(rows(&format!("silver.trades__rebuild_{id}")), 1);
    assert_eq!(rows("silver.trades"), TRADES, "nothing is swapped in");

    let swap = |id: &str| output(folder, &["rebuild", "--swap", id, "--lake", &place.uri]);
    let wrong = swap("yesterday");
    let told = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{told}");
    assert!(told.contains(&format!("there is {id}")), "{told}");
    // Files are merged meanwhile, and trades of another day come: neither is in the way.
    made.optimize();
    made.send(&[trade_at(TRADES + 20, "6", 100_000)]);
    made.round();
    let swapped = swap(&id);
    let told = String::from_utf8(swapped.stdout).unwrap();
    assert!(
        told.contains("1 added, 0 removed, 0 changed") && told.contains("swapped in, version"),
        "{told}"
    );
    assert_eq!(place.verify(folder, "full", &[]).0, Some(0));
    assert_eq!(swap(&id).status.code(), Some(2), "it lies beside no more");

    // A trade of the range that comes after the look: what was looked at is not what would be there.
    let (_, id) = beside("2025-01-01", "2025-01-02");
    made.send(&[trade_at(TRADES + 30, "7", 50)]);
    made.round();
    let refused = swap(&id);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("the range of silver.trades changed"), "{told}");
    assert_eq!(place.verify(folder, "full", &[]).0, Some(0));
}
