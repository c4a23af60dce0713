//! The Secret and the `caBundle`: read, made, renewed.
//!
//! Every replica does all of it, and needs no lease: a Secret is made once (the second is told that it exists), and
//! replaced only over the version that was read. Whoever was second reads what the first has written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use jiff::civil::Date;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::Config;
use super::certs::{Bundle, renew, server};
use crate::watch::said;
use crate::write::MANAGER;

/// Between two looks at the Secret and the configuration; after an error, and the first time it is not there.
const PACE: Duration = Duration::from_secs(60);
const PACE_AFTER_ERROR: Duration = Duration::from_secs(5);

/// How often a Secret that another has just written is read again at once.
const RACES_MAX: u32 = 5;

const CA_UNTIL: &str = "tidegate.dev/ca-until";
const CERT_UNTIL: &str = "tidegate.dev/cert-until";
const NAMES: &str = "tidegate.dev/cert-names";

/// Runs for ever.
pub(super) async fn run(
    client: Client,
    config: Config,
    tls: watch::Sender<Option<Arc<ServerConfig>>>,
    out: mpsc::Sender<String>,
) {
    let (mut served, mut told) = (None, None);
    loop {
        let trouble = match turn(&client, &config, &mut served, &tls).await {
            Ok(()) => None,
            Err(why) => Some(why),
        };
        if trouble != told {
            if let Some(why) = &trouble {
                // The loop has ended when nobody listens.
                let _ = out.send(format!("the admission webhook: {why}")).await;
            }
            told = trouble;
        }
        tokio::time::sleep(if told.is_some() { PACE_AFTER_ERROR } else { PACE }).await;
    }
}

async fn turn(
    client: &Client,
    config: &Config,
    served: &mut Option<Bundle>,
    tls: &watch::Sender<Option<Arc<ServerConfig>>>,
) -> Result<(), String> {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let bundle = agreed(client, config, today).await?;
    if served.as_ref() != Some(&bundle) {
        let server = server(&bundle).map_err(|error| error.to_string())?;
        tls.send_replace(Some(server));
        *served = Some(bundle.clone());
    }
    trusted(client, config, &bundle.ca).await
}

/// The bundle that all replicas serve, made or renewed where it must be.
async fn agreed(client: &Client, config: &Config, today: Date) -> Result<Bundle, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &config.namespace);
    let failed = |error: &kube::Error| format!("the Secret {} cannot be had: {}", config.secret, said(error));
    for _ in 0..RACES_MAX {
        let secret = api.get_opt(&config.secret).await.map_err(|error| failed(&error))?;
        let known = secret.as_ref().and_then(read);
        // A key of another's making that does not fit its CA cannot sign: then all is made anew.
        let new = match renew(known.as_ref(), &config.names, today) {
            Err(_) if known.is_some() => renew(None, &config.names, today),
            made => made,
        };
        let Some(new) = new.map_err(|error| error.to_string())? else {
            return known.ok_or_else(|| "no certificate was made".to_owned());
        };
        let fresh = write(config, &new, secret.as_ref());
        let params = kube::api::PostParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        let written = match secret {
            None => api.create(&params, &fresh).await,
            Some(_) => api.replace(&config.secret, &params, &fresh).await,
        };
        match written {
            Ok(_) => return Ok(new),
            // Another replica was first.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    Err(format!("the Secret {} changes faster than it can be read", config.secret))
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

fn write(config: &Config, bundle: &Bundle, over: Option<&Secret>) -> Secret {
    let entry = |name: &str, text: &str| (name.to_owned(), ByteString(text.as_bytes().to_vec()));
    let data = [
        entry("ca.crt", &bundle.ca),
        entry("ca.key", &bundle.ca_key),
        entry("tls.crt", &bundle.cert),
        entry("tls.key", &bundle.key),
    ];
    let mut metadata = over.map(|secret| secret.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        name: Some(config.secret.clone()),
        namespace: Some(config.namespace.clone()),
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

/// Puts the CA where the API server looks for it.
async fn trusted(client: &Client, config: &Config, ca: &str) -> Result<(), String> {
    let name = &config.configuration;
    let path = format!("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{name}");
    let failed = |error: kube::Error| match error {
        kube::Error::Api(status) if status.code == 404 => {
            format!("there is no ValidatingWebhookConfiguration {name}, so nobody asks; the chart brings one")
        }
        error => format!("the ValidatingWebhookConfiguration {name} cannot be had: {}", said(&error)),
    };
    let request = Request::get(&path).body(Vec::new()).map_err(|error| error.to_string())?;
    let now: Value = client.request(request).await.map_err(failed)?;
    let wanted = json!(ByteString(ca.as_bytes().to_vec()));
    let hooks = now.get("webhooks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let old = |hook: &Value| hook.pointer("/clientConfig/caBundle") != Some(&wanted);
    let mut patch = vec![json!({
        "op": "test", "path": "/metadata/resourceVersion", "value": now.pointer("/metadata/resourceVersion"),
    })];
    patch.extend(hooks.iter().enumerate().filter(|(_, hook)| old(hook)).map(|(index, _)| {
        json!({"op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": wanted})
    }));
    if patch.len() == 1 {
        return Ok(());
    }
    let request = Request::builder().method(Method::PATCH).uri(format!("{path}?fieldManager={MANAGER}"));
    let request = request.header("content-type", "application/json-patch+json");
    let request = request.body(json!(patch).to_string().into_bytes()).map_err(|error| error.to_string())?;
    match client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        // Another replica was first, or somebody edits it: it is looked at again.
        Err(kube::Error::Api(status)) if matches!(status.code, 409 | 422) => {
            Err(format!("the ValidatingWebhookConfiguration {name} has changed meanwhile"))
        }
        Err(error) => Err(failed(error)),
    }
}
