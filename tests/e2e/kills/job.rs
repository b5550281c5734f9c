//! The jobs as their users run them, and what must be so before each has something to do.

use std::path::Path;
use std::process::{Command, ExitStatus};

use chrono::TimeDelta;
use serde_json::Value;
use ticklake_sql::Clock;

use super::start::Replica;
use crate::made::{Place, STRICT};

const DAYS: i64 = 6;

pub struct Job {
    pub name: &'static str,
    args: fn(&Replica) -> Vec<String>,
    /// Commands that come before it, a line each.
    before: &'static str,
    /// Part of what it says when it has done something.
    pub says: &'static str,
    /// The lake is whole at any moment; else once the job has been run again.
    pub clean_at_once: bool,
    /// It makes a lake of its own beside the one that it reads.
    makes_another: bool,
}

const PLAIN: Job = Job {
    name: "",
    args: |_| Vec::new(),
    before: "",
    says: "",
    clean_at_once: true,
    makes_another: false,
};

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

pub const ALL: &[Job] = &[
    Job {
        name: "refresh silver",
        args: |_| words("refresh silver"),
        says: "version",
        ..PLAIN
    },
    Job {
        name: "refresh gold",
        before: "refresh silver",
        args: |_| words("refresh gold"),
        says: "version",
        ..PLAIN
    },
    Job {
        name: "rebuild",
        before: "refresh",
        args: |_| words("rebuild --from 2025-01-01 --to 2025-01-02"),
        says: "silver.trades",
        ..PLAIN
    },
    Job {
        name: "backfill",
        args: |lake| {
            let path = lake.scratch.path().join("history.csv");
            std::fs::write(&path, history()).unwrap();
            [words("backfill --format csv"), vec![path.to_str().unwrap().to_owned()]].concat()
        },
        says: "4000 rows",
        ..PLAIN
    },
    Job {
        name: "optimize",
        before: "refresh",
        args: |_| words("optimize"),
        says: "files became",
        ..PLAIN
    },
    Job {
        name: "optimize --cluster",
        before: "refresh",
        args: |lake| {
            let path = lake.scratch.path().join("by-symbol.toml");
            std::fs::write(&path, crate::layout::BY_SYMBOL).unwrap();
            [
                words("optimize --cluster --config"),
                vec![path.to_str().unwrap().to_owned()],
            ]
            .concat()
        },
        says: "partitioned by symbol, date instead of date",
        ..PLAIN
    },
    Job {
        name: "vacuum",
        before: "refresh\noptimize\nage\nbackfill",
        args: |_| words("vacuum --full"),
        says: "deleted",
        ..PLAIN
    },
    Job {
        name: "backup",
        args: |lake| vec!["backup".to_owned(), lake.other().uri],
        says: "silver.trades: version",
        makes_another: true,
        ..PLAIN
    },
    Job {
        name: "backup again",
        before: "backup\nrefresh",
        args: |lake| vec!["backup".to_owned(), lake.other().uri],
        says: "silver.trades: version",
        makes_another: true,
        ..PLAIN
    },
    Job {
        name: "restore a backup",
        args: |lake| [words("restore --from"), vec![lake.place.uri.clone()]].concat(),
        says: "silver.trades: version",
        makes_another: true,
        ..PLAIN
    },
    Job {
        name: "restore a version",
        before: "refresh\noptimize on disk",
        args: |_| words("restore --tables silver.trades --version 2"),
        says: "holds what version 2 held",
        ..PLAIN
    },
    Job {
        name: "dlq retry",
        args: |_| words("dlq retry --all"),
        says: "1 of ",
        clean_at_once: false,
        ..PLAIN
    },
    Job {
        name: "quarantine release",
        args: |_| words("quarantine release"),
        says: "left quarantine",
        clean_at_once: false,
        ..PLAIN
    },
    Job {
        name: "parity",
        before: "refresh",
        args: |lake| {
            let path = lake.scratch.path().join("candles.csv");
            std::fs::write(&path, "1735689600000000,1,1,1,1,1\n1735689660000000,1,1,1,1,1\n").unwrap();
            let args = words("parity --venue sim --symbol BTC-USDT --candles");
            [args, vec![path.to_str().unwrap().to_owned()]].concat()
        },
        says: "differ",
        ..PLAIN
    },
];

impl Job {
    pub fn command(&self, lake: &Replica) -> Command {
        let args = (self.args)(lake);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        // A backup is copied back into the other place.
        let at = if args[0] == "restore" && self.makes_another {
            lake.other()
        } else {
            lake.place.clone()
        };
        let mut command = at.command(lake.scratch.path(), &args);
        command
            .env("TICKLAKE_LAKE__DURABILITY", "os")
            .env("TICKLAKE_OPTIMIZE__MIN_AGE", "1ms")
            .env("TICKLAKE_JOBS__REVISIONS", "all");
        if self.name != "quarantine release" {
            command.env(STRICT.0, STRICT.1);
        }
        command
    }

    pub fn prepare(&self, lake: &Replica) {
        for line in self.before.lines() {
            // A copy of a lake elsewhere holds no file that is merged.
            let line = match line.strip_suffix(" on disk") {
                Some(_) if !lake.is_local() => continue,
                stripped => stripped.unwrap_or(line),
            };
            match line {
                "age" => age(lake.folder()),
                line => {
                    let before = ALL.iter().find(|job| job.name == line);
                    let args = before.map_or_else(|| words(line), |job| (job.args)(lake));
                    let args: Vec<&str> = args.iter().map(String::as_str).collect();
                    let mut command = lake.place.command(lake.scratch.path(), &args);
                    command.env(STRICT.0, STRICT.1).env("TICKLAKE_OPTIMIZE__MIN_AGE", "1ms");
                    assert!(command.status().unwrap().success(), "{line}");
                }
            }
        }
    }

    /// A check of candles against bars finds differences here.
    pub fn ended_well(&self, status: &ExitStatus) -> bool {
        status.success() || (self.name == "parity" && status.code() == Some(3))
    }

    /// The lake that the job leaves.
    pub fn result(&self, lake: &Replica) -> Place {
        if self.makes_another {
            lake.other()
        } else {
            lake.place.clone()
        }
    }

    /// Proves the lake at `place`, the copy's own or the one that the job makes beside it.
    pub fn is_clean(&self, lake: &Replica, place: &Place) -> bool {
        let (code, report) = place.verify(lake.scratch.path(), "full", &[]);
        if code != Some(0) {
            println!("{}: {report:#}", self.name);
        }
        code == Some(0)
    }
}

/// Trades of another day, in a file.
fn history() -> String {
    let mut text = "venue,symbol,price,qty,side,ts,trade_id\n".to_owned();
    for id in 0..4_000i64 {
        let ts = 1_736_000_000_000_000 + id * 250_000;
        text += &format!("sim,ETH-USDT,{}.25,0.5,sell,{ts},{id}\n", 100 + id % 9);
    }
    text
}

/// Makes a lake on local disk a week old, as far as its logs and its files' times tell.
fn age(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path);
            continue;
        }
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().map(|line| {
                let mut action: Value = serde_json::from_str(line).unwrap();
                earlier(&mut action);
                format!("{action}\n")
            });
            std::fs::write(&path, lines.collect::<String>()).unwrap();
        }
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        let then = Clock::system().now() - TimeDelta::days(DAYS);
        file.set_modified(then.into()).unwrap();
    }
}

fn earlier(value: &mut Value) {
    const TIMES: [&str; 4] = ["timestamp", "modificationTime", "deletionTimestamp", "lastUpdated"];
    if let Value::Object(fields) = value {
        for (key, value) in fields {
            match value.as_i64() {
                Some(ms) if TIMES.contains(&key.as_str()) => *value = (ms - DAYS * 86_400_000).into(),
                _ => earlier(value),
            }
        }
    }
}
