//! The operator's admission webhook, as the command line has it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use tidegate_kube::admission::{self, Config, Counters, Running};
use tidegate_kube::client::Client;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::output;

/// Remarks on their way out: one a minute at the most, but for the first.
const REMARKS_MAX: usize = 16;

#[derive(Debug, Args)]
pub(super) struct WebhookArgs {
    /// Serve admission reviews over TLS here: what `lint` calls an error is refused when it is applied, what it
    /// warns of is allowed with a warning.
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "advise")]
    webhook_addr: Option<SocketAddr>,
    /// The webhook's Service, in the operator's namespace.
    #[arg(long, value_name = "NAME", default_value = "tidegate-webhook")]
    webhook_service: String,
    /// A further name or address that its certificate is for.
    #[arg(long, value_name = "HOST")]
    webhook_host: Vec<String>,
    /// The ValidatingWebhookConfiguration whose caBundle is kept up to date.
    #[arg(long, value_name = "NAME", default_value = "tidegate")]
    webhook_config: String,
    /// The Secret in the operator's namespace that keeps its CA and its certificate; made where there is none.
    #[arg(long, value_name = "NAME", default_value = "tidegate-webhook-certs")]
    webhook_secret: String,
}

impl WebhookArgs {
    /// Begins to serve, if that is asked for.
    pub(super) async fn start(
        &self,
        client: Client,
        namespace: String,
        counters: Arc<Counters>,
        stop: &CancellationToken,
    ) -> Result<Option<Running>> {
        let Some(addr) = self.webhook_addr else { return Ok(None) };
        let service = format!("{}.{namespace}.svc", self.webhook_service);
        let mut names = vec![format!("{service}.cluster.local"), service];
        names.extend(self.webhook_host.iter().cloned());
        let (out, mut remarks) = mpsc::channel::<String>(REMARKS_MAX);
        tokio::spawn(async move {
            while let Some(remark) = remarks.recv().await {
                output::note(&remark);
            }
        });
        let config = Config {
            addr,
            names,
            namespace,
            secret: self.webhook_secret.clone(),
            configuration: self.webhook_config.clone(),
            counters,
        };
        let running = admission::start(client, config, out, stop.clone()).await?;
        output::note(&format!("admission reviews are answered at https://{}/validate", running.addr));
        Ok(Some(running))
    }
}
