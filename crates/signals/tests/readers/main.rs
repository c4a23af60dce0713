//! Every reader, against real servers on loopback.

mod asker;
#[cfg(feature = "external")]
mod external;
mod metrics_api;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgresql")]
mod postgresql;
mod prometheus;
mod redis;
mod scrape;
mod server;
mod sources;
mod sqs;
mod topologies;
mod trigger;
mod web;
