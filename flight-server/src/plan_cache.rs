//! Plans by statement and pinned versions: drivers plan a query up to three times (prepare, GetFlightInfo, DoGet).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::Planned;

/// Enough for the statements of a few dashboards; a plan holds its versions' file lists.
const MAX_PLANS: usize = 128;
/// Longer statements are planned each time.
const MAX_SQL_BYTES: usize = 64 << 10;

#[derive(Debug, Default)]
pub struct PlanCache {
    /// Most recently used last.
    plans: Mutex<VecDeque<(String, Arc<Planned>)>>,
}

impl PlanCache {
    pub fn get(&self, sql: &str, versions: &BTreeMap<String, u64>) -> Option<Arc<Planned>> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let at = plans
            .iter()
            .rposition(|(text, planned)| text == sql && planned.versions == *versions)?;
        let found = plans.remove(at)?;
        let planned = found.1.clone();
        plans.push_back(found);
        Some(planned)
    }

    pub fn put(&self, sql: &str, planned: Arc<Planned>) {
        if sql.len() > MAX_SQL_BYTES {
            return;
        }
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        // Older versions of the same statement are rarely asked for again.
        let same = |(text, _): &&(String, Arc<Planned>)| text == sql;
        if plans.iter().filter(same).count() >= 4
            && let Some(at) = plans.iter().position(|(text, _)| text == sql)
        {
            plans.remove(at);
        }
        if plans.len() == MAX_PLANS {
            plans.pop_front();
        }
        plans.push_back((sql.to_owned(), planned));
    }
}
