//! The operator against an API server with objects, versions, watches and conflicts.

mod election;
mod outage;
mod rig;
mod scaling;
mod server;
