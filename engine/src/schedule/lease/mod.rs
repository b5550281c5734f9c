//! One run of a job at a time, whichever process runs it.
//!
//! Two parts. Who may run is said by two small objects under `<lake>/_ticklake/leases/`: `jobs/<job>/<token>`, made once by a conditional put,
//! names the process that took the job last; `holders/<process>`, written again and again, shows by the store's own time that this process
//! lives. What makes it hold is the token: it rides as the txn `lease/<job>` on the commits that the job makes anyway, and a commit is refused
//! where the table's log has a greater one. A successor of a process that may only be paused raises the token in every table of the job before
//! it begins.
//!
//! A lease is kept between runs, so a refresh of every half second costs no request for it; the process as a whole writes and looks at its own
//! object three times in the lease's time. Another process stands by and takes over when that object has not changed for as long, at once where
//! the holder has ended or is known to be gone.
//!
//! Reading order: `process` is who holds, `holder` shows that it lives, `record` says who took a job last, `hold` decides for one job, `fence`
//! shuts a predecessor out.

mod fence;
mod hold;
mod holder;
mod process;
mod record;

pub(super) use fence::fence;
pub(super) use hold::{Hold, Standing};
pub(super) use holder::Holder;

/// Folder of both kinds of objects in the lake.
const FOLDER: &str = "_ticklake/leases";

#[cfg(test)]
mod tests;
