//! Every function that a statement may call, and how it is held to a bound.
//!
//! No memory pool sees what a function allocates, and nothing cancels one while it works on a batch. So each is of one class: it makes
//! at most a few times what it is given, in time that grows with that (`PLAIN`); it is looked at before it runs (`growing`,
//! `costly`, `patterns`); or its type is (`CASTS`). A function of no class fails a test.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result as DFResult, ScalarValue};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExpressionPlacement, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, StructFieldMapping,
};

use crate::error::{Error, Result};
use crate::{costly, growing};

/// What all growing calls of a statement may make for one batch of rows, and one of them at most.
const STATEMENT_BYTES: usize = 512 << 20;
const CALL_BYTES: usize = 128 << 20;
/// What one call may make of constants alone: they stand in every plan of the statement, and in the names of its columns.
const CONSTANT_BYTES: usize = 256 << 10;
/// Before the calls of a statement have been counted: in the arguments of table functions.
const EARLY_BYTES: usize = 16 << 20;
/// Of a binary or list type of fixed size, which takes that much for NULL too.
const MAX_FIXED_SIZE: i32 = 4_096;

/// Casts to a type that an argument names.
pub const CASTS: [&str; 2] = ["arrow_cast", "arrow_try_cast"];

/// Functions that are not offered: what runs for each item of a list would have to be counted anew.
const REFUSED: [&str; 4] = ["array_any_match", "array_filter", "array_first", "array_transform"];

/// Puts the bounded functions in the place of the engine's.
pub fn bound(state: &mut SessionState) -> Result<()> {
    for function in state.scalar_functions().values().cloned().collect::<Vec<_>>() {
        if let Some(bounded) = bounded(&function) {
            state.register_udf(bounded)?;
        }
    }
    for name in REFUSED {
        state.deregister_higher_order_function(name)?;
    }
    Ok(())
}

/// `function` within its bounds; None where it needs none or has them.
pub fn bounded(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    let name = function.name();
    let looked_at = growing::GROWING.contains(&name) || costly::COSTLY.contains(&name) || CASTS.contains(&name);
    if !looked_at || function.inner().is::<Bounded>() {
        return None;
    }
    let inner = function.clone();
    Some(Arc::new(ScalarUDF::new_from_impl(Bounded { inner })))
}

/// What each growing call of one statement may make.
#[derive(Debug, Clone)]
pub struct Share(usize);

impl Share {
    pub fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut calls = 0;
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    calls += usize::from(grows(expr));
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        Ok(Self(CALL_BYTES.min(STATEMENT_BYTES / calls.max(1))))
    }

    /// Of a statement that runs with `config`.
    pub fn allowed(config: &ConfigOptions) -> usize {
        config.extensions.get::<Self>().map_or(EARLY_BYTES, |share| share.0)
    }
}

fn grows(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => growing::GROWING.contains(&call.name()),
        Expr::BinaryExpr(binary) => binary.op == Operator::StringConcat,
        _ => false,
    }
}

impl ConfigExtension for Share {
    const PREFIX: &'static str = "share_of_functions";
}

impl ExtensionOptions for Share {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, _: &str, _: &str) -> DFResult<()> {
        Err(Error::ReadOnly("SET".into()).into())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> DFResult<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> DFResult<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DFResult<FieldRef> {
        let field = self.inner.return_field_from_args(args)?;
        check_type(field.data_type())?;
        Ok(field)
    }

    fn coerce_types(&self, types: &[DataType]) -> DFResult<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn is_strict(&self) -> bool {
        self.inner.is_strict()
    }

    /// Others may turn into themselves, without their bound.
    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> DFResult<ExprSimplifyResult> {
        match CASTS.contains(&self.name()) {
            true => self.inner.simplify(args, context),
            false => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> DFResult<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> DFResult<bool> {
        self.inner.preserves_lex_ordering(inputs)
    }

    fn struct_field_mapping(&self, literals: &[Option<ScalarValue>]) -> Option<StructFieldMapping> {
        self.inner.struct_field_mapping(literals)
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.inner.placement(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DFResult<ColumnarValue> {
        costly::check(self.name(), &args)?;
        let allowed = Share::allowed(&args.config_options);
        within(self.name(), &|args| self.inner.invoke_with_args(args), args, allowed)
    }
}

type Call<'a> = &'a dyn Fn(ScalarFunctionArgs) -> DFResult<ColumnarValue>;

/// Calls on as many rows at once as make no more than is allowed, and on no row that alone would make more.
pub fn within(name: &str, call: Call<'_>, args: ScalarFunctionArgs, allowed: usize) -> DFResult<ColumnarValue> {
    if args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) {
        let one = ScalarFunctionArgs {
            number_rows: 1,
            ..args.clone()
        };
        let (bytes, allowed) = (growing::estimate(name, &one)?, allowed.min(CONSTANT_BYTES));
        return match bytes > allowed as f64 {
            true => Err(too_much(name, bytes, allowed)),
            false => call(args),
        };
    }
    if growing::estimate(name, &args)? <= allowed as f64 {
        return call(args);
    }
    let mut made = Made::default();
    made.parts(name, call, args, allowed)?;
    let made: Vec<&dyn Array> = made.parts.iter().map(AsRef::as_ref).collect();
    Ok(ColumnarValue::Array(concat(&made)?))
}

#[derive(Default)]
struct Made {
    parts: Vec<ArrayRef>,
    bytes: usize,
}

impl Made {
    fn parts(&mut self, name: &str, call: Call<'_>, args: ScalarFunctionArgs, allowed: usize) -> DFResult<()> {
        let rows = args.number_rows;
        let bytes = growing::estimate(name, &args)?;
        if bytes <= allowed as f64 {
            let part = call(args)?.into_array(rows)?;
            self.bytes += part.get_array_memory_size();
            self.parts.push(part);
            return match self.bytes > allowed {
                true => Err(too_much(name, self.bytes as f64, allowed)),
                false => Ok(()),
            };
        }
        if rows <= 1 {
            return Err(too_much(name, bytes, allowed));
        }
        let half = rows / 2;
        self.parts(name, call, rows_of(&args, 0, half), allowed)?;
        self.parts(name, call, rows_of(&args, half, rows - half), allowed)
    }
}

fn too_much(name: &str, bytes: f64, allowed: usize) -> datafusion::common::DataFusionError {
    Error::Limit(format!(
        "{name} would make {bytes:.0} bytes at once, {allowed} are allowed in this statement; ask for less"
    ))
    .into()
}

fn rows_of(args: &ScalarFunctionArgs, from: usize, rows: usize) -> ScalarFunctionArgs {
    let part = |value: &ColumnarValue| match value {
        ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(from, rows)),
        scalar => scalar.clone(),
    };
    ScalarFunctionArgs {
        args: args.args.iter().map(part).collect(),
        number_rows: rows,
        ..args.clone()
    }
}

/// Refuses types whose every value takes much, whatever it holds.
pub fn check_type(data_type: &DataType) -> DFResult<()> {
    match data_type {
        DataType::FixedSizeBinary(size) | DataType::FixedSizeList(_, size) if *size > MAX_FIXED_SIZE => {
            Err(Error::Limit(format!(
                "a type of {size} fixed items is larger than the {MAX_FIXED_SIZE} allowed; use one of any size"
            ))
            .into())
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => check_type(item.data_type()),
        DataType::Struct(fields) => fields.iter().try_for_each(|field| check_type(field.data_type())),
        DataType::Dictionary(_, values) => check_type(values),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use datafusion::execution::session_state::SessionStateBuilder;

    use super::*;
    use crate::function_classes::{AGGREGATES, PLAIN, WINDOWS};
    use crate::patterns;

    fn names<T>(functions: &std::collections::HashMap<String, Arc<T>>, name: impl Fn(&T) -> &str) -> BTreeSet<String> {
        functions.values().map(|f| name(f).to_owned()).collect()
    }

    fn of(names: &[&[&str]]) -> BTreeSet<String> {
        let all: Vec<String> = names.concat().into_iter().map(str::to_owned).collect();
        let set: BTreeSet<String> = all.iter().cloned().collect();
        assert_eq!(set.len(), all.len(), "one class each");
        set
    }

    #[test]
    fn every_function_has_its_class() {
        let mut state = SessionStateBuilder::new().with_default_features().build();
        bound(&mut state).unwrap();
        let (scalars, aggregates, windows) = (
            names(state.scalar_functions(), ScalarUDF::name),
            names(state.aggregate_functions(), |f| f.name()),
            names(state.window_functions(), |f| f.name()),
        );
        let patterned: Vec<&str> = (patterns::FUNCTIONS.iter().map(|(name, ..)| *name))
            .filter(|name| !growing::GROWING.contains(name))
            .collect();
        let [plain, gathering, looking] =
            [PLAIN, AGGREGATES, WINDOWS].map(|names| names.split_whitespace().collect::<Vec<_>>());
        assert_eq!(
            scalars,
            of(&[&plain, &growing::GROWING, &costly::COSTLY, &patterned, &CASTS])
        );
        assert_eq!(aggregates, of(&[&gathering]));
        assert_eq!(windows, of(&[&looking]));
        assert!(state.higher_order_functions().is_empty());
        for function in state.scalar_functions().values() {
            let elsewhere = plain.contains(&function.name()) || patterned.contains(&function.name());
            assert_eq!(function.inner().is::<Bounded>(), !elsewhere, "{}", function.name());
        }
    }
}
