//! The YAML people write, as typed objects, core specs and findings.
//!
//! ```text
//! bytes ─▶ yaml ─▶ node (with places) ─▶ load ─▶ typed objects ─┬▶ lower ─▶ core specs
//!                                          │                    └▶ lint  ─▶ findings
//!                                          └▶ findings
//! ```
//!
//! Where to look:
//! - [`yaml`], [`node`]: text to a tree that knows its places, within limits;
//! - [`mod@load`], [`object`], [`kinds`]: trees to typed objects;
//! - [`trigger`]: the metadata of every KEDA trigger type; [`bound`]: where its values stand;
//! - [`mod@lower`]: a ScaledObject, ScaledJob or HorizontalPodAutoscaler as a core spec;
//! - [`workload`]: what an object scales; [`serving`]: which container serves, and where its metrics are;
//! - [`formula`], [`cron`], [`quantity`], [`duration`]: the small languages inside manifests;
//! - [`lint`]: what is legal and will hurt;
//! - [`review`]: an API server's question whether an object may be applied;
//! - [`crd`]: the CRDs these types make.
//!
//! No file is opened here: bytes are an input.
#![forbid(unsafe_code)]

pub mod bound;
pub mod crd;
pub mod cron;
pub mod duration;
pub mod finding;
pub mod formula;
pub mod kinds;
pub mod lint;
pub mod load;
pub mod lower;
pub mod nearest;
pub mod node;
pub mod object;
pub mod quantity;
pub mod review;
mod schema;
pub mod serving;
pub mod trigger;
pub mod workload;
pub mod yaml;

pub use finding::{Finding, Severity};
pub use load::{Document, Manifests, Source, live, load};
pub use lower::{Called, Target, lower};
