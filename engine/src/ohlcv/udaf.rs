//! The face of the aggregate in SQL: signature, types, and the accumulators that DataFusion asks for.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};

use super::bar::Bar;
use super::groups::OhlcvGroups;
use super::result;
use super::state::{self, States};
use super::trades::{Trades, coerce};

/// `ohlcv(ts, seq, trade_id, price, qty, side, count [, counts_for])` as a function of DataFusion.
pub fn ohlcv_udaf() -> AggregateUDF {
    AggregateUDF::new_from_impl(Ohlcv::new())
}

/// Makes `ohlcv` known to a session, so that any query may call it.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    registry.register_udaf(Arc::new(ohlcv_udaf())).map(|_| ())
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Ohlcv {
    signature: Signature,
}

impl Ohlcv {
    pub(super) const NAME: &str = "ohlcv";

    fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl AggregateUDFImpl for Ohlcv {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        coerce(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(ts) => Ok(DataType::Struct(result::fields(ts))),
            None => plan_err!("ohlcv takes seven arguments, got none"),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(state::fields(args.name))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneBar {
            bar: Bar::default(),
            ts: ts_type(&args)?,
        }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(OhlcvGroups::new(ts_type(&args)?)))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

fn ts_type(args: &AccumulatorArgs<'_>) -> Result<DataType> {
    if args.is_distinct {
        return plan_err!("ohlcv has no DISTINCT: two trades that look alike are two trades");
    }
    match args.return_type() {
        DataType::Struct(fields) => match fields.iter().find(|field| field.name() == "first_ts") {
            Some(field) => Ok(field.data_type().clone()),
            None => plan_err!("ohlcv was planned with another result"),
        },
        other => plan_err!("ohlcv was planned with {other} as its result"),
    }
}

/// The aggregate without GROUP BY.
#[derive(Debug)]
struct OneBar {
    bar: Bar,
    ts: DataType,
}

impl Accumulator for OneBar {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let trades = Trades::new(values, None)?;
        trades.for_each_run(&vec![(); trades.len()], |from, until, ()| {
            self.bar.fold(&trades, from, until)
        });
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states = States::new(states)?;
        for row in 0..states.len() {
            self.bar.merge(states.bar(row)?);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&result::finish(std::slice::from_ref(&self.bar), &self.ts)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        state::encode(std::slice::from_ref(&self.bar))
            .iter()
            .map(|column| ScalarValue::try_from_array(column, 0))
            .collect()
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bar.heap_bytes()
    }
}
