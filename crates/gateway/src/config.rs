//! What a gateway is told: where to listen, what it may use, how long it waits.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::route::{Demand, Limits};
use tidegate_core::time::Span;

use crate::clock::Clock;
use crate::keys::Keys;

/// Told of every change of a target's demand, by the target's name. Called from request threads, in
/// order: it must only pass the number on.
pub type OnDemand = Arc<dyn Fn(&str, Demand) + Send + Sync>;

/// Everything a gateway needs to start.
#[derive(Clone)]
pub struct Config {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Threads, each with its own listener and connections; 0 is one a core.
    pub workers: usize,
    /// How long to wait for what.
    pub times: Times,
    /// How much of everything.
    pub sizes: Sizes,
    /// What a streaming client gets while it waits.
    pub keep_alive: KeepAlive,
    /// The keys clients must show; `None` lets everyone in.
    pub api_keys: Option<Arc<Keys>>,
    /// Certificate and key, from [`crate::tls::load`]; `None` is plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The clock that times in events and outlooks are on.
    pub clock: Clock,
    /// Where demand goes.
    pub on_demand: OnDemand,
}

impl Config {
    /// The defaults at an address, with demand going nowhere.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Config {
            listen,
            workers: 0,
            times: Times::default(),
            sizes: Sizes::default(),
            keep_alive: KeepAlive::Comments,
            api_keys: None,
            tls: None,
            clock: Clock::unix(),
            on_demand: Arc::new(|_, _| {}),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("workers", &self.workers)
            .field("times", &self.times)
            .field("sizes", &self.sizes)
            .field("keep_alive", &self.keep_alive)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// How long to wait for what. Each ends up to half a second late, two of [`crate::wheel::TICK`], and later still by
/// what the machine kept our thread waiting.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For a request's head, from its first byte to its last (a slow-loris ends here).
    pub header: Duration,
    /// For the next request on an open connection.
    pub idle: Duration,
    /// For the next bytes of a request's body.
    pub body_idle: Duration,
    /// For a connection to a replica.
    pub connect: Duration,
    /// For the first byte of an answer, from dispatch on.
    pub first_byte: Duration,
    /// For the next bytes of an answer.
    pub chunk_idle: Duration,
    /// For a client that takes no bytes of its answer.
    pub client_stall: Duration,
    /// How long a streaming client waits before it gets its headers.
    pub grace: Duration,
    /// Between two signs of life to a streaming client that waits.
    pub keep_alive: Duration,
    /// For how long what a refused client still sends is thrown away (100 MB at 4 MB/s), so that it can read why.
    pub linger: Duration,
    /// How long such a client may be silent: then it is reading, and waits for the end.
    pub linger_quiet: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_idle: Duration::from_secs(30),
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(600),
            chunk_idle: Duration::from_secs(300),
            client_stall: Duration::from_secs(120),
            grace: Duration::from_secs(1),
            keep_alive: Duration::from_secs(10),
            linger: Duration::from_secs(30),
            linger_quiet: Duration::from_secs(1),
        }
    }
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of a request's body; more is refused with 413.
    pub body_max: u64,
    /// Bytes of all bodies kept by the gateway at once, while they are read, wait, or may be sent again.
    /// 256 MiB: eight of the largest, or 4,096 of 64 KiB. More is refused with 503.
    pub kept_max: u64,
    /// Open connections; more are answered 503 and closed. 20,000 of about 20 KiB are 400 MiB.
    pub connections_max: usize,
    /// Bytes of a request's head; more is refused with 431, as are more than 100 headers.
    pub head_bytes_max: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes { body_max: 32 << 20, kept_max: 256 << 20, connections_max: 20_000, head_bytes_max: 32 << 10 }
    }
}

/// What a streaming client gets while it waits for a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepAlive {
    /// SSE comments: every SSE reader skips them.
    #[default]
    Comments,
    /// Chunks without content, for what stands between and counts only data.
    Chunks,
}

/// A target whose requests come through the gateway.
#[derive(Clone, Debug)]
pub struct TargetConfig {
    /// Its name; also its model's, where `models` is empty.
    pub name: Arc<str>,
    /// The model names requests ask for. A name that an earlier target has stays with that one.
    pub models: Vec<String>,
    /// What its requests may use.
    pub limits: Limits,
    /// The key its engines ask for, sent as a bearer token.
    pub upstream_key: Option<Secret>,
    /// Until when a first token is in time, from a request's arrival; `None` where nothing was promised, and then
    /// only those without any answer are counted late.
    pub ttft: Option<Span>,
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Secret(value)
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
