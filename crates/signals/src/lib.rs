//! Fetch and decode: a thin reader for each source of a target's signals.
//!
//! - [`scrape`] asks replicas for their `/metrics` each second, and says what changed since;
//! - [`series`] keeps what queries want of those pages, so that `prometheus` triggers are answered
//!   without a Prometheus;
//! - [`redis`] reads lengths and backlogs, [`prometheus`] asks a server a query, each a [`remote`] source;
//! - `kafka` (a feature) reads how far a consumer group lags behind;
//! - `rabbitmq` (a feature) reads a queue's length or rates;
//! - `postgresql` and `mysql` (features) read one number from a query;
//! - `external` (a feature) asks a server that speaks KEDA's gRPC contract;
//! - [`metrics_api`] reads one number of an HTTP response;
//! - [`sqs`] reads how many messages a queue of AWS has;
//! - [`nats`] reads how far a JetStream consumer is behind;
//! - [`https`] asks over HTTP with TLS and credentials; [`tls`] makes the client's side of TLS for all of them;
//! - [`redis`] reads lengths and backlogs, [`prometheus`] asks a server a query, each a [`remote`] source;
//! - [`asker`] asks each distinct question of theirs once a tick, for everybody; [`rounds`] tell whose are answered;
//! - [`liveness`] tells whether a signal can be trusted, [`trust`] so of all of a target;
//! - [`pushed`] takes what others push;
//! - [`process`] reads what processes use, for `cpu` and `memory`;
//! - [`work`] makes of engines' counters what policy `slo` is told;
//! - [`sources`] puts these together: for each signal of a target, what reads it, asked once a tick.
//!
//! Whatever cannot be read is a [`Reading::Error`](tidegate_core::scale::Reading::Error) that says why:
//! never a zero, and never left out.
#![forbid(unsafe_code)]

pub mod asker;
pub mod clock;
#[cfg(feature = "external")]
pub mod external;
mod find;
pub mod http;
pub mod https;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod liveness;
mod metered;
pub mod metrics_api;
#[cfg(feature = "mysql")]
pub mod mysql;
pub mod nats;
pub mod oauth;
pub mod per_pod;
#[cfg(feature = "postgresql")]
pub mod postgresql;
pub mod process;
pub mod prometheus;
pub mod pushed;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
pub mod redis;
pub mod remote;
pub mod rounds;
pub mod scrape;
pub mod series;
pub mod sources;
pub mod sqs;
pub mod tls;
pub mod trust;
pub mod work;

pub use asker::Asker;
pub use clock::Clock;
pub use liveness::Liveness;
pub use pushed::Pushed;
pub use remote::{Question, Remote};
pub use rounds::Rounds;
pub use scrape::{Endpoint, Scrape, Scraped, Scraper};
pub use series::{Kept, Series};
pub use sources::{Context, Demand, Queries, Shared, Source, Sources};
