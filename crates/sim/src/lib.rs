//! The engine model, timing profiles and traces that the simulator and the stand-in engine share.
//!
//! One model for both, so that a policy priced on a trace and a test that talks to the stand-in see the
//! same queues, the same full caches and the same cold starts. Nothing here reads a clock or a file:
//! time and bytes come in as arguments.
//!
//! Where to look:
//! - [`engine`]: continuous batching over a KV cache in blocks, one iteration at a time;
//! - [`profile`]: how long an iteration takes and how much memory there is, for real GPUs and models;
//! - [`cold_start`]: the phases before the first request;
//! - [`fleet`]: many engines in simulated time, with nodes, starts, faults and the gateway's own routing;
//! - [`plot`]: runs as charts;
//! - [`policy`]: what says how many replicas there are;
//! - [`recorded`]: what a journal says really happened, as a trace;
//! - [`scenario`]: Markdown that says how a fleet should behave, and is held to it;
//! - [`score`]: what no policy can do better than, and how near one comes;
//! - [`trace`]: request logs as published, as one stream of [`trace::TraceRequest`];
//! - [`tune`]: settings of a manifest to be tried.
#![forbid(unsafe_code)]

pub mod cold_start;
pub mod engine;
pub mod fleet;
pub mod plot;
pub mod policy;
pub mod profile;
pub mod random;
pub mod recorded;
pub mod scenario;
pub mod score;
pub mod trace;
pub mod tune;

pub use cold_start::{ColdStart, Phase};
pub use engine::{Engine, Finish, Finished, Outputs, Prefix, Request, Stats};
pub use profile::Profile;
pub use trace::{TraceRequest, demo_trace};
