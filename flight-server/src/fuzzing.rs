//! Doors for the fuzz targets of `fuzz/`: clients' bytes in, as the decoders get them. What breaks a promise panics.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arrow_flight::sql::{Any, Command};
use arrow_flight::{CancelFlightInfoRequest, FlightData};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use prost::Message;
use ticklake_sql::Clock;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

use crate::prepared::{check_size, decode_frames};
use crate::profile::Profile;
use crate::session::{Session, changed};
use crate::session_cookie::{self, Sent};
use crate::session_messages::SetSessionOptionsRequest;
use crate::ticket::{Claims, Kind, Signer};
use crate::{parameters, placeholders, values};

const KINDS: [Kind; 4] = [Kind::Ticket, Kind::Prepared, Kind::Bearer, Kind::Session];
const LIFETIME: Duration = Duration::from_secs(60);

/// What the last panic said, and where.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Remembers panics without a word: the server takes some of Arrow's for refusals. Before any input.
pub fn watch() {
    std::panic::set_hook(Box::new(|panic| {
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = format!("{panic}\n{}", Backtrace::capture());
    }));
}

/// Gives `bytes` to one of the doors below. A panic that nothing there catches has broken a promise: it is told, and ends the run.
pub fn hold(door: fn(&[u8]), bytes: &[u8]) {
    if catch_unwind(|| door(bytes)).is_err() {
        let last = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        let _nobody_reads = std::io::Write::write_all(&mut std::io::stderr(), last.as_bytes());
        std::process::abort();
    }
}

fn signer() -> Signer {
    Signer::new(vec![vec![7; 32]], Clock::system()).unwrap()
}

/// Bytes as a token, which nobody has signed; and as claims, which are what they were once they have been sealed and opened.
pub fn ticket(bytes: &[u8]) {
    let signer = signer();
    for kind in KINDS {
        assert!(signer.open_any(kind, bytes).is_err(), "a forged token");
    }
    let Ok(claims) = Claims::decode(bytes) else { return };
    let _refused = Profile::from_code(claims.profile);
    for kind in KINDS {
        let token = signer.seal(kind, claims.clone(), LIFETIME);
        let opened = signer.open(kind, &token, &claims.user).unwrap();
        assert_eq!(opened.sql, claims.sql);
        assert_eq!(opened.parameters, claims.parameters);
        assert_eq!(opened.versions, claims.versions);
        for other in KINDS.into_iter().filter(|other| *other != kind) {
            assert!(signer.open_any(other, &token).is_err(), "one kind taken for another");
        }
    }
}

/// Bytes as a command, or as the claims of a handle, and its statement. The values in it are the server's own, under its signature: Arrow's
/// reader takes the lengths in them at their word, and may.
pub fn handle(bytes: &[u8]) {
    if let Ok(any) = Any::decode(bytes) {
        let _unknown = Command::try_from(any);
    }
    let Ok(claims) = Claims::decode(bytes) else { return };
    if let Ok(numbered) = placeholders::number(&claims.sql) {
        // What has been numbered is numbered.
        let again = placeholders::number(&numbered.sql).unwrap();
        assert_eq!((again.sql, again.parameters), (numbered.sql, numbered.parameters));
    }
}

/// Bytes as a cookie, as the body of SetSessionOptions and as that of CancelFlightInfo.
pub fn session(bytes: &[u8]) {
    if let Ok(cookie) = AsciiMetadataValue::try_from(bytes) {
        let mut headers = MetadataMap::new();
        headers.insert("cookie", cookie);
        if let Ok(Sent::Session(token)) = session_cookie::read(&headers) {
            assert!(signer().open_any(Kind::Session, &token).is_err(), "a forged session");
            let set = session_cookie::set(Some(&token)).unwrap();
            headers.insert("cookie", set);
            assert_eq!(session_cookie::read(&headers).unwrap(), Sent::Session(token));
        }
    }
    let _undecodable = CancelFlightInfoRequest::decode(bytes);
    let Ok(request) = SetSessionOptionsRequest::decode(bytes) else {
        return;
    };
    let (session, errors) = changed(&Session::default(), &request);
    assert!(errors.len() <= request.session_options.len());
    assert!(session.timeout().is_none_or(|timeout| !timeout.is_zero()));
    let (again, _) = changed(&session, &SetSessionOptionsRequest::default());
    assert_eq!(again, session);
}

/// Bytes as the frames of a DoPut (each after its length in two bytes, header before body), and their rows as values of a statement.
pub fn parameters(bytes: &[u8]) {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while let Some((header, after)) = part(rest) {
        let Some((body, after)) = part(after) else { break };
        rest = after;
        let frame = FlightData {
            data_header: header.to_vec().into(),
            data_body: body.to_vec().into(),
            ..Default::default()
        };
        if check_size(&frame).is_err() {
            return;
        }
        frames.push(Ok(frame));
    }
    // The server decodes in a task of its own, which takes the blame for what Arrow panics over.
    let decoded = catch_unwind(AssertUnwindSafe(|| futures::executor::block_on(decode_frames(frames))));
    let Ok(Ok(batches)) = decoded else { return };
    let count = batches.first().map_or(0, |batch| batch.num_columns());
    values_of(&batches, count);
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
}

fn values_of(batches: &[datafusion::arrow::array::RecordBatch], count: usize) {
    let Ok(rows) = values::rows(batches, count) else {
        return;
    };
    let expected = [
        Some(DataType::Utf8),
        Some(DataType::Int64),
        Some(DataType::Decimal128(28, 12)),
        Some(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        Some(DataType::Date32),
        Some(DataType::Boolean),
        None,
    ];
    for row in rows.iter().take(16) {
        assert_eq!(row.len(), count);
        for first in 0..expected.len() {
            let types: Vec<_> = expected.iter().cycle().skip(first).take(count).cloned().collect();
            if let Ok(fitted) = parameters::fit(row, &types) {
                assert_eq!(fitted.len(), count);
            }
        }
    }
    let _too_many = parameters::encode(batches);
}
