//! Sessions: which schema is the default, which time zone, profile and timeout hold, until the client says otherwise.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_flight::Action;
use datafusion::arrow::array::timezone::Tz;
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response};

use crate::caller::Caller;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::identity::Peer;
use crate::profile;
use crate::schemas::{CATALOG, DEFAULT_SCHEMA, SCHEMAS};
use crate::service::{Boxed, Service};
use crate::session_cookie::{self, Sent};
use crate::session_messages::{
    CloseSessionResult, ErrorValue, GetSessionOptionsResult, OptionValue, SessionOptionError, SessionOptionValue,
    SetSessionOptionsRequest, SetSessionOptionsResult,
};
use crate::ticket::{Claims, Kind};

pub const UTC: &str = "UTC";

/// What a client has set; empty and zero: the default. Part of every handle and ticket.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Session {
    #[prost(string, tag = "1")]
    pub schema: String,
    #[prost(string, tag = "2")]
    pub time_zone: String,
    /// As in the header `x-ticklake-types`.
    #[prost(string, tag = "3")]
    pub types: String,
    /// As in the header `x-ticklake-timestamp`.
    #[prost(string, tag = "4")]
    pub timestamp: String,
    #[prost(uint64, tag = "5")]
    pub timeout_ms: u64,
}

impl Session {
    pub fn schema(&self) -> &str {
        if self.schema.is_empty() {
            DEFAULT_SCHEMA
        } else {
            &self.schema
        }
    }

    pub fn time_zone(&self) -> &str {
        if self.time_zone.is_empty() {
            UTC
        } else {
            &self.time_zone
        }
    }

    pub fn timeout(&self) -> Option<Duration> {
        (self.timeout_ms > 0).then(|| Duration::from_millis(self.timeout_ms))
    }

    /// What changes plans, apart from what changes only how rows are sent.
    pub fn scope(&self) -> (&str, &str) {
        (self.schema(), self.time_zone())
    }

    fn set(&mut self, name: &str, value: Option<&OptionValue>) -> Result<(), ErrorValue> {
        let text = match value {
            None => "",
            Some(OptionValue::String(text)) => text.as_str(),
            Some(OptionValue::Int64(ms)) if name == "timeout_ms" => {
                self.timeout_ms = u64::try_from(*ms).map_err(|_| ErrorValue::InvalidValue)?;
                return Ok(());
            }
            Some(_) => return Err(ErrorValue::InvalidValue),
        };
        let valid = match name {
            "catalog" => text.is_empty() || text == CATALOG,
            "schema" => text.is_empty() || SCHEMAS.contains(&text),
            "time_zone" => text.is_empty() || Tz::from_str(text).is_ok(),
            "types" => text.is_empty() || profile::parse_types(text).is_ok(),
            "timestamp" => text.is_empty() || profile::parse_timestamps(text).is_ok(),
            "timeout_ms" => text.is_empty() || text.parse::<u64>().is_ok(),
            _ => return Err(ErrorValue::InvalidName),
        };
        if !valid {
            return Err(ErrorValue::InvalidValue);
        }
        match name {
            "schema" => self.schema = text.to_owned(),
            "time_zone" => self.time_zone = text.to_owned(),
            "types" => self.types = text.to_owned(),
            "timestamp" => self.timestamp = text.to_owned(),
            "timeout_ms" => self.timeout_ms = text.parse().unwrap_or_default(),
            _ => {}
        }
        Ok(())
    }
}

/// The session that a call belongs to, which must be the caller's own.
pub fn of_call(engine: &Engine, headers: &MetadataMap, user: &str) -> Result<Session> {
    match session_cookie::read(headers)? {
        Sent::Nothing | Sent::Empty => Ok(Session::default()),
        Sent::Session(token) => {
            let claims = engine.signer.open(Kind::Session, &token, user);
            let claims = claims.map_err(|e| Error::Ticket(format!("the session cookie ({e}); connect again")))?;
            Ok(claims.session.unwrap_or_default())
        }
    }
}

/// The body of an action's answer, with the session that it leaves.
type Answer = Result<Response<Boxed<arrow_flight::Result>>>;

pub fn set_options(service: &Service, request: &Request<Action>) -> Answer {
    let caller = Caller::of(&service.engine, request)?;
    let body = SetSessionOptionsRequest::decode(request.get_ref().body.as_ref())
        .map_err(|e| Error::Request(format!("the action's body does not decode: {e}")))?;
    let (session, errors) = changed(&caller.session, &body);
    let peer = request.extensions().get::<Peer>();
    let offered = peer.is_none_or(|peer| peer.offered.load(Ordering::Relaxed));
    if session != caller.session && offered && session_cookie::read(request.metadata())? == Sent::Nothing {
        return Err(Error::Request(
            "session options are kept in a cookie, and this client sends none back; turn cookies on (ADBC: \
             adbc.flight.sql.rpc.with_cookie_middleware=true, JDBC: retainCookies=true) or use the headers \
             x-ticklake-types and x-ticklake-timestamp"
                .into(),
        ));
    }
    let claims = Claims {
        user: caller.identity.user.to_string(),
        session: Some(session),
        ..Default::default()
    };
    let engine = &service.engine;
    let token = engine
        .signer
        .seal(Kind::Session, claims, engine.options.bearer_lifetime);
    let mut response = crate::actions::reply(SetSessionOptionsResult { errors }.encode_to_vec());
    response
        .metadata_mut()
        .insert("set-cookie", session_cookie::set(Some(&token))?);
    Ok(response)
}

pub fn changed(before: &Session, request: &SetSessionOptionsRequest) -> (Session, HashMap<String, SessionOptionError>) {
    let mut session = before.clone();
    let mut errors = HashMap::new();
    for (name, value) in &request.session_options {
        if let Err(error) = session.set(name, value.option_value.as_ref()) {
            errors.insert(name.clone(), SessionOptionError { value: error as i32 });
        }
    }
    (session, errors)
}

pub fn get_options(service: &Service, request: &Request<Action>) -> Answer {
    let session = Caller::of(&service.engine, request)?.session;
    let text = |text: &str| SessionOptionValue {
        option_value: Some(OptionValue::String(text.to_owned())),
    };
    let mut session_options = HashMap::from([
        ("catalog".to_owned(), text(CATALOG)),
        ("schema".to_owned(), text(session.schema())),
        ("time_zone".to_owned(), text(session.time_zone())),
    ]);
    for (name, value) in [("types", &session.types), ("timestamp", &session.timestamp)] {
        if !value.is_empty() {
            session_options.insert(name.to_owned(), text(value));
        }
    }
    if let Ok(ms @ 1..) = i64::try_from(session.timeout_ms) {
        let value = SessionOptionValue {
            option_value: Some(OptionValue::Int64(ms)),
        };
        session_options.insert("timeout_ms".to_owned(), value);
    }
    Ok(crate::actions::reply(
        GetSessionOptionsResult { session_options }.encode_to_vec(),
    ))
}

pub fn close(service: &Service, request: &Request<Action>) -> Answer {
    Caller::of(&service.engine, request)?;
    let mut response = crate::actions::reply(CloseSessionResult { status: 1 }.encode_to_vec());
    response.metadata_mut().insert("set-cookie", session_cookie::set(None)?);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(options: &[(&str, Option<OptionValue>)]) -> SetSessionOptionsRequest {
        let options = options.iter().map(|(name, value)| {
            let value = SessionOptionValue {
                option_value: value.clone(),
            };
            ((*name).to_owned(), value)
        });
        let request = SetSessionOptionsRequest {
            session_options: options.collect(),
        };
        SetSessionOptionsRequest::decode(request.encode_to_vec().as_slice()).unwrap()
    }

    fn text(text: &str) -> Option<OptionValue> {
        Some(OptionValue::String(text.to_owned()))
    }

    #[test]
    fn options_outside_what_there_is_are_named() {
        let (session, errors) = changed(
            &Session::default(),
            &request(&[
                ("catalog", text(CATALOG)),
                ("schema", text("other")),
                ("time_zone", text("Mars/Olympus")),
                ("timeout_ms", Some(OptionValue::Int64(-1))),
                ("types", Some(OptionValue::Bool(true))),
                ("color", text("red")),
            ]),
        );
        assert_eq!(session, Session::default());
        assert_eq!(errors.len(), 5);
        assert_eq!(errors["schema"].value, ErrorValue::InvalidValue as i32);
        assert_eq!(errors["color"].value, ErrorValue::InvalidName as i32);
    }

    #[test]
    fn options_are_kept_and_reset() {
        let (session, errors) = changed(
            &Session::default(),
            &request(&[
                ("schema", text("silver")),
                ("time_zone", text("Europe/Berlin")),
                ("timeout_ms", Some(OptionValue::Int64(500))),
                ("types", text("grafana")),
            ]),
        );
        assert!(errors.is_empty());
        assert_eq!(session.scope(), ("silver", "Europe/Berlin"));
        assert_eq!(session.timeout(), Some(Duration::from_millis(500)));
        let (session, _) = changed(&session, &request(&[("schema", None), ("time_zone", text(""))]));
        assert_eq!(session.scope(), ("gold", "UTC"));
    }
}
