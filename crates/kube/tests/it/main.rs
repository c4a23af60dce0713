//! The operator against an API server with objects, versions, watches and conflicts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adoption;
mod cluster;
mod custom;
mod demand;
mod election;
mod faults;
mod faults_real;
mod guides;
mod install;
mod jobs;
mod leaving;
mod link;
mod outage;
mod real;
mod rig;
mod roles;
mod room;
mod scaling;
mod server;
mod shards;
mod sight;
mod slo;
mod webhook;
