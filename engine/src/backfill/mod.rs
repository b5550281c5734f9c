//! Historical files into bronze: each file an origin of its own, named by its digest, its position in the commits that carry its rows.
//!
//! Reading order follows a file: `source` finds it, `arrival` names it by its digest, `text` takes it out of its container, `slices` cuts it,
//! `csv`, `jsonl` and `parquet_rows` make raw columns, `mapping` turns them into trades by the format's SQL, `columns` into bronze rows,
//! `encode` into data files, `ledger` commits them. `load` runs these stages for one file, `run` for all. Silver is never written here.

mod options;

mod format;
mod functions;

mod arrival;
mod checksum;
pub(crate) mod source;

mod slices;
pub(crate) mod text;
mod zip;

mod csv;
mod jsonl;
mod parquet_rows;
mod raw;

mod bad_line;
mod columns;
mod mapping;

mod encode;
mod ledger;
mod positions;
mod replace;

mod load;
mod progress;
mod report;
mod run;

pub use options::BackfillOptions;
pub use progress::Progress;
pub use report::{BackfillReport, FileReport, Outcome};
pub use run::run;
