//! The request path: accept, admit, hold, pick, forward, stream, retry, drain.
//!
//! A [`Gateway`] answers OpenAI-compatible requests for all models on one address. It carries bytes; who waits,
//! who goes where and who is refused is decided by [`tidegate_core::route`], behind one lock held for
//! microseconds.
//!
//! The rooms, in the order a request passes through them:
//! - `serve`: threads, listeners; `http1`, `wire`: a client's connection; `http2`, `io`: the same over HTTP/2;
//! - [`framing`]: HTTP/1 as bytes, towards both sides; `outbox`: what is to be written to a socket;
//! - `service`: from head to answer; [`request`]: what a request is; `inbound`, `incoming`, `kept`: its body;
//! - `desk`: the machine and who waits for its word; `ticket`: one request's standing with it;
//! - `forward`: attempts, retries; `upstream`, `pool`: connections to replicas;
//! - `live`: an answer on its way; [`sse`]: what is looked at in it; `outgoing`: bodies clients get;
//! - `reply`, `told`, `answer`: heads clients get, and errors in OpenAI's shape;
//! - `stats`, `metrics`, `view`: what is counted, and who sees it.
//!
//! Headers a client may send: `x-tidegate-priority: high|normal|low`, `x-tidegate-tenant` (without API keys),
//! `x-tidegate-deadline-s` or `x-request-timeout` (seconds it will wait for a beginning). Headers it gets:
//! `x-tidegate-request-id`, `x-tidegate-cold-start`, `x-tidegate-expected-wait-s`, `x-tidegate-replica`.
#![forbid(unsafe_code)]

mod answer;
pub mod clock;
pub mod config;
mod desk;
mod forward;
pub mod framing;
mod gateway;
mod http1;
mod http2;
mod inbound;
mod incoming;
mod io;
mod kept;
pub mod keys;
mod live;
mod metrics;
mod outbox;
mod outgoing;
mod pool;
mod reply;
pub mod request;
mod serve;
mod service;
pub mod sse;
mod stats;
mod table;
mod ticket;
pub mod tls;
mod told;
mod upstream;
mod view;
pub mod wheel;
mod wire;
mod worker;

pub use clock::Clock;
pub use config::{Config, KeepAlive, OnDemand, Secret, Sizes, TargetConfig, Times};
pub use desk::Held;
pub use gateway::{Error, Gateway};
pub use stats::{Latency, Percentiles};
pub use view::{EndpointViewNamed, TargetView};
