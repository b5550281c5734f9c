//! The aggregate over many windows at once: what a hash or a sorted GROUP BY drives.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use std::sync::Arc;

use super::bar::Bar;
use super::result;
use super::state::{self, States};
use super::trades::Trades;

/// One bar a group. Neighbouring rows of one group are folded together, so input sorted by symbol and time is the quick case.
#[derive(Debug)]
pub struct OhlcvGroups {
    bars: Vec<Bar>,
    ts: DataType,
    heap_bytes: usize,
}

impl OhlcvGroups {
    /// `ts` is the type of the timestamps that will come.
    pub fn new(ts: DataType) -> Self {
        Self {
            bars: Vec::new(),
            ts,
            heap_bytes: 0,
        }
    }

    fn change<T>(&mut self, group: usize, change: impl FnOnce(&mut Bar) -> T) -> T {
        let bar = &mut self.bars[group];
        let before = bar.heap_bytes();
        let out = change(bar);
        self.heap_bytes += bar.heap_bytes();
        self.heap_bytes -= before;
        out
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Bar> {
        let taken = emit_to.take_needed(&mut self.bars);
        self.heap_bytes -= taken.iter().map(Bar::heap_bytes).sum::<usize>();
        taken
    }
}

impl GroupsAccumulator for OhlcvGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.bars.resize_with(total_num_groups, Bar::default);
        let trades = Trades::new(values, filter)?;
        trades.for_each_run(group_indices, |from, until, group| {
            self.change(group, |bar| bar.fold(&trades, from, until))
        });
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.bars.resize_with(total_num_groups, Bar::default);
        let states = States::new(values)?;
        for (row, group) in group_indices.iter().enumerate() {
            let part = states.bar(row)?;
            self.change(*group, |bar| bar.merge(part));
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(result::finish(&self.take(emit_to), &self.ts)?))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(state::encode(&self.take(emit_to)))
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let trades = Trades::new(values, filter)?;
        let bar = |row: usize| {
            let mut bar = Bar::default();
            if trades.is_valid(row) {
                bar.fold(&trades, row, row + 1);
            }
            bar
        };
        Ok(state::encode(&(0..trades.len()).map(bar).collect::<Vec<_>>()))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bars.capacity() * size_of::<Bar>() + self.heap_bytes
    }
}
