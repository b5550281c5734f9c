//! The session travels in a signed cookie, so any replica knows it and none keeps it.
//!
//! Every reply to a client that sent none offers an empty one: what comes back says whether the client keeps cookies, before
//! it asks for something to be kept. Whose first call on its connection asks for that has been offered none and is believed.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

use crate::error::{Error, Result};

/// The name that Flight.proto gives it.
const NAME: &str = "arrow_flight_session_id";
const EMPTY: &str = "none";
const OFFER: &str = "arrow_flight_session_id=none";

/// What the client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// It has not shown that it keeps cookies.
    Nothing,
    Empty,
    Session(Vec<u8>),
}

pub fn is_sent(headers: &HeaderMap) -> bool {
    headers
        .get_all(COOKIE)
        .iter()
        .any(|value| find(value.as_bytes()).is_some())
}

/// A reply may set one by itself, and the last one counts.
pub fn is_set(headers: &HeaderMap) -> bool {
    headers
        .get_all(SET_COOKIE)
        .iter()
        .any(|value| find(value.as_bytes()).is_some())
}

pub fn offer(headers: &mut HeaderMap) {
    headers.append(SET_COOKIE, HeaderValue::from_static(OFFER));
}

pub fn read(headers: &MetadataMap) -> Result<Sent> {
    let all = headers.get_all(COOKIE.as_str());
    let Some(value) = all
        .iter()
        .find_map(|value| find(value.as_encoded_bytes()).map(<[u8]>::to_vec))
    else {
        return Ok(Sent::Nothing);
    };
    if value == EMPTY.as_bytes() {
        return Ok(Sent::Empty);
    }
    let token = BASE64_URL_SAFE_NO_PAD.decode(&value);
    token
        .map(Sent::Session)
        .map_err(|_| Error::Ticket("the session cookie is not one of this server's; connect again".into()))
}

/// The `set-cookie` of a session; of the empty one without a token.
pub fn set(token: Option<&[u8]>) -> Result<AsciiMetadataValue> {
    let value = token.map_or(EMPTY.to_owned(), |token| BASE64_URL_SAFE_NO_PAD.encode(token));
    format!("{NAME}={value}")
        .parse()
        .map_err(|_| Error::Internal("the session is no cookie".into()))
}

/// The value in `a=1; arrow_flight_session_id=VALUE; b=2`, with or without quotes.
fn find(header: &[u8]) -> Option<&[u8]> {
    header.split(|b| *b == b';').find_map(|pair| {
        let value = pair
            .trim_ascii()
            .strip_prefix(NAME.as_bytes())?
            .trim_ascii_start()
            .strip_prefix(b"=")?;
        let value = value.trim_ascii();
        Some(
            value
                .strip_prefix(b"\"")
                .and_then(|v| v.strip_suffix(b"\""))
                .unwrap_or(value),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(cookie: &str) -> Result<Sent> {
        let mut headers = MetadataMap::new();
        headers.insert("cookie", cookie.parse().unwrap());
        read(&headers)
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let token = b"signed".to_vec();
        let pair = set(Some(&token)).unwrap().to_str().unwrap().to_owned();
        assert_eq!(sent(&format!("a=1; {pair};b=2")).unwrap(), Sent::Session(token.clone()));
        let (name, value) = pair.split_once('=').unwrap();
        assert_eq!(sent(&format!("{name}=\"{value}\"")).unwrap(), Sent::Session(token));
        assert_eq!(sent(OFFER).unwrap(), Sent::Empty);
        assert_eq!(sent("a=1").unwrap(), Sent::Nothing);
        assert_eq!(read(&MetadataMap::new()).unwrap(), Sent::Nothing);
        assert!(sent("arrow_flight_session_id=!!").is_err());
    }
}
