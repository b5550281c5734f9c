//! One job's lease in this process: taken where nobody holds it, kept while the process is heard of, given up at the end.

use std::time::Duration;

use chrono::{DateTime, Utc};
use object_store::ObjectStoreExt;
use ticklake_sql::Lease;
use ticklake_sql::error::chain;
use tokio::time::Instant;

use super::holder::{Holder, lease_error};
use super::record::{self, Record};
use crate::Result;

/// Object stores tell times in whole seconds.
const MARGIN: Duration = Duration::from_secs(1);

/// May this process run the job?
#[derive(Debug)]
pub enum Standing {
    Holds {
        lease: Lease,
        /// The holder before may only be paused: shut it out first.
        fence: bool,
    },
    /// Another process does, which `by` names.
    Waits { by: String },
}

/// What this process holds.
#[derive(Debug, Clone, Copy)]
struct Mine {
    token: i64,
    tenure: u64,
}

/// Another holder's object as it was first seen, for stores whose clock was set back.
#[derive(Debug)]
struct Seen {
    holder: String,
    written_at: DateTime<Utc>,
    since: Instant,
}

#[derive(Debug)]
pub struct Hold {
    holder: Holder,
    job: String,
    mine: Option<Mine>,
    /// Nobody before can be in the way of the newest token.
    fenced: bool,
    seen: Option<Seen>,
    /// A token that a table's log has: the next one is greater (a lake brought back from a backup has the tables, not the leases).
    floor: i64,
}

impl Hold {
    pub fn new(holder: Holder, job: String) -> Self {
        Self {
            holder,
            job,
            mine: None,
            fenced: true,
            seen: None,
            floor: 0,
        }
    }

    /// Costs no request while the job is held.
    pub async fn stand(&mut self) -> Result<Standing> {
        let tenure = match self.holder.tenure() {
            Some(tenure) => tenure,
            None => {
                self.holder.renew().await?;
                self.holder.tenure().unwrap_or_default()
            }
        };
        if let Some(mine) = self.mine.filter(|mine| mine.tenure == tenure) {
            return Ok(self.holds(mine));
        }
        self.take(tenure).await
    }

    /// A table has refused a commit: `recorded` stands in its log. What the record says counts from now on.
    pub fn lost(&mut self, recorded: Option<i64>) {
        self.floor = self.floor.max(recorded.unwrap_or(0));
        self.mine = None;
    }

    /// Every table of the job has this holder's token now.
    pub fn fenced(&mut self) {
        self.fenced = true;
    }

    /// Gives the job up: the next process need not wait.
    pub async fn end(&mut self) {
        let Some(mine) = self
            .mine
            .take()
            .filter(|mine| self.holder.tenure() == Some(mine.tenure))
        else {
            return;
        };
        let (store, record) = (self.holder.store(), Record::of(&self.holder, true));
        if let Err(error) = record::end(&store, &self.job, mine.token, &record).await {
            let error = chain(&error);
            tracing::debug!(job = self.job, error, "a lease runs out by itself");
        }
    }

    async fn take(&mut self, tenure: u64) -> Result<Standing> {
        self.mine = None;
        let store = self.holder.store();
        let tokens = record::tokens(&store, &self.job).await?;
        let Some(newest) = tokens.last().copied() else {
            return self.create(0, &tokens, tenure, true).await;
        };
        let Some(found) = record::read(&store, &self.job, newest).await? else {
            return Ok(Standing::Waits {
                by: "a process that is taking the job over".to_owned(),
            });
        };
        if found.holder == self.holder.id() {
            // Nobody has taken it while this process was not heard of.
            if newest >= self.floor {
                return Ok(self.keep(newest, tenure));
            }
            return self.create(newest, &tokens, tenure, true).await;
        }
        if found.ended || found.process.is_gone() {
            return self.create(newest, &tokens, tenure, true).await;
        }
        if self.is_silent(&found).await? {
            let by = found.process.name();
            tracing::warn!(
                job = self.job,
                by,
                "the process that ran the job is not heard of, taking over"
            );
            return self.create(newest, &tokens, tenure, false).await;
        }
        Ok(Standing::Waits {
            by: found.process.name(),
        })
    }

    /// The holder's object is older than its lease, by the store's time. Should the store's clock have been set back, it is enough that the
    /// object does not change for twice as long.
    async fn is_silent(&mut self, found: &Record) -> Result<bool> {
        let path = Holder::path(&found.holder);
        let written_at = match self.holder.store().head(&path).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(true),
            object => {
                object
                    .map_err(|source| lease_error("look whether a process lives", &path, source))?
                    .last_modified
            }
        };
        let time = Duration::from_millis(found.time_ms);
        let past = time + MARGIN;
        let age = self.holder.store_time().map(|now| now - written_at);
        if age.and_then(|age| age.to_std().ok()).is_some_and(|age| age >= past) {
            return Ok(true);
        }
        match &self.seen {
            Some(seen) if seen.holder == found.holder && seen.written_at == written_at => {
                Ok(seen.since.elapsed() > 2 * past)
            }
            _ => {
                self.seen = Some(Seen {
                    holder: found.holder.clone(),
                    written_at,
                    since: Instant::now(),
                });
                Ok(false)
            }
        }
    }

    /// `fenced`: nobody before can be in the way any more.
    async fn create(&mut self, newest: i64, before: &[i64], tenure: u64, fenced: bool) -> Result<Standing> {
        let token = newest.max(self.floor) + 1;
        let (store, record) = (self.holder.store(), Record::of(&self.holder, false));
        if !record::create(&store, &self.job, token, &record).await? {
            return Ok(Standing::Waits {
                by: "a process that was first".to_owned(),
            });
        }
        record::sweep(&store, &self.job, before).await;
        tracing::info!(job = self.job, token, "this process runs the job");
        self.fenced = fenced;
        Ok(self.keep(token, tenure))
    }

    fn keep(&mut self, token: i64, tenure: u64) -> Standing {
        let mine = Mine { token, tenure };
        self.mine = Some(mine);
        self.seen = None;
        self.holds(mine)
    }

    fn holds(&self, mine: Mine) -> Standing {
        let holder = self.holder.clone();
        Standing::Holds {
            lease: Lease::new(&self.job, mine.token, move || holder.tenure() == Some(mine.tenure)),
            fence: !self.fenced,
        }
    }
}
