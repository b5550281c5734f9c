//! The jobs as text for one screen: every figure with its unit.

use std::fmt::Write;

use super::gather::JobRow;
use crate::status::span;

pub fn draw(now_us: i64, rows: &[JobRow]) -> String {
    let mut screen = String::new();
    // Writing to a String cannot fail.
    let _infallible = write_all(&mut screen, now_us, rows);
    screen
}

fn write_all(out: &mut String, now_us: i64, rows: &[JobRow]) -> std::fmt::Result {
    let every = rows.iter().map(|row| row.every.len()).max().unwrap_or(0).max(5);
    writeln!(
        out,
        "{:<12} {:<every$} {:>13} {:<9} {:>9} {:>17} {:>12} {:>22}  run by",
        "job", "every", "last run", "outcome", "took", "rows in > out", "next run", "behind"
    )?;
    for row in rows {
        let last = row.last.as_ref();
        let cell = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let next = row.next_us.map(|at| match at > now_us {
            true => format!("in {}", span(at - now_us)),
            false => "now".to_owned(),
        });
        let behind = row
            .lag
            .map(|lag| format!("{} versions, {}", lag.versions, seconds(lag.seconds)));
        writeln!(
            out,
            "{:<12} {:<every$} {:>13} {:<9} {:>9} {:>17} {:>12} {:>22}  {}",
            row.name,
            row.every,
            cell(last.map(|last| format!("{} ago", span(now_us - last.at_us)))),
            match row.state {
                "running" => "running",
                _ => last.map_or("-", |last| last.outcome.as_str()),
            },
            cell(last.map(|last| milliseconds(last.took_ms))),
            cell(last.map(|last| format!("{} > {}", last.rows_in, last.rows_out))),
            cell(next),
            cell(behind),
            by(row),
        )?;
    }
    for row in rows {
        if let (Some((message, at_us)), Some(_)) =
            (&row.last_error, row.last.as_ref().filter(|last| last.outcome != "done"))
        {
            writeln!(out, "\n{}: {message} ({} ago)", row.name, span(now_us - at_us))?;
        }
    }
    Ok(())
}

fn by(row: &JobRow) -> String {
    let by = match (row.state, &row.by) {
        ("no process", Some(by)) => format!("no process now, last by {by}"),
        ("no process", None) => "no process".to_owned(),
        (_, by) => by.clone().unwrap_or_default(),
    };
    match row.standing_by {
        0 => by,
        1 => format!("{by}, 1 stands by"),
        more => format!("{by}, {more} stand by"),
    }
}

fn seconds(seconds: f64) -> String {
    if seconds == 0.0 {
        "0 s".to_owned()
    } else {
        span((seconds * 1e6) as i64)
    }
}

fn milliseconds(ms: u64) -> String {
    span(i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::super::gather::{Lag, LastRun};
    use super::*;

    #[test]
    fn one_line_a_job_with_units_and_the_error_below() {
        let silver = JobRow {
            name: "silver".into(),
            every: "1s".into(),
            state: "waiting",
            last: Some(LastRun {
                at_us: 99_500_000,
                outcome: "failed".into(),
                took_ms: 31,
                rows_in: 1_000,
                rows_out: 998,
            }),
            last_error: Some(("the store does not answer".into(), 99_500_000)),
            next_us: Some(100_500_000),
            lag: Some(Lag {
                versions: 3,
                seconds: 1.5,
            }),
            by: Some("run host-1".into()),
            standing_by: 1,
        };
        let vacuum = JobRow {
            name: "vacuum".into(),
            every: "1d".into(),
            state: "no process",
            ..JobRow::default()
        };
        let screen = draw(100_000_000, &[silver, vacuum]);
        let lines: Vec<_> = screen.lines().collect();
        for part in [
            "500 ms ago",
            "failed",
            "31 ms",
            "1000 > 998",
            "in 500 ms",
            "3 versions, 1.5 s",
            "run host-1, 1 stands by",
        ] {
            assert!(lines[1].contains(part), "{part} in {}", lines[1]);
        }
        assert!(
            lines[2].starts_with("vacuum") && lines[2].ends_with("no process"),
            "{}",
            lines[2]
        );
        assert_eq!(lines[4], "silver: the store does not answer (500 ms ago)");
        assert!(lines.iter().all(|line| line.len() < 160), "{screen}");
    }
}
