//! TLS as a client, the same for every source: whom to trust, who we are, and what a connection is.
//!
//! A trigger that names an authority trusts that one alone. One that names none trusts what the machine
//! trusts, read once in the life of the process: the list has 140 certificates and takes milliseconds.

use std::fmt;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs8::EncryptedPrivateKeyInfo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Certificates read from one text at the most: a bundle of every public authority has 150.
pub const CERTIFICATES_MAX: usize = 1_000;

/// Why there is no TLS. Nothing here is helped by asking again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A certificate that cannot be read.
    #[error("{what} holds no certificate in PEM: {reason}; it begins with -----BEGIN CERTIFICATE-----")]
    Certificate {
        /// `ca` or `cert`.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A key that cannot be read.
    #[error("key holds no private key in PEM that can be used: {reason}")]
    Key {
        /// What is wrong with it.
        reason: String,
    },
    /// A key under a password that was not given.
    #[error("key is encrypted: provide keyPassword")]
    NoPassword,
    /// A key under a password, in a form that is not read.
    #[error(
        "key is encrypted in OpenSSL's older form, which is not read; write it anew: openssl pkey -in KEY -aes256 -out NEW"
    )]
    OldEncryption,
    /// The password does not open the key.
    #[error("keyPassword does not open key: {reason}")]
    Password {
        /// What is wrong.
        reason: String,
    },
    /// One of certificate and key without the other.
    #[error("{missing} is missing: a client certificate needs both cert and key")]
    Half {
        /// The one that is not there.
        missing: &'static str,
    },
    /// Nobody is trusted.
    #[error("this machine trusts no authority ({reason}); install ca-certificates, or give the trigger a ca")]
    NoAuthorities {
        /// What the system said.
        reason: String,
    },
    /// A host that no certificate can name.
    #[error("{host} is neither a host name nor an IP address")]
    Host {
        /// As written.
        host: String,
    },
}

/// What a trigger says about TLS. Empty texts count as none.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The authorities to trust instead of the machine's, in PEM.
    pub ca_pem: Option<String>,
    /// Our certificate with its chain, in PEM.
    pub cert_pem: Option<String>,
    /// Its private key, in PEM: PKCS #8, PKCS #1 or SEC 1.
    pub key_pem: Option<String>,
    /// The key's password, where it is encrypted.
    pub key_password: Option<String>,
    /// `unsafeSsl`: whatever certificate the server shows will do.
    pub insecure: bool,
}

impl fmt::Debug for Tls {
    /// Without the key and its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca", &self.ca_pem.is_some())
            .field("cert", &self.cert_pem.is_some())
            .field("insecure", &self.insecure)
            .finish_non_exhaustive()
    }
}

/// A configuration for any number of connections.
///
/// # Errors
/// When a certificate or a key cannot be read, or nobody is trusted.
pub fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| Error::Key { reason: error.to_string() })?;
    let builder = if tls.insecure {
        let verifier = Arc::new(Anybody { provider });
        builder.dangerous().with_custom_certificate_verifier(verifier)
    } else {
        builder.with_root_certificates(authorities(given(&tls.ca_pem))?)
    };
    let config = match (given(&tls.cert_pem), given(&tls.key_pem)) {
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) => return Err(Error::Half { missing: "key" }),
        (None, Some(_)) => return Err(Error::Half { missing: "cert" }),
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(certificates("cert", cert)?, private_key(key, given(&tls.key_password))?)
            .map_err(|error| Error::Key { reason: error.to_string() })?,
    };
    Ok(Arc::new(config))
}

/// The name to check a server's certificate against: a host name or an IP address, without a port.
///
/// # Errors
/// When it is neither.
pub fn server_name(host: &str) -> Result<ServerName<'static>, Error> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).map_err(|_| Error::Host { host: host.to_owned() })
}

/// Talks TLS over a connection.
///
/// # Errors
/// What the handshake says.
pub async fn connect(
    config: &Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.trim().is_empty())
}

fn authorities(ca_pem: Option<&str>) -> Result<Arc<RootCertStore>, Error> {
    let Some(pem) = ca_pem else { return machine_authorities() };
    let mut store = RootCertStore::empty();
    for certificate in certificates("ca", pem)? {
        let added = store.add(certificate);
        added.map_err(|error| Error::Certificate { what: "ca", reason: error.to_string() })?;
    }
    Ok(Arc::new(store))
}

fn machine_authorities() -> Result<Arc<RootCertStore>, Error> {
    static MACHINE: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(store) = MACHINE.get() {
        return Ok(Arc::clone(store));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        // Not remembered: somebody may install them.
        let reason = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(Error::NoAuthorities { reason });
    }
    Ok(Arc::clone(MACHINE.get_or_init(|| Arc::new(store))))
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let wrong = |reason: String| Error::Certificate { what, reason };
    let read = CertificateDer::pem_slice_iter(pem.as_bytes()).take(CERTIFICATES_MAX + 1);
    let all = read.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(error.to_string()))?;
    match all.len() {
        0 => Err(wrong("no such section".to_owned())),
        1..=CERTIFICATES_MAX => Ok(all),
        _ => Err(wrong(format!("more than {CERTIFICATES_MAX} certificates"))),
    }
}

fn private_key(pem: &str, password: Option<&str>) -> Result<PrivateKeyDer<'static>, Error> {
    let wrong = |reason: String| Error::Key { reason };
    if pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(Error::OldEncryption);
    }
    if !pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| wrong(error.to_string()));
    }
    let password = password.ok_or(Error::NoPassword)?;
    let der = encrypted_section(pem).ok_or_else(|| wrong("its section is broken".to_owned()))?;
    let key = EncryptedPrivateKeyInfo::try_from(der.as_slice()).map_err(|error| wrong(error.to_string()))?;
    let opened = key.decrypt(password).map_err(|error| Error::Password { reason: error.to_string() })?;
    Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into())
}

/// The section that rustls leaves out: base64 between two lines.
fn encrypted_section(pem: &str) -> Option<Vec<u8>> {
    let body = pem.split_once("-----BEGIN ENCRYPTED PRIVATE KEY-----")?.1;
    let body = body.split_once("-----END ENCRYPTED PRIVATE KEY-----")?.0;
    let base64: String = body.split_whitespace().collect();
    STANDARD.decode(base64).ok()
}

/// `unsafeSsl`: whoever holds the key of the certificate shown is the server.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
