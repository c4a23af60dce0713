//! `external` and `external-push`: a gRPC server that speaks KEDA's protocol.

use std::collections::BTreeMap;
use std::fmt;

use tidegate_core::scale::spec::Series;

use super::params::{A, Given, Origin, Reader, Secret, boolean, param, text};
use super::{Parsed, Source};

/// The parameters of an `external` or `external-push` trigger.
#[derive(Clone, PartialEq)]
pub struct External {
    /// `scalerAddress`: `host:port`.
    pub scaler_address: String,
    /// Whether the server pushes activity.
    pub push: bool,
    /// `enableTLS`.
    pub enable_tls: bool,
    /// `unsafeSsl`.
    pub unsafe_ssl: bool,
    /// `caCert`.
    pub ca_cert: Option<Secret>,
    /// `tlsClientCert`.
    pub tls_client_cert: Option<Secret>,
    /// `tlsClientKey`.
    pub tls_client_key: Option<Secret>,
    /// All metadata, which the server gets. A key that ends in `FromEnv` goes with the variable's value,
    /// and not at all where the container has no such variable or an empty one.
    pub metadata: BTreeMap<String, Given<String>>,
}

impl fmt::Debug for External {
    /// Values may be secrets, so only the keys of the metadata are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.metadata.keys().collect();
        f.debug_struct("External")
            .field("scaler_address", &self.scaler_address)
            .field("push", &self.push)
            .field("enable_tls", &self.enable_tls)
            .field("unsafe_ssl", &self.unsafe_ssl)
            .field("ca_cert", &self.ca_cert)
            .field("tls_client_cert", &self.tls_client_cert)
            .field("tls_client_key", &self.tls_client_key)
            .field("metadata", &keys)
            .finish()
    }
}

pub(super) fn parse(reader: &mut Reader<'_>, push: bool) -> Option<Parsed> {
    let source = External {
        scaler_address: reader.needed("scalerAddress", text),
        push,
        enable_tls: reader.or("enableTLS", false, boolean),
        unsafe_ssl: reader.or("unsafeSsl", false, boolean),
        ca_cert: reader.secret(param(&["caCert"], A)),
        tls_client_cert: reader.secret(param(&["tlsClientCert"], A)),
        tls_client_key: reader.secret(param(&["tlsClientKey"], A)),
        metadata: metadata(reader),
    };
    let keys: Vec<&str> = reader.declared.metadata.keys().map(String::as_str).collect();
    reader.also_reads(&keys);
    // The server tells the target when it is asked, and activity with every value.
    let goal = reader.goal("scalerAddress", 1.0);
    let parsed = Parsed::new("*".to_owned(), goal, 0.0, Source::External(source));
    Some(Parsed { series: Series::Sum, ..parsed })
}

fn metadata(reader: &Reader<'_>) -> BTreeMap<String, Given<String>> {
    let mut all = BTreeMap::new();
    for (key, value) in reader.declared.metadata {
        if !key.ends_with("FromEnv") {
            all.insert(key.clone(), Given::Value(value.clone()));
            continue;
        }
        // The value is never kept: what stands in a variable is often a secret.
        let there = match reader.declared.environment {
            None => true,
            Some(environment) => match environment.get(value) {
                None => false,
                Some(plain) => plain.as_ref().is_none_or(|plain| !plain.is_empty()),
            },
        };
        if there {
            all.insert(key.clone(), Given::Elsewhere(Origin::Environment(value.clone())));
        }
    }
    all
}

#[cfg(test)]
#[path = "tests/external.rs"]
mod tests;
