//! TLS from files that may change while the server runs: certificate, key, and the authority of client certificates.
//!
//! A file that does not read keeps what was there; at the start it is an error, for a server that was told to encrypt never serves plain
//! text.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::followed::{Alarm, Files};

/// PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Whoever shows a certificate of this authority is the user that it names.
    pub client_ca: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub struct Tls {
    shared: Arc<Shared>,
    /// What it offers to speak (ALPN).
    protocol: &'static [u8],
}

pub const HTTP_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";

#[derive(Debug)]
struct Shared {
    files: TlsFiles,
    followed: Files,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    pub fn load(files: TlsFiles) -> Result<Self> {
        let paths = [&files.certificate, &files.key].into_iter().chain(&files.client_ca);
        let followed = Files::new(paths.cloned().collect());
        let config = RwLock::new(Arc::new(read(&files)?));
        Ok(Self {
            shared: Arc::new(Shared {
                files,
                followed,
                config,
            }),
            protocol: HTTP_2,
        })
    }

    pub fn speaking(&self, protocol: &'static [u8]) -> Self {
        Self {
            protocol,
            ..self.clone()
        }
    }

    /// What the next handshake uses.
    pub fn config(&self) -> Arc<ServerConfig> {
        let config = self
            .shared
            .config
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut config = config.as_ref().clone();
        config.alpn_protocols = vec![self.protocol.to_vec()];
        Arc::new(config)
    }

    /// Follows the files until `stop`.
    pub async fn follow(self, alarm: Alarm, stop: CancellationToken) {
        let shared = self.shared;
        let read = || {
            let config = Arc::new(read(&shared.files)?);
            *shared.config.write().unwrap_or_else(PoisonError::into_inner) = config;
            Ok(())
        };
        shared.followed.clone().follow(alarm, stop, read).await;
    }
}

fn read(files: &TlsFiles) -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| unreadable(&files.key, &e))?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Internal(e.to_string()))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| unreadable(path, &e))?;
            }
            // Without a certificate a client logs in as ever.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|e| unreadable(path, &e))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder.with_single_cert(chain, key).map_err(|e| {
        Error::Config(format!(
            "certificate {} and key {}: {e}",
            files.certificate.display(),
            files.key.display()
        ))
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| unreadable(path, &e))?;
    if all.is_empty() {
        return Err(Error::Config(format!(
            "{} holds no certificate; give a PEM file",
            path.display()
        )));
    }
    Ok(all)
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Config(format!(
        "cannot use {} for TLS: {error}; give a PEM file",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let files = TlsFiles {
            certificate: write("cert.pem", &made.cert.pem()),
            key: write("key.pem", &made.signing_key.serialize_pem()),
            client_ca: None,
        };
        Tls::load(files.clone()).unwrap();
        for (files, name) in [
            (
                TlsFiles {
                    certificate: dir.path().join("none.pem"),
                    ..files.clone()
                },
                "none.pem",
            ),
            (
                TlsFiles {
                    key: write("empty.pem", ""),
                    ..files.clone()
                },
                "empty.pem",
            ),
            (
                TlsFiles {
                    client_ca: Some(write("ca.pem", "no certificate")),
                    ..files.clone()
                },
                "ca.pem",
            ),
            (
                TlsFiles {
                    key: write("other.pem", &rcgen::KeyPair::generate().unwrap().serialize_pem()),
                    ..files
                },
                "other.pem",
            ),
        ] {
            let refused = Tls::load(files).unwrap_err().to_string();
            assert!(refused.contains(name), "{refused}");
        }
    }
}
