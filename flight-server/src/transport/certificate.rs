//! The names in a client's certificate: its subject alternative names, then its common name.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::{Any, Decode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Names that may be a user's, in the order in which they are tried. The certificate has been verified.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    if let Ok(Some((_critical, alternative))) = parsed.tbs_certificate.get::<SubjectAltName>() {
        names.extend(alternative.0.iter().filter_map(|name| match name {
            GeneralName::DnsName(text) | GeneralName::Rfc822Name(text) => Some(text.to_string()),
            _ => None,
        }));
    }
    let parts = parsed.tbs_certificate.subject.0.iter().flat_map(|part| part.0.iter());
    names.extend(
        parts
            .filter(|part| part.oid == COMMON_NAME)
            .filter_map(|part| text(&part.value)),
    );
    names
}

fn text(value: &Any) -> Option<String> {
    let utf8 = value.decode_as::<Utf8StringRef<'_>>().map(|text| text.to_string());
    utf8.or_else(|_| value.decode_as::<PrintableStringRef<'_>>().map(|text| text.to_string()))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternative_names_come_before_the_common_name() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["alice".to_owned()]).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Alice of Accounts");
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(names(certificate.der()), ["alice", "Alice of Accounts"]);
        assert!(names(&CertificateDer::from(vec![1, 2, 3])).is_empty());
    }
}
