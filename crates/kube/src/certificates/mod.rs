//! A CA of our own and a certificate by it: made, and made anew in time. No I/O; the day is an argument.
//!
//! The CA is renewed when a third of its life is left, and the old one stays in the bundle beside it, so that a
//! certificate of the old one is trusted until it is renewed itself. That is at the latest 60 days later, and the old CA
//! has 240 days left then. The two are never renewed at once: no moment has a certificate that nobody trusts yet.

pub(crate) mod secret;

use std::sync::Arc;

use jiff::civil::Date;
use jiff::{Span, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Days that a CA and a certificate live, and with how many left they are renewed.
const CA_DAYS: i32 = 720;
const CA_LEFT_DAYS: i32 = 240;
const CERT_DAYS: i32 = 90;
const CERT_LEFT_DAYS: i32 = 30;

/// What cannot be made or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}; check the names it is for")]
    Make(String),
    /// What the Secret holds is no certificate and key.
    #[error("what the Secret holds cannot be served: {0}; delete it, and it is made anew")]
    Serve(String),
}

/// What the Secret holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// The CA, and after it the one before.
    pub(crate) ca: String,
    pub(crate) ca_key: String,
    pub(crate) cert: String,
    pub(crate) key: String,
    /// Until when the CA and the certificate live.
    pub(crate) ca_until: Date,
    pub(crate) cert_until: Date,
    /// The names the certificate is for, with commas.
    pub(crate) names: String,
}

/// The bundle that should be there instead of `known`; `None` where that will do.
pub(crate) fn renew(known: Option<&Bundle>, names: &[String], today: Date) -> Result<Option<Bundle>, Error> {
    let listed = names.join(",");
    let Some(known) = known else {
        let (ca, ca_key, ca_until) = authority(today)?;
        let (cert, key, cert_until) = certificate(&ca_key, names, today)?;
        return Ok(Some(Bundle { ca, ca_key, cert, key, ca_until, cert_until, names: listed }));
    };
    let due = |until: Date, left: i32| today.checked_add(days(left)).is_ok_and(|soon| soon >= until);
    if due(known.cert_until, CERT_LEFT_DAYS) || known.names != listed {
        let (cert, key, cert_until) = certificate(&known.ca_key, names, today)?;
        return Ok(Some(Bundle { cert, key, cert_until, names: listed, ..known.clone() }));
    }
    if due(known.ca_until, CA_LEFT_DAYS) {
        let (ca, ca_key, ca_until) = authority(today)?;
        let before = known.ca.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap_or_default();
        return Ok(Some(Bundle { ca: format!("{ca}{before}"), ca_key, ca_until, ..known.clone() }));
    }
    Ok(None)
}

fn days(days: i32) -> Span {
    days.days()
}

fn of_authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "tidegate CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn lives(params: &mut CertificateParams, today: Date, for_days: i32) -> Result<Date, Error> {
    let moved = |by: Span| today.checked_add(by).map_err(|error| Error::Make(error.to_string()));
    let written = |date: Date| {
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    // From yesterday: an API server's clock may be behind ours.
    let (from, until) = (moved(days(-1))?, moved(days(for_days))?);
    (params.not_before, params.not_after) = (written(from), written(until));
    Ok(until)
}

fn authority(today: Date) -> Result<(String, String, Date), Error> {
    let mut params = of_authority();
    let until = lives(&mut params, today, CA_DAYS)?;
    let key = KeyPair::generate().map_err(|error| make(&error))?;
    let cert = params.self_signed(&key).map_err(|error| make(&error))?;
    Ok((cert.pem(), key.serialize_pem(), until))
}

fn certificate(ca_key: &str, names: &[String], today: Date) -> Result<(String, String, Date), Error> {
    let ca_key = KeyPair::from_pem(ca_key).map_err(|error| make(&error))?;
    // Of the CA only its name and its key's identifier stand in what it signs, and both are known.
    let issuer = Issuer::new(of_authority(), ca_key);
    let mut params = CertificateParams::new(names.to_vec()).map_err(|error| make(&error))?;
    params.distinguished_name.push(DnType::CommonName, "tidegate");
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let until = lives(&mut params, today, CERT_DAYS)?;
    let key = KeyPair::generate().map_err(|error| make(&error))?;
    let cert = params.signed_by(&key, &issuer).map_err(|error| make(&error))?;
    Ok((cert.pem(), key.serialize_pem(), until))
}

fn make(error: &rcgen::Error) -> Error {
    Error::Make(error.to_string())
}

/// What a server with this bundle speaks.
pub(crate) fn server(bundle: &Bundle) -> Result<Arc<ServerConfig>, Error> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle.cert.as_bytes()).collect();
    let chain = chain.map_err(|error| Error::Serve(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(bundle.key.as_bytes());
    let key = key.map_err(|error| Error::Serve(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| Error::Serve(error.to_string()))?.with_no_client_auth();
    let config = config.with_single_cert(chain, key).map_err(|error| Error::Serve(error.to_string()))?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{CertificateError, RootCertStore};

    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn names() -> Vec<String> {
        vec!["tidegate.tidegate.svc".to_owned(), "127.0.0.1".to_owned()]
    }

    /// What a client that trusts `ca` makes of the bundle's certificate on a day.
    fn verify(bundle: &Bundle, ca: &str, name: &str, today: Date) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let cert = CertificateDer::from_pem_slice(bundle.cert.as_bytes()).unwrap();
        let at = today.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.as_second().unsigned_abs()));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(&cert, &[], &name, &[], at).map(drop)
    }

    #[test]
    fn what_is_made_is_trusted_by_who_trusts_the_ca_under_each_of_its_names() {
        let today = day("2026-03-01");
        let bundle = renew(None, &names(), today).unwrap().unwrap();
        for name in names() {
            verify(&bundle, &bundle.ca, &name, today).unwrap();
        }
        assert!(verify(&bundle, &bundle.ca, "elsewhere.svc", today).is_err());
        let other = renew(None, &names(), today).unwrap().unwrap();
        assert!(verify(&bundle, &other.ca, "127.0.0.1", today).is_err());
        let late = verify(&bundle, &bundle.ca, "127.0.0.1", day("2026-06-01"));
        assert!(matches!(
            late,
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))
        ));
        server(&bundle).unwrap();
    }

    #[test]
    fn over_ten_years_there_is_no_day_without_a_certificate_that_is_trusted() {
        let mut today = day("2026-03-01");
        let mut bundle = renew(None, &names(), today).unwrap().unwrap();
        let (mut made, mut trusted) = (0, bundle.ca.clone());
        while today < day("2036-03-01") {
            if let Some(new) = renew(Some(&bundle), &names(), today).unwrap() {
                // Who has not heard of the new bundle yet trusts what is served all the same.
                verify(&new, &trusted, "127.0.0.1", today).unwrap();
                made += usize::from(new.ca != bundle.ca);
                bundle = new;
                trusted.clone_from(&bundle.ca);
            }
            verify(&bundle, &bundle.ca, "127.0.0.1", today).unwrap();
            today = today.checked_add(5.days()).unwrap();
        }
        assert_eq!(made, 7, "a CA every 480 days");
        assert!(bundle.ca.matches("BEGIN CERTIFICATE").count() <= 2);
    }

    #[test]
    fn a_new_name_is_a_new_certificate_and_the_same_names_none() {
        let today = day("2026-03-01");
        let bundle = renew(None, &names(), today).unwrap().unwrap();
        assert_eq!(renew(Some(&bundle), &names(), today).unwrap(), None);
        let more = [names(), vec!["else.svc".to_owned()]].concat();
        let new = renew(Some(&bundle), &more, today).unwrap().unwrap();
        verify(&new, &bundle.ca, "else.svc", today).unwrap();
        assert_eq!(new.ca_key, bundle.ca_key);
    }
}
