//! Records that do not decode: set aside with class and coordinates, and nothing stops.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use rdkafka::producer::Producer;
use ticklake_sql::TableName;

use crate::support::{DEADLINE, held, lake, options, producer, run_to_end, send, trade, unique};
use crate::topics::{brokers, create};

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_bad_record_is_set_aside_and_the_rest_is_committed() {
    let topic = &unique("bad");
    create(topic, 1, &[]).await;
    let brokers = brokers();
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    let good = trade(1);
    let (truncated, infinite, nan) = (
        &good[..40],
        good.replace("101.25", "1e400"),
        good.replace("101.25", "NaN"),
    );
    let (number, missing) = (good.replace("\"101.25\"", "101.25"), good.replace("\"seq\":1,", ""));
    let long = vec![b'x'; 900_000];
    let bad: Vec<(Option<&[u8]>, &str)> = vec![
        (None, "null_value"),
        (Some(b""), "empty_value"),
        (Some(b"\xff\xfe"), "not_utf8"),
        (Some(truncated.as_bytes()), "not_json"),
        (Some(missing.as_bytes()), "missing_field"),
        (Some(number.as_bytes()), "wrong_type"),
        (Some(infinite.as_bytes()), "bad_number"),
        (Some(nan.as_bytes()), "bad_number"),
        (Some(&long), "not_json"),
    ];
    let producer = producer(&brokers, &[]);
    for (value, _) in &bad {
        send(&producer, topic, 0, Some(good.as_bytes()));
        send(&producer, topic, 0, *value);
    }
    producer.flush(DEADLINE).unwrap();
    let report = run_to_end(&options(&brokers, topic), &lake).await.unwrap();
    assert_eq!((report.rows, report.dead_letters), (bad.len() as u64, bad.len() as u64));

    let trades = held(&lake, &TableName::bronze_trades()).await;
    assert!(trades.coordinates.keys().all(|(_, offset)| offset % 2 == 0) && trades.doubles() == 0);
    let dead = held(&lake, &TableName::bronze_dead_letters()).await;
    let batch = arrow::compute::concat_batches(&dead.batches[0].schema(), &dead.batches).unwrap();
    let offsets = batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
    let classes = batch.column_by_name("error_class").unwrap().as_string::<i32>();
    for row in 0..batch.num_rows() {
        assert_eq!(
            classes.value(row),
            bad[usize::try_from(offsets.value(row) / 2).unwrap()].1
        );
    }
    let payloads = batch.column_by_name("payload").unwrap().as_binary::<i32>();
    assert!(payloads.is_null(0));
    assert_eq!(payloads.value(8).len(), 65_536);
    assert_eq!(
        batch
            .column_by_name("payload_bytes")
            .unwrap()
            .as_primitive::<Int64Type>()
            .value(8),
        900_000
    );
    assert_eq!(batch.column_by_name("key").unwrap().as_binary::<i32>().value(0), b"key");
}
