//! `database()`: the schema in which a table without one is looked for. Grafana's SQL builder lists tables by it, as of MySQL.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// Of a session whose default schema is `schema`.
pub fn function(schema: &str) -> ScalarUDF {
    ScalarUDF::from(Database {
        signature: Signature::nullary(Volatility::Immutable),
        schema: schema.to_owned(),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Database {
    signature: Signature,
    schema: String,
}

impl ScalarUDFImpl for Database {
    fn name(&self) -> &str {
        "database"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::from(self.schema.as_str())))
    }
}
