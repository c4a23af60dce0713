//! The Secret that all replicas serve from: read, made, renewed.
//!
//! Every replica does so, and needs no lease: a Secret is made once (the second is told that it exists), and
//! replaced only over the version that was read. Whoever was second reads what the first has written.

use std::collections::BTreeMap;

use jiff::civil::Date;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};

use super::{Bundle, renew};
use crate::watch::said;
use crate::write::MANAGER;

/// How often a Secret that another has just written is read again at once.
const RACES_MAX: u32 = 5;

const CA_UNTIL: &str = "tidegate.dev/ca-until";
const CERT_UNTIL: &str = "tidegate.dev/cert-until";
const NAMES: &str = "tidegate.dev/cert-names";

/// Which Secret, and for which names.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) secret: String,
    pub(crate) names: Vec<String>,
}

/// The bundle that all replicas serve, made or renewed where it must be.
pub(crate) async fn agreed(client: &Client, place: &Place, today: Date) -> Result<Bundle, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &place.namespace);
    let failed = |error: &kube::Error| format!("the Secret {} cannot be had: {}", place.secret, said(error));
    for _ in 0..RACES_MAX {
        let secret = api.get_opt(&place.secret).await.map_err(|error| failed(&error))?;
        let known = secret.as_ref().and_then(read);
        // A key of another's making that does not fit its CA cannot sign: then all is made anew.
        let new = match renew(known.as_ref(), &place.names, today) {
            Err(_) if known.is_some() => renew(None, &place.names, today),
            made => made,
        };
        let Some(new) = new.map_err(|error| error.to_string())? else {
            return known.ok_or_else(|| "no certificate was made".to_owned());
        };
        let fresh = write(place, &new, secret.as_ref());
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let written = match secret {
            None => api.create(&params, &fresh).await,
            Some(_) => api.replace(&place.secret, &params, &fresh).await,
        };
        match written {
            Ok(_) => return Ok(new),
            // Another replica was first.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    Err(format!("the Secret {} changes faster than it can be read", place.secret))
}

fn read(secret: &Secret) -> Option<Bundle> {
    let data = secret.data.as_ref()?;
    let text = |name: &str| String::from_utf8(data.get(name)?.0.clone()).ok();
    let noted = |name: &str| secret.metadata.annotations.as_ref()?.get(name).cloned();
    Some(Bundle {
        ca: text("ca.crt")?,
        ca_key: text("ca.key")?,
        cert: text("tls.crt")?,
        key: text("tls.key")?,
        ca_until: noted(CA_UNTIL)?.parse().ok()?,
        cert_until: noted(CERT_UNTIL)?.parse().ok()?,
        names: noted(NAMES)?,
    })
}

fn write(place: &Place, bundle: &Bundle, over: Option<&Secret>) -> Secret {
    let entry = |name: &str, text: &str| (name.to_owned(), ByteString(text.as_bytes().to_vec()));
    let data = [
        entry("ca.crt", &bundle.ca),
        entry("ca.key", &bundle.ca_key),
        entry("tls.crt", &bundle.cert),
        entry("tls.key", &bundle.key),
    ];
    let mut metadata = over.map(|secret| secret.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        name: Some(place.secret.clone()),
        namespace: Some(place.namespace.clone()),
        labels: Some(BTreeMap::from([(
            "app.kubernetes.io/managed-by".to_owned(),
            "tidegate-operator".to_owned(),
        )])),
        ..ObjectMeta::default()
    });
    metadata.managed_fields = None;
    let notes = metadata.annotations.get_or_insert_default();
    notes.insert(CA_UNTIL.to_owned(), bundle.ca_until.to_string());
    notes.insert(CERT_UNTIL.to_owned(), bundle.cert_until.to_string());
    notes.insert(NAMES.to_owned(), bundle.names.clone());
    let type_ = over.map_or_else(|| Some("kubernetes.io/tls".to_owned()), |secret| secret.type_.clone());
    Secret { data: Some(BTreeMap::from(data)), type_, metadata, ..Secret::default() }
}
