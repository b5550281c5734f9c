//! Output profile of a connection: which Arrow types a client can read, told by gRPC headers.
//!
//! `x-ticklake-types: strict|arrow|grafana`, `x-ticklake-timestamp: us|ns|naive`; clients that can only send a `database`
//! header append the same: `ticklake;types=grafana;timestamp=ns`.

use tonic::metadata::MetadataMap;

use crate::error::{Error, Result};
use crate::session::Session;

pub const TYPES_HEADER: &str = "x-ticklake-types";
pub const TIMESTAMP_HEADER: &str = "x-ticklake-timestamp";
pub const DATABASE_HEADER: &str = "database";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Types {
    /// No view, large, dictionary or run-end encoded types: what every client reads.
    #[default]
    Strict,
    /// Types as the engine has them: quickest, for clients with a complete Arrow library.
    Arrow,
    /// As strict, with decimals as doubles and dates as timestamps: what Grafana's Flight SQL clients draw.
    Grafana,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timestamps {
    /// Microseconds, time zone kept.
    Us,
    /// Nanoseconds, time zone kept.
    Ns,
    /// Microseconds without a time zone (UTC wall clock), for drivers that cannot read zoned timestamps.
    Naive,
    /// As the engine has them.
    Unchanged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Profile {
    pub types: Types,
    pub timestamps: Timestamps,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            types: Types::Strict,
            timestamps: Timestamps::Us,
        }
    }
}

impl Profile {
    /// Reads the headers of a call; headers of their own win over the suffix of `database`, and that over the session.
    pub fn of_call(headers: &MetadataMap, session: &Session) -> Result<Self> {
        let database = header(headers, DATABASE_HEADER)?.unwrap_or_default();
        let mut types = set(&session.types, parse_types)?;
        let mut timestamps = set(&session.timestamp, parse_timestamps)?;
        for part in database.split(';').skip(1) {
            match part.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("types", value)) => types = Some(parse_types(value)?),
                Some(("timestamp", value)) => timestamps = Some(parse_timestamps(value)?),
                _ => {
                    return Err(Error::Request(format!(
                        "database: unknown suffix {part:?}; use types= or timestamp="
                    )));
                }
            }
        }
        if let Some(value) = header(headers, TYPES_HEADER)? {
            types = Some(parse_types(value)?);
        }
        if let Some(value) = header(headers, TIMESTAMP_HEADER)? {
            timestamps = Some(parse_timestamps(value)?);
        }
        let types = types.unwrap_or_default();
        let timestamps = timestamps.unwrap_or(match types {
            Types::Strict => Timestamps::Us,
            Types::Grafana => Timestamps::Ns,
            Types::Arrow => Timestamps::Unchanged,
        });
        Ok(Self { types, timestamps })
    }

    /// As it stands in a ticket.
    pub fn to_code(self) -> u32 {
        self.types as u32 * 16 + self.timestamps as u32
    }

    pub fn from_code(code: u32) -> Result<Self> {
        let types = match code / 16 {
            0 => Types::Strict,
            1 => Types::Arrow,
            2 => Types::Grafana,
            _ => return Err(Error::Ticket("unknown output profile; run the query again".into())),
        };
        let timestamps = match code % 16 {
            0 => Timestamps::Us,
            1 => Timestamps::Ns,
            2 => Timestamps::Naive,
            3 => Timestamps::Unchanged,
            _ => return Err(Error::Ticket("unknown output profile; run the query again".into())),
        };
        Ok(Self { types, timestamps })
    }
}

fn set<T>(value: &str, parse: impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
    (!value.is_empty()).then(|| parse(value)).transpose()
}

fn header<'a>(headers: &'a MetadataMap, name: &str) -> Result<Option<&'a str>> {
    headers
        .get(name)
        .map(|v| {
            v.to_str()
                .map_err(|_| Error::Request(format!("header {name} is not text")))
        })
        .transpose()
}

pub fn parse_types(value: &str) -> Result<Types> {
    match value {
        "strict" => Ok(Types::Strict),
        "arrow" => Ok(Types::Arrow),
        "grafana" => Ok(Types::Grafana),
        _ => Err(Error::Request(format!(
            "{TYPES_HEADER}: unknown value {value:?}; use strict, arrow or grafana"
        ))),
    }
}

pub fn parse_timestamps(value: &str) -> Result<Timestamps> {
    match value {
        "us" => Ok(Timestamps::Us),
        "ns" => Ok(Timestamps::Ns),
        "naive" => Ok(Timestamps::Naive),
        _ => Err(Error::Request(format!(
            "{TIMESTAMP_HEADER}: unknown value {value:?}; use us, ns or naive"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(pairs: &[(&'static str, &str)]) -> Result<Profile> {
        let mut headers = MetadataMap::new();
        for (key, value) in pairs {
            headers.insert(*key, value.parse().unwrap());
        }
        Profile::of_call(&headers, &Session::default())
    }

    #[test]
    fn headers_choose_the_profile() {
        assert_eq!(profile(&[]).unwrap(), Profile::default());
        assert_eq!(
            profile(&[(TYPES_HEADER, "grafana")]).unwrap().timestamps,
            Timestamps::Ns
        );
        assert_eq!(
            profile(&[(TYPES_HEADER, "arrow")]).unwrap().timestamps,
            Timestamps::Unchanged
        );
        assert_eq!(
            profile(&[(TIMESTAMP_HEADER, "naive")]).unwrap().timestamps,
            Timestamps::Naive
        );
        let by_database = profile(&[(DATABASE_HEADER, "ticklake;types=grafana;timestamp=us")]).unwrap();
        assert_eq!(
            by_database,
            Profile {
                types: Types::Grafana,
                timestamps: Timestamps::Us
            }
        );
        assert!(
            profile(&[(TYPES_HEADER, "views")])
                .unwrap_err()
                .to_string()
                .contains("strict, arrow or grafana")
        );
        assert!(profile(&[(DATABASE_HEADER, "ticklake;type=grafana")]).is_err());
        assert_eq!(profile(&[(DATABASE_HEADER, "ticklake")]).unwrap(), Profile::default());
    }

    #[test]
    fn a_header_wins_over_the_session() {
        let session = Session {
            types: "grafana".into(),
            ..Default::default()
        };
        let mut headers = MetadataMap::new();
        assert_eq!(Profile::of_call(&headers, &session).unwrap().types, Types::Grafana);
        headers.insert(TYPES_HEADER, "strict".parse().unwrap());
        assert_eq!(Profile::of_call(&headers, &session).unwrap(), Profile::default());
    }

    #[test]
    fn codes_round_trip() {
        for types in [Types::Strict, Types::Arrow, Types::Grafana] {
            for timestamps in [Timestamps::Us, Timestamps::Ns, Timestamps::Naive, Timestamps::Unchanged] {
                let profile = Profile { types, timestamps };
                assert_eq!(Profile::from_code(profile.to_code()).unwrap(), profile);
            }
        }
        assert!(Profile::from_code(99).is_err());
    }
}
