//! Bytes that almost mean something: valid tickets, handles, values, cookies and action bodies with a part changed. The server answers each with the
//! caller's error, or with what it now says, and goes on. Each run has a seed of its own, which a failure names; TICKLAKE_TEST_SEED repeats it.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, CommandPreparedStatementQuery,
    ProstMessageExt, TicketStatementQuery,
};
use arrow_flight::{Action, FlightData, FlightDescriptor, Ticket};
use datafusion::arrow::array::*;
use datafusion::arrow::ipc::CompressionType;
use datafusion::arrow::ipc::writer::{self as ipc, IpcWriteOptions};
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use ticklake_flight_server::ServerOptions;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::fixture::*;

const ROUNDS: usize = 1_000;
const SQL: &str = "SELECT symbol FROM gold.ohlcv_1m WHERE symbol = ? AND window_start > ? AND trade_count >= ?";

type Raw = FlightServiceClient<Channel>;

fn random() -> (u64, StdRng) {
    let seed = std::env::var("TICKLAKE_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().random());
    (seed, StdRng::seed_from_u64(seed))
}

/// `bytes` with a bit turned, a part gone, doubled or of other bytes, or a number made enormous.
fn mutated(bytes: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..random.random_range(1..4) {
        if out.is_empty() {
            return vec![random.random()];
        }
        let at = random.random_range(0..out.len());
        let to = random.random_range(at..out.len().min(at + 16));
        match random.random_range(0..6) {
            0 => out[at] ^= 1 << random.random_range(0..8),
            1 => out.truncate(at),
            2 => drop(out.drain(at..to)),
            3 => {
                let again = out[at..to].to_vec();
                out.splice(at..at, again);
            }
            4 => out[at..to].iter_mut().for_each(|b| *b = random.random()),
            _ => out[at..to]
                .iter_mut()
                .for_each(|b| *b = [0x00, 0x7f, 0x80, 0xff][random.random_range(0..4)]),
        }
    }
    out
}

fn check(status: &Status, seed: u64, what: &str) {
    let callers = [
        Code::InvalidArgument,
        Code::PermissionDenied,
        Code::Unimplemented,
        Code::NotFound,
    ];
    assert!(callers.contains(&status.code()), "seed {seed}, {what}: {status:?}");
}

async fn create(raw: &mut Raw, sql: &str) -> ActionCreatePreparedStatementResult {
    let body = ActionCreatePreparedStatementRequest {
        query: sql.into(),
        transaction_id: None,
    };
    let action = Action {
        r#type: "CreatePreparedStatement".into(),
        body: body.as_any().encode_to_vec().into(),
    };
    let mut answers = raw.do_action(action).await.unwrap().into_inner();
    let body = answers.message().await.unwrap().unwrap().body;
    Any::decode(body).unwrap().unpack().unwrap().unwrap()
}

fn of_handle(handle: Vec<u8>) -> Vec<u8> {
    let command = CommandPreparedStatementQuery {
        prepared_statement_handle: handle.into(),
    };
    command.as_any().encode_to_vec()
}

async fn frames(options: IpcWriteOptions) -> Vec<FlightData> {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("0", Arc::new(StringArray::from(vec!["BTC-USDT"; 50]))),
        (
            "1",
            Arc::new(TimestampMicrosecondArray::from(vec![START_US; 50]).with_timezone("UTC")),
        ),
        ("2", Arc::new(Int64Array::from(vec![Some(1); 50]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let encoder = FlightDataEncoderBuilder::new().with_options(options);
    let encoded = encoder.build(futures::stream::iter([Ok(batch)]));
    encoded.try_collect().await.unwrap()
}

async fn put(raw: &mut Raw, handle: &[u8], mut frames: Vec<FlightData>) -> Result<(), Status> {
    frames[0].flight_descriptor = Some(FlightDescriptor::new_cmd(of_handle(handle.to_vec())));
    let mut answers = raw.do_put(futures::stream::iter(frames)).await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn mutated_tickets_and_handles_are_refused() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let info = describe(&mut server.client().await, "SELECT symbol FROM gold.ohlcv_1m")
        .await
        .unwrap();
    let genuine = ticket(&info).ticket;
    let token = Any::decode(genuine.clone())
        .unwrap()
        .unpack::<TicketStatementQuery>()
        .unwrap()
        .unwrap();
    let mut raw = FlightServiceClient::new(server.channel().await);
    let handle = create(&mut raw, SQL).await.prepared_statement_handle;
    let (seed, mut random) = random();
    for round in 0..ROUNDS {
        // The message around a ticket may change and mean the same; the token in it may not.
        let whole = mutated(&genuine, &mut random);
        if let Err(status) = raw.do_get(Ticket { ticket: whole.into() }).await {
            check(&status, seed, &format!("ticket {round}"));
        }
        let changed = mutated(&token.statement_handle, &mut random);
        if changed != token.statement_handle {
            let inner = TicketStatementQuery {
                statement_handle: changed.into(),
            };
            let refused = raw
                .do_get(Ticket {
                    ticket: inner.as_any().encode_to_vec().into(),
                })
                .await;
            check(&refused.map(drop).unwrap_err(), seed, &format!("token {round}"));
        }
        let changed = mutated(&handle, &mut random);
        if changed != handle {
            let refused = raw.get_flight_info(FlightDescriptor::new_cmd(of_handle(changed))).await;
            check(&refused.map(drop).unwrap_err(), seed, &format!("handle {round}"));
        }
    }
    assert_eq!(number(&mut server.client().await, "SELECT 1").await, 1);
    server.stop().await;
}

#[tokio::test]
async fn mutated_values_are_refused_or_read() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut raw = FlightServiceClient::new(server.channel().await);
    let handle = create(&mut raw, SQL).await.prepared_statement_handle;
    let valid = frames(IpcWriteOptions::default()).await;
    put(&mut raw, &handle, valid.clone()).await.unwrap();
    let (seed, mut random) = random();
    for round in 0..ROUNDS {
        let mut changed = valid.clone();
        let frame = random.random_range(0..changed.len());
        if random.random() {
            changed[frame].data_header = mutated(&changed[frame].data_header, &mut random).into();
        } else {
            changed[frame].data_body = mutated(&changed[frame].data_body, &mut random).into();
        }
        if let Err(status) = put(&mut raw, &handle, changed).await {
            check(&status, seed, &format!("values {round}"));
        }
    }
    put(&mut raw, &handle, valid).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn compressed_values_are_refused() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut raw = FlightServiceClient::new(server.channel().await);
    let handle = create(&mut raw, SQL).await.prepared_statement_handle;
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME));
    let refused = put(&mut raw, &handle, frames(options.unwrap()).await)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(refused.message().contains("compressed"), "{refused:?}");
    server.stop().await;
}

#[tokio::test]
async fn values_that_grow_once_they_are_decoded_are_refused() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut raw = FlightServiceClient::new(server.channel().await);
    let sql = "SELECT count(*) FROM gold.ohlcv_1m WHERE symbol = ?";
    let handle = create(&mut raw, sql).await.prepared_statement_handle;
    let valid = words(vec![(vec!["a".into()], 1)]).await;
    let mut metadata = valid.clone();
    metadata.extend((0..40).map(|_| FlightData {
        app_metadata: vec![0; 1 << 20].into(),
        ..Default::default()
    }));
    // What the buffers of a column say together is more than there is, as where they lie over one another.
    let mut over_one_another = words(vec![(vec!["a".into()], 50)]).await;
    let body = &mut over_one_another.last_mut().unwrap().data_body;
    *body = body.slice(..8);
    let repeated = words(vec![(vec!["x".repeat(1 << 20)], 100)]).await;
    let growing = words(vec![(vec!["a".into()], 1), (vec!["a".into(), "b".into()], 2)]).await;
    for (frames, told) in [
        (metadata, "bind fewer"),
        (over_one_another, "buffers of"),
        (repeated, "bind fewer"),
        (growing, "dictionaries that grow"),
    ] {
        let refused = put(&mut raw, &handle, frames).await.expect_err(told);
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains(told), "{told}: {refused:?}");
    }
    put(&mut raw, &handle, valid).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn values_that_do_not_come_are_waited_for_within_bounds() {
    let lake = TestLake::with_bars(3).await;
    let options = ServerOptions {
        reader_timeout: Duration::from_secs(1),
        ..Default::default()
    };
    let server = lake.serve(options).await;
    let mut raw = FlightServiceClient::new(server.channel().await);
    let sql = "SELECT count(*) FROM gold.ohlcv_1m WHERE symbol = ?";
    let handle = create(&mut raw, sql).await.prepared_statement_handle;
    let valid = words(vec![(vec!["a".into()], 1)]).await;
    let mut schema = valid[0].clone();
    schema.flight_descriptor = Some(FlightDescriptor::new_cmd(of_handle(handle.to_vec())));
    // More than are received at once.
    let calls = (0..12).map(|_| {
        let (mut raw, schema) = (raw.clone(), schema.clone());
        async move { raw.do_put(stream::iter([schema]).chain(stream::pending())).await }
    });
    let calls = futures::future::join_all(calls);
    for answer in tokio::time::timeout(Duration::from_secs(20), calls)
        .await
        .expect("an end")
    {
        let refused = answer.map(drop).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        assert!(refused.message().contains("within 1 s"), "{refused:?}");
    }
    put(&mut raw, &handle, valid).await.unwrap();
    server.stop().await;
}

/// A batch for each dictionary, of as many rows as it says; a dictionary that goes on where the last one ended is sent as what is new in it.
async fn words(dictionaries: Vec<(Vec<String>, usize)>) -> Vec<FlightData> {
    let batches = dictionaries.into_iter().map(|(words, rows)| {
        let keys: Int8Array = (0..rows).map(|row| Some((row % words.len()) as i8)).collect();
        let column = DictionaryArray::new(keys, Arc::new(StringArray::from(words)));
        Ok(RecordBatch::try_from_iter([("0", Arc::new(column) as ArrayRef)]).unwrap())
    });
    let options = IpcWriteOptions::default().with_dictionary_handling(ipc::DictionaryHandling::Delta);
    let encoder = FlightDataEncoderBuilder::new()
        .with_options(options)
        .with_dictionary_handling(DictionaryHandling::Resend);
    let encoded = encoder.build(futures::stream::iter(batches));
    encoded.try_collect().await.unwrap()
}

#[tokio::test]
async fn mutated_actions_and_cookies_are_refused() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut raw = FlightServiceClient::new(server.channel().await);
    let options = b"\x0a\x12\x0a\x06schema\x12\x08\x0a\x06silver".to_vec();
    let info = describe(&mut server.client().await, "SELECT 1").await.unwrap();
    let cancel = arrow_flight::CancelFlightInfoRequest { info: Some(info) }.encode_to_vec();
    let create = ActionCreatePreparedStatementRequest {
        query: "SELECT ?".into(),
        transaction_id: None,
    };
    let create = create.as_any().encode_to_vec();
    let cookie = b"arrow_flight_session_id=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_vec();
    let (seed, mut random) = random();
    for round in 0..ROUNDS {
        let (name, body) = [
            ("SetSessionOptions", &options),
            ("CancelFlightInfo", &cancel),
            ("CreatePreparedStatement", &create),
            ("ticklake.CancelQuery", &cancel),
        ][round % 4];
        let mut request = tonic::Request::new(Action {
            r#type: name.into(),
            body: mutated(body, &mut random).into(),
        });
        let sent = mutated(&cookie, &mut random);
        if let Ok(text) = String::from_utf8(sent)
            && let Ok(value) = text.parse()
        {
            request.metadata_mut().insert("cookie", value);
        }
        if let Err(status) = raw.do_action(request).await {
            check(&status, seed, &format!("{name} {round}"));
        }
    }
    server.stop().await;
}
