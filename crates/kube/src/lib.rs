//! Driver: replicas are pods of a Kubernetes cluster.
//!
//! ```text
//! watches ─▶ index ─▶ Event ─▶ core::scale ─▶ Action ─▶ queue ─▶ gate ─▶ API server
//!               signals ─┘                                        ▲
//!                                             lease, --advise ────┘
//! ```
//!
//! - [`client`]: the connection, one place that every request passes;
//! - [`object`]: what is kept of an object; [`watch`]: lists and watches that bring them;
//! - [`index`]: all of them, as plain structs; says which targets a change touches;
//! - [`drive`]: the loop;
//! - [`live`]: how much each pod has to do, and which are being drained;
//! - [`owner`]: who else scales a workload; [`usage`]: what pods use; [`endpoints`]: what stands behind a service;
//! - [`write`]: the queue of writes, and the one gate they go through;
//! - [`lease`]: who may write; [`persist`]: what outlives an operator;
//! - [`status`]: what an object's status and Events say; [`jobs`]: Jobs of a ScaledJob.
#![forbid(unsafe_code)]

pub mod client;
pub mod drive;
pub mod endpoints;
pub mod index;
pub mod jobs;
pub mod lease;
pub mod live;
pub mod object;
pub mod owner;
pub mod persist;
pub mod status;
pub mod usage;
pub mod watch;
pub mod write;
