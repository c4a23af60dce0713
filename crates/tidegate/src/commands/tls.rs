//! Whom a server is checked against, for the commands that are clients.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};
use tidegate_signals::tls::{Tls, client_config};

/// Bytes of a file of certificates: every public authority together is 220 KB.
const CA_BYTES_MAX: u64 = 4 << 20;

/// How a server's certificate is checked.
#[derive(Debug, Args)]
pub(crate) struct TlsArgs {
    /// A PEM file with the authorities to trust instead of the machine's.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Whatever certificate the server shows will do.
    #[arg(long, conflicts_with = "tls_ca")]
    tls_insecure: bool,
}

impl TlsArgs {
    /// Whether something is said at all.
    pub(crate) fn given(&self) -> bool {
        self.tls_ca.is_some() || self.tls_insecure
    }

    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>> {
        let mut tls = Tls { insecure: self.tls_insecure, ..Tls::default() };
        if let Some(path) = &self.tls_ca {
            let context = || format!("cannot read the authorities in {}", path.display());
            let mut pem = String::new();
            let file = File::open(path).with_context(context)?;
            file.take(CA_BYTES_MAX).read_to_string(&mut pem).with_context(context)?;
            tls.ca_pem = Some(pem);
        }
        Ok(client_config(&tls)?)
    }

    /// Connects to `https://` alone.
    pub(crate) fn connector(&self) -> Result<HttpsConnector<HttpConnector>> {
        let config = (*self.config()?).clone();
        Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build())
    }
}

/// Connects to `http://`; no certificate would be trusted.
pub(crate) fn plain() -> Result<HttpsConnector<HttpConnector>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build())
}
