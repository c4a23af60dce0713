//! Driver: replicas are pods of a Kubernetes cluster.
//!
//! ```text
//! watches ─▶ index ─▶ Event ─▶ core::scale ─▶ Action ─▶ queue ─▶ gate ─▶ API server
//!               signals ─┘                                        ▲
//!                                             lease, --advise ────┘
//! ```
//!
//! - [`object`]: what is kept of an object;
//! - [`index`]: all of them, as plain structs; says which targets a change touches;
//! - [`watch`]: lists and watches that feed it;
#![forbid(unsafe_code)]

pub mod client;
pub mod index;
pub mod lease;
pub mod object;
pub mod watch;
pub mod write;
