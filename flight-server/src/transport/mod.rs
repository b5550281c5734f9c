//! Connections of every face: one acceptor, plain or TLS, that knows who is at the other end.
//!
//! Reading order: `tls` loads and follows the certificate files, `certificate` names the user of a client's, `acceptor` hands
//! connections to a server.

mod certificate;

mod tls;

mod acceptor;

pub use acceptor::{Connection, ConnectionLimits, Opening, accept};
pub use tls::{HTTP_1, Tls, TlsFiles};
