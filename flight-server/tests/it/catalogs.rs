//! Catalog calls over the wire: announced schemas are the sent ones, and the rows are those of the lake.

use arrow_flight::FlightInfo;
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo, SqlInfo,
};
use datafusion::arrow::array::{AsArray, RecordBatch};
use ticklake_flight_server::ServerOptions;

use crate::fixture::*;

async fn answer(client: &mut Client, info: FlightInfo) -> RecordBatch {
    let announced = info.clone().try_decode_schema().unwrap();
    let rows = fetch(client, ticket(&info)).await.unwrap();
    assert_eq!(rows.schema().as_ref(), &announced);
    rows
}

#[tokio::test]
async fn catalog_calls_answer() {
    let lake = TestLake::with_bars(3).await;
    lake.add_trades("BTC-USDT", 0..3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;

    let info = client.get_catalogs().await.unwrap();
    assert_eq!(
        answer(&mut client, info).await.column(0).as_string::<i32>().value(0),
        "ticklake"
    );
    let info = client.get_db_schemas(CommandGetDbSchemas::default()).await.unwrap();
    let schemas = answer(&mut client, info).await;
    let schemas: Vec<_> = schemas.column(1).as_string::<i32>().iter().flatten().collect();
    assert_eq!(schemas, ["bronze", "gold", "silver", "system"]);
    let info = client.get_table_types().await.unwrap();
    assert_eq!(answer(&mut client, info).await.num_rows(), 2);
    let all = CommandGetTables {
        include_schema: true,
        ..Default::default()
    };
    let info = client.get_tables(all).await.unwrap();
    let tables = answer(&mut client, info).await;
    assert_eq!(tables.num_columns(), 5);
    let names: Vec<_> = tables.column(2).as_string::<i32>().iter().flatten().collect();
    assert_eq!(names, ["latest", "ohlcv_1m", "trades", "queries", "tables"]);
    let info = client
        .get_sql_info(vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerTransaction])
        .await
        .unwrap();
    assert_eq!(answer(&mut client, info).await.num_rows(), 2);
    let info = client.get_sql_info(vec![]).await.unwrap();
    assert_eq!(answer(&mut client, info).await.num_rows(), 91);
    let info = client
        .get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None })
        .await
        .unwrap();
    assert!(answer(&mut client, info).await.num_rows() > 5);
    let keys = CommandGetPrimaryKeys {
        table: "trades".into(),
        ..Default::default()
    };
    let info = client.get_primary_keys(keys).await.unwrap();
    assert_eq!(answer(&mut client, info).await.num_rows(), 4);
    let info = client
        .get_imported_keys(CommandGetImportedKeys::default())
        .await
        .unwrap();
    assert_eq!(answer(&mut client, info).await.num_rows(), 0);
    let info = client
        .get_exported_keys(CommandGetExportedKeys::default())
        .await
        .unwrap();
    assert_eq!(answer(&mut client, info).await.num_rows(), 0);
    let info = client
        .get_cross_reference(CommandGetCrossReference::default())
        .await
        .unwrap();
    assert_eq!(answer(&mut client, info).await.num_rows(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_table_made_later_is_found() {
    let lake = TestLake::empty();
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    assert!(query(&mut client, "SELECT * FROM gold.ohlcv_1m").await.is_err());
    lake.add_bars("BTC-USDT", 0..4).await;
    assert_eq!(number(&mut client, "SELECT count(*) FROM gold.ohlcv_1m").await, 4);
    server.stop().await;
}
