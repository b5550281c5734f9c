//! Which trades set the prices of a bar: a rule a venue, in SQL over the columns of silver.trades. What no rule speaks of sets prices.
//!
//! A rule is a function of the record: it may call nothing that gives another answer tomorrow, so that bars stay functions of silver.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility, case};
use datafusion::prelude::{SessionContext, cast, col, lit};
use ticklake_sql::{Table, prices};

use crate::scan::DataFile;
use crate::{Error, Result};

/// The column that a rule gives: `price`, `range` or `volume`.
pub const COLUMN: &str = "counts_for";

/// The text of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRule {
    name: String,
    sql: String,
}

impl PriceRule {
    /// One of `sql/prices/`.
    pub fn shipped(name: &str) -> Option<Self> {
        prices::rule(name).map(|sql| Self::new(name, sql))
    }

    /// `name`: as errors call it.
    pub fn new(name: &str, sql: &str) -> Self {
        Self {
            name: name.to_owned(),
            sql: sql.to_owned(),
        }
    }

    /// The rule as an expression over the columns of silver.
    async fn expression(&self, context: &SessionContext) -> Result<Expr> {
        let invalid = |why: &str| Error::Invalid(format!("the rule of prices {}: {why}", self.name));
        let plan = context.state().create_logical_plan(&self.sql).await.map_err(|error| {
            let message = error.strip_backtrace();
            invalid(message.lines().next().unwrap_or_default())
        })?;
        let shape = || invalid("it is one SELECT of one column `counts_for` FROM trades, and nothing after that");
        let LogicalPlan::Projection(projection) = plan else {
            return Err(shape());
        };
        let ([expression], LogicalPlan::TableScan(_)) = (projection.expr.as_slice(), &*projection.input) else {
            return Err(shape());
        };
        if projection.schema.field(0).name() != COLUMN {
            return Err(shape());
        }
        let changes = expression.exists(|part| {
            Ok(match part {
                Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
                Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::Placeholder(_) => true,
                _ => false,
            })
        });
        if changes.unwrap_or(true) {
            return Err(invalid(
                "it may only call functions of the record, which give the same answer every day",
            ));
        }
        Ok(unnormalize_col(expression.clone().unalias()))
    }
}

/// The rules of all venues that have one.
#[derive(Debug)]
pub struct Prices(Vec<(String, Expr)>);

impl Prices {
    pub async fn plan(rules: &BTreeMap<String, PriceRule>, silver: &Table) -> Result<Self> {
        let context = SessionContext::new();
        let trades = Arc::new(EmptyTable::new(silver.spec().schema.clone()));
        context
            .register_table("trades", trades)
            .map_err(|error| Error::Internal(format!("plan the rules of prices: {error}")))?;
        let mut planned = Vec::with_capacity(rules.len());
        for (venue, rule) in rules {
            planned.push((venue.clone(), rule.expression(&context).await?));
        }
        Ok(Self(planned))
    }

    /// What each trade in `files` counts for.
    pub fn counts_for(&self, files: &[Arc<DataFile>]) -> Result<Expr, datafusion::error::DataFusionError> {
        let all = lit("price");
        let concern = |venue: &str| files.iter().any(|file| file.may_hold("venue", venue));
        let mut rules = self.0.iter().filter(|(venue, _)| concern(venue));
        let Some((venue, rule)) = rules.next() else {
            return Ok(all);
        };
        let text = |rule: &Expr| cast(rule.clone(), DataType::Utf8View);
        let mut by_venue = case(col("venue")).when(lit(venue.as_str()), text(rule));
        for (venue, rule) in rules {
            by_venue = by_venue.when(lit(venue.as_str()), text(rule));
        }
        by_venue.otherwise(cast(all, DataType::Utf8View))
    }
}

#[cfg(test)]
mod tests {
    use ticklake_sql::{Clock, Lake, LakeOptions, TableName};

    use super::*;

    async fn refusal(sql: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(folder.path().to_str().unwrap(), LakeOptions::default(), Clock::system()).unwrap();
        let silver = lake.create_table(&TableName::silver_trades()).await.unwrap();
        let rules = BTreeMap::from([("v".to_owned(), PriceRule::new("mine.sql", sql))]);
        match Prices::plan(&rules, &silver).await {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn the_shipped_rules_are_rules() {
        for (name, sql) in prices::RULES {
            assert_eq!(refusal(sql).await, "", "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_no_function_of_the_record_is_refused() {
        let rule = "SELECT CASE WHEN qty > 1 THEN 'price' ELSE 'volume' END AS counts_for FROM trades";
        assert_eq!(refusal(rule).await, "");
        for (sql, why) in [
            ("SELEC 1".to_owned(), "the rule of prices mine.sql: "),
            (rule.replace("counts_for", "kind"), "one column `counts_for`"),
            (format!("{rule} WHERE qty > 1"), "nothing after that"),
            (format!("{rule} LIMIT 1"), "nothing after that"),
            (rule.replace("qty > 1", "random() > 0.5"), "the same answer every day"),
            (rule.replace("qty > 1", "ts > now()"), "the same answer every day"),
            (rule.replace("qty > 1", "qty > (SELECT 1)"), "the same answer every day"),
            (rule.replace("qty > 1", "quantity > 1"), "quantity"),
        ] {
            let refusal = refusal(&sql).await;
            assert!(refusal.contains(why), "{sql}: {refusal}");
        }
    }
}
