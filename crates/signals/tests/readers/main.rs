//! Every reader, against real servers on loopback.

#[cfg(feature = "external")]
mod external;
mod metrics_api;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgresql")]
mod postgresql;
mod redis;
mod scrape;
mod server;
mod sources;
mod sqs;
mod trigger;
mod web;
