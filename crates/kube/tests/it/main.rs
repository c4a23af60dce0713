//! The operator against an API server with objects, versions, watches and conflicts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod election;
mod leaving;
mod outage;
mod rig;
mod room;
mod scaling;
mod server;
mod sight;
