//! Fetch and decode: a thin reader for each source of a target's signals.
//!
//! - [`scrape`] asks replicas for their `/metrics` each second, and says what changed since;
//! - [`series`] keeps what queries want of those pages, so that `prometheus` triggers are answered
//!   without a Prometheus;
//! - [`redis`] reads lengths and backlogs, [`prometheus`] asks a server a query, each a [`remote`] source;
//! - [`asker`] asks each distinct question of theirs once a tick, for everybody;
//! - [`tls`] makes the client's side of TLS for all of them;
//! - [`process`] reads what processes use, for `cpu` and `memory`;
//! - [`sources`] puts these together: for each signal of a target, what reads it, asked once a tick.
//!
//! Whatever cannot be read is a [`Reading::Error`](tidegate_core::scale::Reading::Error) that says why:
//! never a zero, and never left out.
#![forbid(unsafe_code)]

pub mod asker;
pub mod clock;
mod find;
pub mod http;
pub mod https;
pub mod process;
pub mod prometheus;
pub mod redis;
pub mod remote;
pub mod scrape;
pub mod series;
pub mod sources;
pub mod tls;

pub use asker::Asker;
pub use clock::Clock;
pub use remote::{Question, Remote};
pub use scrape::{Endpoint, Scrape, Scraped, Scraper};
pub use series::Series;
pub use sources::{Context, Demand, Queries, Shared, Source, Sources};
