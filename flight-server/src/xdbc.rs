//! GetXdbcTypeInfo: the types that results have, for ODBC's SQLGetTypeInfo.

use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};

use crate::error::{Error, Result};

pub fn build() -> Result<XdbcTypeInfoData> {
    let mut types = XdbcTypeInfoDataBuilder::new();
    types.append(plain("BOOLEAN", XdbcDataType::XdbcBit, Some(1)));
    for (name, data_type, digits) in [
        ("TINYINT", XdbcDataType::XdbcTinyint, 3),
        ("SMALLINT", XdbcDataType::XdbcSmallint, 5),
        ("INTEGER", XdbcDataType::XdbcInteger, 10),
        ("BIGINT", XdbcDataType::XdbcBigint, 19),
    ] {
        types.append(number(name, data_type, digits));
    }
    types.append(XdbcTypeInfo {
        unsigned_attribute: Some(true),
        ..number("BIGINT UNSIGNED", XdbcDataType::XdbcBigint, 20)
    });
    types.append(number("REAL", XdbcDataType::XdbcReal, 7));
    types.append(number("DOUBLE", XdbcDataType::XdbcDouble, 15));
    types.append(XdbcTypeInfo {
        create_params: Some(vec!["precision".into(), "scale".into()]),
        // Of a kind that has one precision and scale, as money has elsewhere: ours says them with each column.
        fixed_prec_scale: false,
        minimum_scale: Some(0),
        maximum_scale: Some(38),
        ..number("DECIMAL", XdbcDataType::XdbcDecimal, 38)
    });
    types.append(quoted("VARCHAR", XdbcDataType::XdbcVarchar, "'", None));
    types.append(quoted("VARBINARY", XdbcDataType::XdbcVarbinary, "'", None));
    types.append(XdbcTypeInfo {
        datetime_subcode: Some(XdbcDatetimeSubcode::XdbcSubcodeYear),
        sql_data_type: XdbcDataType::XdbcDatetime,
        ..quoted("DATE", XdbcDataType::XdbcDate, "DATE '", Some(10))
    });
    types.append(XdbcTypeInfo {
        datetime_subcode: Some(XdbcDatetimeSubcode::XdbcSubcodeTime),
        sql_data_type: XdbcDataType::XdbcDatetime,
        minimum_scale: Some(0),
        maximum_scale: Some(9),
        ..quoted("TIME", XdbcDataType::XdbcTime, "TIME '", Some(18))
    });
    for (name, subcode) in [
        ("TIMESTAMP", XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
        (
            "TIMESTAMP WITH TIME ZONE",
            XdbcDatetimeSubcode::XdbcSubcodeTimestampWithTimezone,
        ),
    ] {
        types.append(XdbcTypeInfo {
            datetime_subcode: Some(subcode),
            sql_data_type: XdbcDataType::XdbcDatetime,
            minimum_scale: Some(0),
            maximum_scale: Some(6),
            ..quoted(name, XdbcDataType::XdbcTimestamp, "TIMESTAMP '", Some(26))
        });
    }
    types.build().map_err(|e| Error::Internal(e.to_string()))
}

fn plain(name: &str, data_type: XdbcDataType, column_size: Option<i32>) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.into(),
        data_type,
        column_size,
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Full,
        local_type_name: Some(name.into()),
        sql_data_type: data_type,
        ..Default::default()
    }
}

fn number(name: &str, data_type: XdbcDataType, digits: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        unsigned_attribute: Some(false),
        auto_increment: Some(false),
        num_prec_radix: Some(10),
        ..plain(name, data_type, Some(digits))
    }
}

fn quoted(name: &str, data_type: XdbcDataType, prefix: &str, column_size: Option<i32>) -> XdbcTypeInfo {
    XdbcTypeInfo {
        literal_prefix: Some(prefix.into()),
        literal_suffix: Some("'".into()),
        case_sensitive: true,
        ..plain(name, data_type, column_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_can_be_asked_for_one_by_one() {
        let types = build().unwrap();
        assert_eq!(types.record_batch(None).unwrap().num_rows(), 15);
        assert_eq!(
            types.record_batch(XdbcDataType::XdbcDecimal as i32).unwrap().num_rows(),
            1
        );
        assert_eq!(types.record_batch(4_711).unwrap().num_rows(), 0);
    }
}
