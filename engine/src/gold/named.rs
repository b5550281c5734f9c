//! Trades that cancels and corrections name, and the few files that may hold them: found by the ranges of ids in the files' tags, so that an
//! amendment costs the same in a lake of any size.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use crate::scan::DataFile;
use crate::silver::key::{Series, TradeId};
use crate::silver::ranges::Span;

/// Columns of [`Named::to_batch`]: venue, symbol, id.
pub const NAME_COLUMNS: [&str; 3] = ["named_venue", "named_symbol", "named_id"];

/// (venue, symbol) -> ids.
#[derive(Debug, Default)]
pub struct Named(BTreeMap<(String, String), BTreeSet<String>>);

impl Named {
    /// `rows`: venue, symbol, ref_trade_id.
    pub fn take(&mut self, rows: &RecordBatch) -> Result<(), ArrowError> {
        let text =
            |at: usize| Ok::<_, ArrowError>(cast(rows.column(at), &DataType::Utf8View)?.as_string_view().clone());
        let (venues, symbols, ids) = (text(0)?, text(1)?, text(2)?);
        for row in (0..rows.num_rows()).filter(|row| ids.is_valid(*row)) {
            let market = (venues.value(row).to_owned(), symbols.value(row).to_owned());
            self.0.entry(market).or_default().insert(ids.value(row).to_owned());
        }
        Ok(())
    }

    /// False only where statistics or tag prove that the file holds none of the trades in one of these kinds.
    pub fn may_be_in(&self, file: &DataFile, kinds: &BTreeSet<String>) -> bool {
        let in_bounds =
            |(venue, symbol): &(String, String)| file.may_hold("venue", venue) && file.may_hold("symbol", symbol);
        if !kinds.iter().any(|kind| file.may_hold("kind", kind)) || !self.0.keys().any(in_bounds) {
            return false;
        }
        match file.ranges().and_then(|ranges| ranges.groups) {
            None => true,
            Some(groups) => groups.iter().any(|(group, span)| {
                let market = (group.venue.to_string(), group.symbol.to_string());
                kinds.contains(&*group.kind)
                    && self
                        .0
                        .get(&market)
                        .is_some_and(|ids| ids.iter().any(|id| is_within(id, &group.series, span)))
            }),
        }
    }

    pub fn to_batch(&self) -> Result<RecordBatch, ArrowError> {
        let rows = || {
            self.0
                .iter()
                .flat_map(|((venue, symbol), ids)| ids.iter().map(move |id| [venue, symbol, id]))
        };
        let column = |at: usize| -> Arc<dyn Array> {
            Arc::new(rows().map(|row| Some(row[at].as_str())).collect::<StringViewArray>())
        };
        let fields = NAME_COLUMNS.map(|name| Field::new(name, DataType::Utf8View, false));
        RecordBatch::try_new(
            Arc::new(Schema::new(fields.to_vec())),
            vec![column(0), column(1), column(2)],
        )
    }
}

fn is_within(id: &str, series: &Series, span: &Span) -> bool {
    match (TradeId::parse(id), series, span) {
        (TradeId::Number(id), Series::Numbers, Span::Numbers(least, greatest)) => (*least..=*greatest).contains(&id),
        (TradeId::Framed { connection, number }, Series::Frames(of), Span::Numbers(least, greatest)) => {
            *connection == **of && (*least..=*greatest).contains(&number)
        }
        (TradeId::Opaque(id), Series::Opaque, Span::Texts(least, greatest)) => &**least <= id && id <= &**greatest,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use deltalake::kernel::Add;
    use ticklake_sql::{TableName, tables};

    use super::*;
    use crate::silver::key::Keys;
    use crate::silver::ranges::{Ranges, TAG};

    fn file(ids: &[&str], kind: &str) -> DataFile {
        let mut keys = Keys::default();
        let rows: Vec<_> = ids.iter().map(|id| (keys.key("v", "A-B", kind, id), Some(1))).collect();
        let tag = Ranges::of(&keys, rows.into_iter()).to_tag();
        let add = Add {
            tags: Some(HashMap::from([(TAG.to_owned(), Some(tag))])),
            ..Add::default()
        };
        DataFile::new(add, &tables::spec(&TableName::silver_trades()).unwrap())
    }

    #[test]
    fn only_files_whose_ranges_hold_a_named_id_are_read() {
        let market = ("v".to_owned(), "A-B".to_owned());
        let ids = ["7", "c-1-2", "x5"].map(str::to_owned);
        let named = Named(BTreeMap::from([(market, ids.into())]));
        let check = |ids: &[&str], kind: &str, expected: bool| {
            let kinds = BTreeSet::from(["trade".to_owned()]);
            assert_eq!(named.may_be_in(&file(ids, kind), &kinds), expected, "{ids:?} {kind}");
        };
        check(&["1", "9"], "trade", true);
        check(&["1", "9"], "agg", false);
        check(&["8", "9"], "trade", false);
        check(&["c-1-1", "c-1-3"], "trade", true);
        check(&["d-1-1", "d-1-3"], "trade", false);
        check(&["x4", "x6"], "trade", true);
        check(&["x6", "y"], "trade", false);
        let untagged = DataFile::new(Add::default(), &tables::spec(&TableName::silver_trades()).unwrap());
        assert!(named.may_be_in(&untagged, &BTreeSet::from(["trade".to_owned()])));
    }

    #[test]
    fn a_file_of_several_kinds_says_whether_one_amends() {
        assert!(file(&["1"], "cancel").may_amend);
        assert!(!file(&["1"], "trade").may_amend);
    }
}
