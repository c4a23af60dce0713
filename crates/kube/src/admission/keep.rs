//! The `caBundle`, kept as the certificate is. Every replica does so, and needs no lease.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use k8s_openapi::ByteString;
use kube::Client;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::Config;
use crate::certificates::secret::{Place, agreed};
use crate::certificates::{Bundle, server};
use crate::watch::said;
use crate::write::MANAGER;

/// Between two looks at the Secret and the configuration; after an error, and the first time it is not there.
const PACE: Duration = Duration::from_secs(60);
const PACE_AFTER_ERROR: Duration = Duration::from_secs(5);

/// Runs for ever.
pub(super) async fn run(
    client: Client,
    config: Config,
    tls: watch::Sender<Option<Arc<ServerConfig>>>,
    out: mpsc::Sender<String>,
) {
    let (mut served, mut told) = (None, None);
    loop {
        let trouble = turn(&client, &config, &mut served, &tls).await.err();
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
    let place = Place {
        namespace: config.namespace.clone(),
        secret: config.secret.clone(),
        names: config.names.clone(),
    };
    let bundle = agreed(client, &place, today).await?;
    if served.as_ref() != Some(&bundle) {
        let server = server(&bundle).map_err(|error| error.to_string())?;
        tls.send_replace(Some(server));
        *served = Some(bundle.clone());
    }
    trusted(client, config, &bundle.ca).await
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
