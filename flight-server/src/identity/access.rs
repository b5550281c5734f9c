//! A caller that has been identified.

use std::sync::Arc;

use crate::error::{Error, Result};

/// The only user there is without a users file.
pub const ANONYMOUS: &str = "anonymous";

/// What a caller may do, as the users file says at the moment of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: Arc<str>,
    pub admin: bool,
    /// Schemas that may be read; None: all.
    pub schemas: Option<Arc<[String]>>,
    /// Bearers of an older generation are void.
    pub generation: u32,
}

/// By what a caller was let in, and until when that holds. A bearer that is given for it stands on the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub ground: Ground,
    /// Microseconds since the epoch; None: no end of its own.
    pub until_us: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ground {
    /// A password, or none where nobody has to log in.
    Password,
    /// The API token with this id.
    Token(String),
    /// The connection's certificate.
    Certificate,
}

impl Standing {
    pub fn on(ground: Ground) -> Self {
        Self { ground, until_us: None }
    }
}

/// A caller who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    pub identity: Identity,
    pub standing: Standing,
}

impl Identity {
    pub fn anonymous() -> Self {
        Self {
            user: ANONYMOUS.into(),
            admin: false,
            schemas: None,
            generation: 0,
        }
    }

    pub fn may_read(&self, schema: &str) -> bool {
        self.schemas
            .as_ref()
            .is_none_or(|allowed| allowed.iter().any(|s| s == schema))
    }

    pub fn check_schema(&self, schema: &str) -> Result<()> {
        if self.may_read(schema) {
            return Ok(());
        }
        Err(Error::Denied(format!(
            "user {} may not read schema {schema}; ask whoever keeps the users file",
            self.user
        )))
    }
}
