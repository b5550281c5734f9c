//! Who calls, and how they want their answer: read from a request's headers, the same for every RPC.

use std::net::SocketAddr;
use std::time::Duration;

use tonic::Request;
use tonic::metadata::MetadataMap;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::identity::{Identity, Peer};
use crate::profile::Profile;
use crate::session::{self, Session};

/// Of the user agent, in the log.
const MAX_AGENT_CHARS: usize = 100;

#[derive(Debug, Clone)]
pub struct Caller {
    pub identity: Identity,
    /// The connection's other end.
    pub peer: Option<SocketAddr>,
    /// What the client calls itself.
    pub agent: String,
    pub session: Session,
    pub profile: Profile,
    /// The client's own deadline, which tonic applies to the response but not to its stream.
    pub timeout: Option<Duration>,
}

impl Caller {
    pub fn of<T>(engine: &Engine, request: &Request<T>) -> Result<Self> {
        let headers = request.metadata();
        let identity = request.extensions().get::<Identity>().cloned();
        let identity = identity.ok_or_else(|| Error::Unauthenticated("log in first".into()))?;
        let session = session::of_call(engine, headers, &identity.user)?;
        let agent = headers.get("user-agent").and_then(|value| value.to_str().ok());
        Ok(Self {
            peer: request.extensions().get::<Peer>().and_then(|peer| peer.addr),
            agent: agent.unwrap_or_default().chars().take(MAX_AGENT_CHARS).collect(),
            profile: Profile::of_call(headers, &session)?,
            timeout: timeout(headers),
            session,
            identity,
        })
    }

    pub fn user(&self) -> String {
        self.identity.user.to_string()
    }
}

/// `grpc-timeout`: digits and a unit (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
fn timeout(headers: &MetadataMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(n.saturating_mul(3_600))),
        "M" => Some(Duration::from_secs(n.saturating_mul(60))),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read() {
        let check = |text: &str, expected| {
            let mut headers = MetadataMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(timeout(&headers), expected, "{text}");
        };
        check("5S", Some(Duration::from_secs(5)));
        check("250m", Some(Duration::from_millis(250)));
        check("2H", Some(Duration::from_secs(7_200)));
        check("S", None);
        check("5x", None);
    }
}
