//! The operator's listener for gateways: its flags.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::Args;
use tidegate_kube::client::Connection;
use tidegate_kube::demand::listen::{self, Config, Listening};
use tokio_util::sync::CancellationToken;

use crate::output;

/// How gateways tell the operator what is asked for.
#[derive(Debug, Args)]
pub(super) struct DemandArgs {
    /// Where gateways connect, over TLS; without it none can, and nothing starts by a request.
    #[arg(long, value_name = "ADDR:PORT")]
    demand_addr: Option<SocketAddr>,
    /// The headless Service by which gateways find it; its certificate is for NAME.NAMESPACE.svc.
    #[arg(long, value_name = "NAME", default_value = "tidegate-demand", requires = "demand_addr")]
    demand_service: String,
    /// A further name or address that the certificate is for; may be given again and again.
    #[arg(long, value_name = "NAME", requires = "demand_addr")]
    demand_host: Vec<String>,
    /// A ServiceAccount whose pods may connect; without it tidegate-gateway of the operator's namespace. May
    /// be given again and again.
    #[arg(long, value_name = "NAMESPACE:NAME", requires = "demand_addr", value_parser = account)]
    demand_account: Vec<(String, String)>,
    /// The Secret that holds the certificate; it is made where there is none.
    #[arg(long, value_name = "NAME", default_value = "tidegate-demand-certs", requires = "demand_addr")]
    demand_secret: String,
    /// The ConfigMap with the authority that gateways are to trust, as ca.crt; it is kept up to date.
    #[arg(long, value_name = "NAME", default_value = "tidegate-demand-ca", requires = "demand_addr")]
    demand_ca_config: String,
}

fn account(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains(':') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("a namespace and a name, such as tidegate:tidegate-gateway".to_owned()),
    }
}

impl DemandArgs {
    /// Opens the listener, if one is asked for.
    pub(super) async fn listen(
        &self,
        connection: &Connection,
        namespace: &str,
        stop: CancellationToken,
    ) -> Result<Option<Listening>> {
        let Some(addr) = self.demand_addr else { return Ok(None) };
        if connection.read_only {
            output::note(
                "--advise writes nothing: the listener for gateways serves only if its Secret is there",
            );
        }
        let service = &self.demand_service;
        let mut names: Vec<String> =
            [format!("{service}.{namespace}.svc"), format!("{service}.{namespace}"), service.clone()].into();
        names.extend(self.demand_host.iter().cloned());
        let mut accounts = self.demand_account.clone();
        if accounts.is_empty() {
            accounts.push((namespace.to_owned(), "tidegate-gateway".to_owned()));
        }
        let config = Config {
            addr,
            namespace: namespace.to_owned(),
            names,
            secret: self.demand_secret.clone(),
            ca_config: self.demand_ca_config.clone(),
            accounts,
        };
        let started = listen::start(connection.client.clone(), config, stop).await;
        let listening = started
            .with_context(|| format!("cannot listen on {addr} for gateways; choose another --demand-addr"))?;
        Ok(Some(listening))
    }
}
