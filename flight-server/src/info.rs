//! GetSqlInfo: every code a driver may ask for, each in the union child that drivers cast it to.
//!
//! Codes and meanings: `enum SqlInfo` of FlightSql.proto. JDBC up to 18.3 fails on an absent code, and every version on
//! a value in the wrong child.

use std::collections::BTreeMap;

use arrow_flight::sql::SqlOuterJoinsSupportLevel::{
    SqlFullOuterJoins as FullJoins, SqlLimitedOuterJoins as LimitedJoins,
};
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{CommandGetSqlInfo, SqlNullOrdering, SqlSupportedCaseSensitivity, SqlSupportedTransaction};
use datafusion::arrow::array::RecordBatch;

use crate::error::{Error, Result};
use crate::frames::MAX_ROW_BYTES;
use crate::options::ServerOptions;

const ARROW_VERSION: &str = "59.3";

/// Words that cannot be unquoted names (SQL:2016 core, as far as the parser reserves them).
const KEYWORDS: &[&str] = &[
    "ALL",
    "AND",
    "ANY",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CROSS",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "FALSE",
    "FILTER",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NATURAL",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "QUALIFY",
    "RIGHT",
    "SELECT",
    "THEN",
    "TRUE",
    "UNION",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
];
const NUMERIC_FUNCTIONS: &[&str] = &[
    "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "cot", "degrees", "exp", "floor", "ln", "log", "log10",
    "log2", "pi", "power", "radians", "random", "round", "sign", "sin", "sqrt", "tan", "trunc",
];
const STRING_FUNCTIONS: &[&str] = &[
    "ascii",
    "btrim",
    "chr",
    "concat",
    "concat_ws",
    "ends_with",
    "initcap",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "to_hex",
    "translate",
    "trim",
    "upper",
];
const SYSTEM_FUNCTIONS: &[&str] = &["arrow_typeof", "coalesce", "nullif", "version"];
const DATETIME_FUNCTIONS: &[&str] = &[
    "current_date",
    "current_time",
    "date_bin",
    "date_part",
    "date_trunc",
    "from_unixtime",
    "make_date",
    "now",
    "to_char",
    "to_date",
    "to_timestamp",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_seconds",
];

pub fn build(options: &ServerOptions) -> Result<SqlInfoData> {
    let mut info = SqlInfoDataBuilder::new();
    server(&mut info, options);
    language(&mut info);
    functions(&mut info);
    abilities(&mut info);
    limits(&mut info, options);
    info.build().map_err(|e| Error::Internal(e.to_string()))
}

/// The rows of `query`; an empty list asks for all, unknown codes are left out.
pub fn rows(info: &SqlInfoData, query: CommandGetSqlInfo) -> Result<RecordBatch> {
    query
        .into_builder(info)
        .build()
        .map_err(|e| Error::Internal(e.to_string()))
}

/// 0-11, 100, 101: the server.
fn server(info: &mut SqlInfoDataBuilder, options: &ServerOptions) {
    info.append(0u32, "ticklake");
    info.append(1u32, env!("CARGO_PKG_VERSION"));
    info.append(2u32, ARROW_VERSION);
    info.append(3u32, true); // read-only
    info.append(4u32, true); // SQL
    info.append(5u32, false); // Substrait
    info.append(6u32, "");
    info.append(7u32, "");
    info.append(8u32, SqlSupportedTransaction::None as i32);
    info.append(9u32, true); // cancel
    info.append(10u32, false); // bulk ingestion
    info.append(11u32, false);
    let handles = i32::try_from(options.ticket_lifetime.as_millis()).unwrap_or_default();
    info.append(100u32, handles); // how long a prepared statement's handle lives, in milliseconds; 0: for ever
    info.append(101u32, 0i32); // no transactions
}

/// 500-507, 513-516, 529-532: names and the look of the language.
fn language(info: &mut SqlInfoDataBuilder) {
    for code in 500..=502u32 {
        info.append(code, false); // no DDL for catalogs, schemas, tables
    }
    info.append(503u32, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32);
    info.append(504u32, "\"");
    // Quoted names keep their case and are told apart by it: none of the words there are, of which only this says nothing false.
    info.append(505u32, SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown as i32);
    info.append(506u32, true);
    info.append(507u32, SqlNullOrdering::SqlNullsSortedHigh as i32);
    info.append(513u32, "\\");
    info.append(514u32, "");
    info.append(515u32, true);
    info.append(516u32, true);
    info.append(529u32, "schema");
    info.append(530u32, "");
    info.append(531u32, "catalog");
    info.append(532u32, true);
}

/// 508-512, 517.
fn functions(info: &mut SqlInfoDataBuilder) {
    info.append(508u32, KEYWORDS);
    info.append(509u32, NUMERIC_FUNCTIONS);
    info.append(510u32, STRING_FUNCTIONS);
    info.append(511u32, SYSTEM_FUNCTIONS);
    info.append(512u32, DATETIME_FUNCTIONS);
    info.append(517u32, conversions());
}

/// `SqlSupportsConvert`: from -> to.
fn conversions() -> BTreeMap<i32, Vec<i32>> {
    const BIGINT: i32 = 0;
    const DATE: i32 = 4;
    const DECIMAL: i32 = 5;
    const FLOAT: i32 = 6;
    const INTEGER: i32 = 7;
    const TIMESTAMP: i32 = 16;
    const VARCHAR: i32 = 19;
    let numbers = [BIGINT, DECIMAL, FLOAT, INTEGER];
    let mut map = BTreeMap::new();
    for from in numbers {
        map.insert(from, [numbers.as_slice(), &[VARCHAR]].concat());
    }
    map.insert(DATE, vec![TIMESTAMP, VARCHAR]);
    map.insert(TIMESTAMP, vec![DATE, VARCHAR, BIGINT]);
    map.insert(VARCHAR, [numbers.as_slice(), &[DATE, TIMESTAMP]].concat());
    map
}

/// 518-528, 533-540, 563-576: what queries may do.
fn abilities(info: &mut SqlInfoDataBuilder) {
    info.append(518u32, true);
    info.append(519u32, false);
    info.append(520u32, true);
    info.append(521u32, true);
    info.append(522u32, 0b11i32); // GROUP BY columns that are not selected
    info.append(523u32, true);
    info.append(524u32, true);
    info.append(525u32, 0b111i32); // minimum, core, extended grammar
    info.append(526u32, 0b11i32); // SQL-92 entry and intermediate
    info.append(527u32, false);
    // Bits of limited and full outer joins: an ordinal by FlightSql.proto's words, but drivers and Arrow's own servers take it for these.
    info.append(528u32, 1i32 << LimitedJoins as i32 | 1 << FullJoins as i32);
    for code in 533..=535u32 {
        info.append(code, 0i32);
    }
    info.append(536u32, false);
    info.append(537u32, false);
    info.append(538u32, 0b1111i32); // subqueries in comparisons, EXISTS, IN, quantified
    info.append(539u32, true);
    info.append(540u32, 0b11i32); // UNION, UNION ALL
    info.append(563u32, false);
    info.append(564u32, 0i32);
    info.append(565u32, false);
    info.append(566u32, false);
    info.append(567u32, 1i32 << 1); // forward-only results
    for code in 568..=571u32 {
        info.append(code, 0i32);
    }
    for code in 572..=576u32 {
        info.append(code, false);
    }
}

/// 541-562: lengths and counts; 0 says that there is no limit or that it is not known.
fn limits(info: &mut SqlInfoDataBuilder, options: &ServerOptions) {
    for code in 541..=562u32 {
        match code {
            555 => info.append(code, MAX_ROW_BYTES as i64),
            556 => {}
            557 => info.append(code, i64::try_from(options.max_statement_bytes).unwrap_or_default()),
            _ => info.append(code, 0i64),
        }
    }
    info.append(556u32, true); // row size includes blobs
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array, AsArray, UInt32Array, UnionArray};
    use datafusion::arrow::datatypes::{Int32Type, Int64Type, UInt32Type};

    use super::*;

    fn all() -> RecordBatch {
        rows(
            &build(&ServerOptions::default()).unwrap(),
            CommandGetSqlInfo { info: vec![] },
        )
        .unwrap()
    }

    #[test]
    fn every_code_is_there_in_its_child() {
        let all = all();
        let names: &UInt32Array = all.column(0).as_primitive::<UInt32Type>();
        let values = all.column(1).as_any().downcast_ref::<UnionArray>().unwrap();
        let child: BTreeMap<u32, i8> = (0..all.num_rows())
            .map(|i| (names.value(i), values.type_id(i)))
            .collect();
        let codes: Vec<u32> = child.keys().copied().collect();
        let expected: Vec<u32> = (0..=11).chain(100..=101).chain(500..=576).collect();
        assert_eq!(codes, expected);
        let strings = [0, 1, 2, 6, 7, 504, 513, 514, 529, 530, 531];
        let bools = [
            3, 4, 5, 9, 10, 11, 500, 501, 502, 506, 515, 516, 518, 519, 520, 521, 523, 524, 527, 532, 536, 537, 539,
            556, 563, 565, 566, 572, 573, 574, 575, 576,
        ];
        let bitmasks = [
            8, 100, 101, 503, 505, 507, 522, 525, 526, 528, 533, 534, 535, 538, 540, 564, 567, 568, 569, 570, 571,
        ];
        for (code, id) in child {
            let wanted = match code {
                c if strings.contains(&c) => 0,
                c if bools.contains(&c) => 1,
                c if bitmasks.contains(&c) => 3,
                508..=512 => 4,
                517 => 5,
                _ => 2,
            };
            assert_eq!(id, wanted, "code {code}");
        }
    }

    /// Ordinals are the numbers of their enums, and limits are those that hold.
    #[test]
    fn ordinals_and_limits_are_told() {
        let options = ServerOptions::default();
        let all = all();
        let names: &UInt32Array = all.column(0).as_primitive::<UInt32Type>();
        let values = all.column(1).as_any().downcast_ref::<UnionArray>().unwrap();
        let at = |code: u32| (0..all.num_rows()).find(|i| names.value(*i) == code).unwrap();
        let ordinal = |code| values.value(at(code)).as_primitive::<Int32Type>().value(0);
        let limit = |code| values.value(at(code)).as_primitive::<Int64Type>().value(0);
        let lower = SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32;
        assert_eq!([8, 503, 505, 507].map(ordinal), [0, lower, 0, 0]);
        assert_eq!(ordinal(528), 0b110);
        assert_eq!(i64::from(ordinal(100)), options.ticket_lifetime.as_millis() as i64);
        assert_eq!([555, 557].map(limit), [4 << 20, options.max_statement_bytes as i64]);
    }

    #[test]
    fn asked_codes_only() {
        let some = rows(
            &build(&ServerOptions::default()).unwrap(),
            CommandGetSqlInfo {
                info: vec![8, 0, 4_000],
            },
        )
        .unwrap();
        assert_eq!(some.num_rows(), 2);
        let values = some.column(1).as_any().downcast_ref::<UnionArray>().unwrap();
        let transactions = (0..2).find(|i| values.type_id(*i) == 3).unwrap();
        assert_eq!(values.value(transactions).as_primitive::<Int32Type>().value(0), 0);
    }
}
