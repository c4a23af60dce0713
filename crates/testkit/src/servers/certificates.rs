//! An authority nobody else knows, and a certificate of it for this machine, made by `openssl`.

use std::fs;
use std::process::Command;

use super::process::run;

const INSTALL: &str = "apt-get install -y openssl";

/// Texts in PEM.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate.
    pub ca_pem: String,
    /// A certificate for `127.0.0.1` and `localhost`, for servers and clients.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: String,
}

impl Certificates {
    /// Makes new ones.
    ///
    /// # Panics
    /// When `openssl` is not installed.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory for keys");
        let openssl = |arguments: &str| {
            let mut command = Command::new("openssl");
            run(command.args(arguments.split(' ')).current_dir(directory.path()), INSTALL);
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=tests \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign"
        ));
        openssl(&format!(
            "req -x509 {key} -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost -CA ca.pem -CAkey ca.key \
             -addext subjectAltName=IP:127.0.0.1,DNS:localhost -addext basicConstraints=critical,CA:FALSE \
             -addext extendedKeyUsage=serverAuth,clientAuth"
        ));
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).expect("openssl wrote it");
        Certificates { ca_pem: read("ca.pem"), cert_pem: read("cert.pem"), key_pem: read("key.pem") }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Certificates::new()
    }
}
