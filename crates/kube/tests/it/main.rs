//! The operator against an API server with objects, versions, watches and conflicts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adoption;
mod clocks;
mod cluster;
mod custom;
mod demand;
mod election;
mod ends;
mod faults;
mod faults_real;
mod gateways;
mod groups;
mod guides;
mod install;
mod jobs;
mod leaving;
mod link;
mod memory;
mod outage;
mod real;
mod recorded;
mod rig;
mod rights;
mod rivals_real;
mod roles;
mod roles_of_parts;
mod room;
mod scaling;
mod server;
mod shards;
mod sight;
mod silence;
mod slo;
mod told;
mod webhook;
mod witness;
