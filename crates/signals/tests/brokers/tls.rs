//! What makes a configuration of TLS, and what does not.

use tidegate_signals::tls::{Error, Tls, client_config, server_name};
use tidegate_testkit::brokers::Certificates;

fn refused(tls: &Tls) -> Error {
    client_config(tls).expect_err("it cannot be used")
}

#[test]
fn authority_certificate_and_key_are_read_and_a_password_opens_the_key() {
    let own = Certificates::new();
    let mut tls = Tls {
        ca_pem: Some(own.ca_pem.clone()),
        cert_pem: Some(own.cert_pem.clone()),
        key_pem: Some(own.key_pem.clone()),
        ..Tls::default()
    };
    assert!(client_config(&tls).is_ok());
    tls.key_pem = Some(own.encrypted_key_pem("secret"));
    assert_eq!(refused(&tls), Error::NoPassword);
    tls.key_password = Some("wrong".to_owned());
    assert!(matches!(refused(&tls), Error::Password { .. }));
    tls.key_password = Some("secret".to_owned());
    assert!(client_config(&tls).is_ok());
    tls.cert_pem = None;
    assert_eq!(refused(&tls), Error::Half { missing: "cert" });
}

#[test]
fn a_text_that_is_no_certificate_is_refused_by_its_name() {
    let tls = Tls { ca_pem: Some("not PEM".to_owned()), ..Tls::default() };
    assert!(matches!(refused(&tls), Error::Certificate { what: "ca", .. }));
    let unsafe_one = Tls { ca_pem: Some("  ".to_owned()), insecure: true, ..Tls::default() };
    assert!(client_config(&unsafe_one).is_ok(), "blanks are no authority");
}

#[test]
fn the_key_and_its_password_are_never_shown() {
    let tls = Tls {
        key_pem: Some("hunter2".to_owned()),
        key_password: Some("hunter2".to_owned()),
        ..Tls::default()
    };
    assert!(!format!("{tls:?}").contains("hunter2"));
}

#[test]
fn names_and_addresses_are_checked_against_certificates() {
    for host in ["rabbit.example", "127.0.0.1", "::1", "[::1]"] {
        assert!(server_name(host).is_ok(), "{host}");
    }
    assert!(server_name("not a host").is_err());
}
