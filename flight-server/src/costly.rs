//! Functions whose time grows with the product of their arguments: refused before they run where that is more than a query thread may be
//! kept for. Nothing cancels a function while it works on a batch.

use datafusion::common::Result as DFResult;
use datafusion::logical_expr::ScalarFunctionArgs;

use crate::error::Error;
use crate::growing::{Arg, lengths};

pub const COSTLY: [&str; 3] = ["levenshtein", "array_has_all", "array_has_any"];
/// Steps of one call for one batch of rows: half a second.
const MAX_STEPS: f64 = 1e8;

pub fn check(name: &str, args: &ScalarFunctionArgs) -> DFResult<()> {
    if !COSTLY.contains(&name) {
        return Ok(());
    }
    let args = Arg::all(args)?;
    let [a, b, ..] = args.as_slice() else { return Ok(()) };
    let (a, b) = (lengths(a.array.as_ref()), lengths(b.array.as_ref()));
    let steps: f64 = match (a.as_slice(), b.as_slice()) {
        ([one], many) | (many, [one]) => many.iter().map(|length| one * length).sum(),
        (a, b) => a.iter().zip(b).map(|(a, b)| a * b).sum(),
    };
    if steps > MAX_STEPS {
        return Err(Error::Limit(format!(
            "{name} would take {steps:.0} steps at once, {MAX_STEPS:.0} are allowed; give it shorter values"
        ))
        .into());
    }
    Ok(())
}
