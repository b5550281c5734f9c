//! Plans by statement and pinned versions: drivers plan a query up to three times (prepare, GetFlightInfo, DoGet).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr;

use crate::growing::bytes;
use crate::plan::{Lane, Parsed};
use crate::planned::Planned;
use crate::session::Session;

/// Enough for the statements of a few dashboards; a plan holds its versions' file lists.
const MAX_PLANS: usize = 128;
/// Versions of one statement: older ones are rarely asked for again.
const MAX_VERSIONS: usize = 4;
/// Longer statements are planned each time. A tree and its plans have up to some hundred times a statement's bytes: all of them a few
/// hundred megabytes if every one is as long as this, and a few tens as dashboards write them.
const MAX_SQL_BYTES: usize = 8 << 10;
/// Of the constants that a plan was folded to: `repeat('x', 100000000)` is short and its plan is not.
const MAX_CONSTANT_BYTES: f64 = (64 << 10) as f64;

#[derive(Debug, Default)]
pub struct PlanCache {
    /// Most recently used last.
    plans: Mutex<VecDeque<Arc<Planned>>>,
}

impl PlanCache {
    /// `sql` as it was parsed for a plan of any version.
    pub fn parsed(&self, sql: &str, session: &Session) -> Option<Arc<Parsed>> {
        self.find(sql, session, |planned| planned.parsed.clone())
    }

    fn find<T>(&self, sql: &str, session: &Session, take: impl Fn(&Planned) -> T) -> Option<T> {
        let plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |p: &&Arc<Planned>| p.parsed.sql == sql && p.session.scope() == session.scope();
        plans.iter().rfind(same).map(|planned| take(planned))
    }

    pub fn lane(&self, sql: &str, session: &Session) -> Option<Lane> {
        self.find(sql, session, |planned| planned.parsed.lane)
    }

    /// `generation` as [`crate::snapshot::Snapshots::generation`] tells it.
    pub fn get(
        &self,
        sql: &str,
        session: &Session,
        versions: &BTreeMap<String, u64>,
        generation: u64,
    ) -> Option<Arc<Planned>> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let at = plans.iter().rposition(|planned| {
            planned.parsed.sql == sql
                && planned.session.scope() == session.scope()
                && planned.versions == *versions
                && planned.generation == generation
        })?;
        let found = plans.remove(at)?;
        plans.push_back(found.clone());
        Some(found)
    }

    pub fn put(&self, planned: Arc<Planned>) {
        if planned.parsed.sql.len() > MAX_SQL_BYTES || !has_small_constants(&planned) {
            return;
        }
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |other: &Arc<Planned>| other.parsed.sql == planned.parsed.sql;
        if plans.iter().filter(|p| same(p)).count() >= MAX_VERSIONS
            && let Some(at) = plans.iter().position(same)
        {
            plans.remove(at);
        }
        if plans.len() == MAX_PLANS {
            plans.pop_front();
        }
        plans.push_back(planned);
    }
}

fn has_small_constants(planned: &Planned) -> bool {
    let Some(plan) = &planned.optimized else { return true };
    let mut total = 0.0;
    let counted = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Literal(value, _) = expr {
                    total += value.to_array().map_or(0.0, |array| bytes(array.as_ref()));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    counted.is_ok() && total <= MAX_CONSTANT_BYTES
}
