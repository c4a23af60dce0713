//! The operator against an API server with objects, versions, watches and conflicts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adoption;
mod cluster;
mod election;
mod outage;
mod rig;
mod scaling;
mod server;
mod webhook;
