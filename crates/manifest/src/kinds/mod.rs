//! The objects people write, as Rust types: KEDA's own, and the few neighbours the linter reads.
//!
//! [`keda`] is complete: every field of KEDA's four resources, with the schema that
//! [`crd`](crate::crd) publishes. The other modules hold only the fields a finding may speak about;
//! they skip what they do not know, and nothing is ever written back through them.

pub mod keda;
pub mod leader_worker_set;
pub mod monitor;
pub mod vertical_pod_autoscaler;
