//! The gateway's listener as the command line has it, for `up` and `gateway` alike.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use tidegate_gateway::Config;
use tidegate_gateway::keys::Keys;

use crate::args::KeepAlive;

/// A gateway at an address, with who is let in and the certificate and key it shows.
///
/// # Errors
/// When a file cannot be read or holds something else.
pub(crate) fn config(
    addr: SocketAddr,
    keep_alive: KeepAlive,
    api_keys: Option<&Path>,
    tls: Option<(&Path, &Path)>,
) -> Result<Config> {
    let mut config = Config::new(addr);
    config.keep_alive = match keep_alive {
        KeepAlive::Comments => tidegate_gateway::KeepAlive::Comments,
        KeepAlive::Chunks => tidegate_gateway::KeepAlive::Chunks,
    };
    if let Some(file) = api_keys {
        config.api_keys = Some(Arc::new(Keys::load(file)?));
    }
    if let Some((cert, key)) = tls {
        config.tls = Some(tidegate_gateway::tls::load(cert, key)?);
    }
    Ok(config)
}
