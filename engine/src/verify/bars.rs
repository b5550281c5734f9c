//! Gold's part of the proof: each bar against the same bar computed again, and the fills of all bars against silver's.

use deltalake::kernel::Add;
use serde_json::json;
use ticklake_sql::TableName;

use super::as_read::untold;
use super::bronze::lock;
use super::files;
use super::options::Mode;
use super::report::{BarCount, Difference, at};
use super::run::Proof;
use super::snapshot::Snapshot;
use crate::Result;
use crate::gold::{self, BarDifference, BarDifferenceKind, GoldOptions};
use crate::silver::rules::utc;

impl Proof<'_> {
    pub(super) async fn gold(&mut self, options: &GoldOptions) -> Result<()> {
        let name = TableName::gold_ohlcv(&options.interval);
        let Some(snapshot) = Snapshot::newest(self.lake, &name).await? else {
            return Ok(());
        };
        let present = self.present(&snapshot).await?;
        if self.options.mode == Mode::Cheap {
            let bars = snapshot.rows();
            let table = name.to_string();
            lock(&self.report).bars.push(BarCount {
                table,
                bars,
                ..BarCount::default()
            });
            return Ok(());
        }
        let none = |_: &Add, _: &arrow::array::RecordBatch| Ok(());
        let at_once = self.options.files_at_once;
        let read = files::each(&snapshot.table, present.clone(), &[], at_once, &self.report, none).await?;
        self.pass_over(&present, &read);
        let mut found = Vec::new();
        let recount = gold::recount(self.lake, options, &self.unreadable, |difference| {
            found.push(difference)
        })
        .await?;
        let read_to = recount.silver_version.unwrap_or(0);
        let behind = recount.silver_newest.saturating_sub(read_to);
        if recount.is_untold {
            self.note(untold(&TableName::silver_trades(), read_to, &name.to_string()));
            let count = BarCount {
                table: name.to_string(),
                bars: snapshot.rows(),
                behind,
                ..BarCount::default()
            };
            lock(&self.report).bars.push(count);
            return Ok(());
        }
        let mut report = lock(&self.report);
        for difference in found {
            report.differ(1, bar_difference(&name, difference));
        }
        if let Some(fills) = recount.fills.filter(|fills| *fills != recount.trade_count) {
            let what = format!("the bars count {} fills, silver holds {fills}", recount.trade_count);
            let count = fills.abs_diff(recount.trade_count);
            let table = name.to_string();
            report.differ(
                count,
                Difference {
                    check: "fills",
                    table,
                    at: at(&[]),
                    what,
                },
            );
        }
        report.bars.push(BarCount {
            table: name.to_string(),
            bars: recount.bars,
            fills: recount.fills.unwrap_or(recount.trade_count),
            trade_count: recount.trade_count,
            behind,
        });
        Ok(())
    }
}

fn bar_difference(name: &TableName, difference: BarDifference) -> Difference {
    let coordinates = at(&[
        ("venue", json!(difference.venue)),
        ("symbol", json!(difference.symbol)),
        ("window_start", json!(utc(difference.window_start_us))),
    ]);
    let (check, what) = match difference.kind {
        BarDifferenceKind::Missing => (
            "bar_missing",
            "silver has trades of this window, gold has no bar".to_owned(),
        ),
        BarDifferenceKind::Unexplained => (
            "bar_unexplained",
            "gold has a bar, silver no trade of this window".to_owned(),
        ),
        BarDifferenceKind::Twice => ("bar_twice", "gold has more than one bar of this window".to_owned()),
        BarDifferenceKind::Wrong(columns) => {
            let column = |(name, gold, silver): &(&str, String, String)| format!("{name} {gold}, from silver {silver}");
            ("bar_wrong", columns.iter().map(column).collect::<Vec<_>>().join("; "))
        }
    };
    Difference {
        check,
        table: name.to_string(),
        at: coordinates,
        what,
    }
}
