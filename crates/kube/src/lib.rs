//! Driver: replicas are pods of a Kubernetes cluster.
//!
//! ```text
//! watches ─▶ index ─▶ Event ─▶ core::scale ─▶ Action ─▶ queue ─▶ gate ─▶ API server
//!               signals ─┘                                        ▲
//!                                             lease, --advise ────┘
//! ```
//!
//! - [`client`]: the connection, one place that every request passes;
//! - [`clock`]: the time that all operators share;
//! - [`object`]: what is kept of an object; [`watch`]: lists and watches that bring them;
//! - [`aggregated`]: metrics that Kubernetes serves to autoscalers;
//! - [`index`]: all of them, as plain structs; says which targets a change touches;
//! - [`drive`]: the loop;
//! - [`demand`]: what gateways say of their requests;
//! - [`routes`]: what a gateway sends where; `certificates`: those we serve;
//! - [`live`]: how much each pod has to do, and which are being drained;
//! - [`usage`]: what pods use; [`endpoints`]: what stands behind a service;
//! - [`owner`]: who else scales a workload; [`adopt`]: taking it over from them, and giving it back;
//! - [`survey`]: what `doctor` looks at; [`migrate`]: what `adopt` and `release` ask of a cluster;
//! - [`mod@write`]: the queue of writes, and the one gate they go through;
//! - [`admission`]: the webhook;
//! - [`lease`]: who may write; [`persist`]: what outlives an operator;
//! - [`status`]: what an object's status and Events say; [`jobs`]: Jobs of a ScaledJob.
#![forbid(unsafe_code)]

pub mod admission;
pub mod adopt;
pub mod aggregated;
pub mod ask;
mod certificates;
pub mod client;
pub mod clock;
pub mod demand;
pub mod drive;
pub mod endpoints;
pub mod index;
pub mod jobs;
pub mod lease;
pub mod live;
pub mod migrate;
pub mod object;
pub mod owner;
pub mod persist;
pub mod routes;
pub mod status;
pub mod survey;
pub mod usage;
pub mod watch;
pub mod write;
