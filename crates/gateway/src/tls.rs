//! TLS for the listener: a certificate chain and its key from PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read as PEM.
    #[error("cannot read {what} from {path}: {source}; give a PEM file")]
    Pem {
        /// Which of the two.
        what: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate and the key do not go together, or are of a kind not known.
    #[error("cannot use certificate {cert} with key {key}: {source}")]
    Pair {
        /// The certificate's file.
        cert: String,
        /// The key's file.
        key: String,
        /// What rustls said.
        source: rustls::Error,
    },
}

/// Reads a certificate chain and its key. HTTP/2 is offered by ALPN, HTTP/1.1 always.
///
/// # Errors
/// When a file cannot be read or the two do not go together.
pub fn load(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, Error> {
    let pem = |what, path: &Path| {
        let path = path.display().to_string();
        move |source| Error::Pem { what, path, source }
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .map_err(pem("a certificate", cert))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem("a certificate", cert))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(pem("a private key", key))?;
    let pair =
        |source| Error::Pair { cert: cert.display().to_string(), key: key.display().to_string(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
