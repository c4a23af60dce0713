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
//! - [`index`]: all of them, as plain structs; says which targets a change touches;
//! - [`drive`]: the loop;
//! - [`demand`]: what gateways say of their requests;
//! - [`routes`]: what a gateway sends where; `certificates`: those we serve;
//! - [`owner`]: who else scales a workload;
//! - [`write`]: the queue of writes, and the one gate they go through;
//! - [`lease`]: who may write; [`persist`]: what outlives an operator;
//! - [`status`]: what an object's status and Events say; [`jobs`]: Jobs of a ScaledJob.
#![forbid(unsafe_code)]

mod certificates;
pub mod client;
pub mod clock;
pub mod demand;
pub mod drive;
pub mod index;
pub mod jobs;
pub mod lease;
pub mod object;
pub mod owner;
pub mod persist;
pub mod routes;
pub mod status;
pub mod watch;
pub mod write;
