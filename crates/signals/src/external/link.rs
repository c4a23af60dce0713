//! How a server is connected to: with or without TLS, over HTTP/2.

use std::fmt;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use tonic::transport::{Channel, Endpoint};

use super::proto::external_scaler_client::ExternalScalerClient;
use super::{DEADLINE, Error, MESSAGE_BYTES_MAX};
use crate::tls::{Tls, client_config};

/// The contract's client.
pub(super) type Client = ExternalScalerClient<Channel>;

/// When the system asks a silent peer whether it lives, how often again, and how many times: a stream to a
/// machine that is gone ends after 30 s. Not by HTTP/2's own pings: servers hang up on a client that sends
/// them more often than each five minutes.
const ALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

/// Bytes of an answer's headers.
const HEADERS_BYTES_MAX: u32 = 16 << 10;

/// A server, and how to connect to it.
pub(super) struct Link {
    pub(super) server: String,
    endpoint: Endpoint,
    connector: HttpsConnector<HttpConnector>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Link {
    /// A way to `server`, which is `host:port`; under TLS if it is there.
    pub(super) fn new(server: String, tls: Option<&Tls>) -> Result<Self, Error> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{server}")).map_err(|_| Error::Address)?;
        let uri = endpoint.uri();
        if uri.port().is_none() || uri.host().is_none_or(str::is_empty) || uri.path() != "/" {
            return Err(Error::Address);
        }
        let endpoint = endpoint
            .user_agent("tidegate")
            .map_err(|_| Error::Address)?
            .connect_timeout(DEADLINE)
            .http2_max_header_list_size(HEADERS_BYTES_MAX);
        // Without TLS nobody need be trusted: no https URL comes as far as the connector.
        let unused = Tls { insecure: true, ..Tls::default() };
        let config = ClientConfig::clone(&*client_config(tls.unwrap_or(&unused))?);
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_keepalive(Some(ALIVE.0));
        http.set_keepalive_interval(Some(ALIVE.1));
        http.set_keepalive_retries(Some(ALIVE.2));
        http.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http2()
            .wrap_connector(http);
        Ok(Link { server, endpoint, connector })
    }

    /// A channel, which connects when it is used. What carries it ends when it is dropped.
    pub(super) fn channel(&self) -> Channel {
        self.endpoint.connect_with_connector_lazy(self.connector.clone())
    }

    /// A client over a channel, which takes no more than a bounded message.
    pub(super) fn client(channel: &Channel) -> Client {
        ExternalScalerClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}
