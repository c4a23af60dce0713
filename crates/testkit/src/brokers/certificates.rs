//! An authority nobody else knows, and a certificate of it for this machine, made by `openssl`.

use std::fs;
use std::path::Path;
use std::process::Command;

const INSTALL: &str = "apt-get install -y openssl";

/// Texts in PEM.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate.
    pub ca_pem: String,
    /// A certificate for `127.0.0.1` and `localhost`, for servers and clients.
    pub cert_pem: String,
    /// Its key, in PKCS #8.
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
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
        openssl(
            directory.path(),
            &format!(
                "req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=tests -addext \
                 basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign"
            ),
        );
        openssl(
            directory.path(),
            &format!(
                "req -x509 {key} -keyout key.pem -out cert.pem -subj /CN=localhost -CA ca.pem -CAkey ca.key \
                 -addext subjectAltName=IP:127.0.0.1,DNS:localhost -addext basicConstraints=critical,CA:FALSE \
                 -addext extendedKeyUsage=serverAuth,clientAuth"
            ),
        );
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).expect("openssl wrote it");
        Certificates { ca_pem: read("ca.pem"), cert_pem: read("cert.pem"), key_pem: read("key.pem") }
    }

    /// The key under a password, in PKCS #8.
    ///
    /// # Panics
    /// When `openssl` is not installed.
    #[must_use]
    pub fn encrypted_key_pem(&self, password: &str) -> String {
        let directory = tempfile::tempdir().expect("a directory for keys");
        fs::write(directory.path().join("key.pem"), &self.key_pem).expect("its directory can be written");
        let arguments =
            format!("pkcs8 -topk8 -in key.pem -out encrypted.pem -v2 aes-256-cbc -passout pass:{password}");
        openssl(directory.path(), &arguments);
        fs::read_to_string(directory.path().join("encrypted.pem")).expect("openssl wrote it")
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Certificates::new()
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output();
    let output = output.unwrap_or_else(|error| panic!("openssl: {error}; {INSTALL}"));
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
