//! The operator's listener for gateways, with a certificate of its own making.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use kube::Client;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::account::Accounts;
use super::server::{self, REPORTS_MAX};
use super::{Report, proto};
use crate::certificates::secret::{Place, agreed};
use crate::certificates::{self, Bundle};
use crate::watch::said;
use crate::write::MANAGER;

/// Between two looks at the certificate, and after an error.
const PACE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(5));

/// How gateways reach an operator.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub addr: SocketAddr,
    /// The operator's namespace.
    pub namespace: String,
    /// Names and addresses that the certificate is for.
    pub names: Vec<String>,
    /// The Secret that holds it.
    pub secret: String,
    /// The ConfigMap with the authority, for gateways to mount.
    pub ca_config: String,
    /// ServiceAccounts that may connect: namespace and name.
    pub accounts: Vec<(String, String)>,
}

/// What the loop has of its gateways.
#[derive(Debug)]
pub struct Inbox {
    /// What they say.
    pub reports: mpsc::Receiver<Report>,
    /// What they are told.
    pub words: watch::Sender<Arc<proto::Word>>,
}

/// A listener at work.
pub struct Listening {
    /// Where it listens; the port that was found where 0 was asked for.
    pub addr: SocketAddr,
    /// For the loop.
    pub inbox: Inbox,
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// Opens the listener. Gateways are taken as soon as there is a certificate.
///
/// # Errors
/// When the address cannot be had.
pub async fn start(client: Client, config: Config, stop: CancellationToken) -> io::Result<Listening> {
    let listener = TcpListener::bind(config.addr).await?;
    let addr = listener.local_addr()?;
    let (reports_out, reports) = mpsc::channel(REPORTS_MAX);
    let (words, words_in) = watch::channel(Arc::default());
    let accounts = Accounts::new(client.clone(), &config.accounts);
    tokio::spawn(async move {
        let (tls_out, mut tls_in) = watch::channel(None);
        let keeping = keep(client, config, tls_out);
        let serving = async {
            // The sender lives as long as this.
            let Ok(first) = tls_in.wait_for(Option::is_some).await.map(|tls| tls.clone()) else { return };
            let Some(first) = first else { return };
            let (tls, taken) = watch::channel(first);
            let config =
                server::Config { listener, tls: taken, accounts, reports: reports_out, words: words_in };
            let following = async {
                while tls_in.changed().await.is_ok() {
                    let next = tls_in.borrow_and_update().clone();
                    next.map(|next| tls.send_replace(next));
                }
            };
            tokio::select! {
                () = server::serve(config, stop.clone()) => {}
                () = following => {}
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = keeping => {}
            () = serving => {}
        }
    });
    Ok(Listening { addr, inbox: Inbox { reports, words } })
}

/// Keeps the certificate and what gateways trust.
async fn keep(client: Client, config: Config, tls: watch::Sender<Option<Arc<ServerConfig>>>) {
    let place = Place { namespace: config.namespace, secret: config.secret, names: config.names };
    let mut served: Option<Bundle> = None;
    let mut told = None;
    loop {
        let trouble = turn(&client, &place, &config.ca_config, &mut served, &tls).await.err();
        if let Some(why) = &trouble
            && trouble != told
        {
            tracing::warn!("gateways cannot connect, or will not be able to: {why}");
        }
        told = trouble;
        tokio::time::sleep(if told.is_some() { PACE.1 } else { PACE.0 }).await;
    }
}

async fn turn(
    client: &Client,
    place: &Place,
    ca_config: &str,
    served: &mut Option<Bundle>,
    tls: &watch::Sender<Option<Arc<ServerConfig>>>,
) -> Result<(), String> {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let bundle = agreed(client, place, today).await?;
    if served.as_ref() != Some(&bundle) {
        let server = certificates::server(&bundle).map_err(|error| error.to_string())?;
        let mut server = ServerConfig::clone(&server);
        server.alpn_protocols = vec![b"h2".to_vec()];
        tls.send_replace(Some(Arc::new(server)));
        *served = Some(bundle.clone());
    }
    trusted(client, &place.namespace, ca_config, &bundle.ca).await
}

/// Puts the authority where gateways look for it.
async fn trusted(client: &Client, namespace: &str, name: &str, ca: &str) -> Result<(), String> {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
    let failed =
        |error: &dyn std::error::Error| format!("the ConfigMap {name} cannot be had: {}", said(error));
    let request = Request::get(&path).body(Vec::new()).map_err(|error| failed(&error))?;
    let there = match client.request::<Value>(request).await {
        Ok(there) => Some(there),
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        Err(error) => return Err(failed(&error)),
    };
    let data = BTreeMap::from([("ca.crt", ca)]);
    let stands = there.as_ref().and_then(|there| there.pointer("/data/ca.crt")).and_then(Value::as_str);
    if stands == Some(ca) {
        return Ok(());
    }
    let mut object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "tidegate-operator"},
        },
    });
    let request = match there {
        None => Request::post(format!("/api/v1/namespaces/{namespace}/configmaps?fieldManager={MANAGER}")),
        Some(there) => {
            object["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
            Request::put(format!("{path}?fieldManager={MANAGER}"))
        }
    };
    let request = request.header("content-type", "application/json").body(object.to_string().into_bytes());
    match client.request::<Value>(request.map_err(|error| failed(&error))?).await {
        // Another replica was first, with the same.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(failed(&error)),
        Ok(_) => Ok(()),
    }
}
