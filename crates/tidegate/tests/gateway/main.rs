//! `tidegate operator` and `tidegate gateway` on a real control plane: real programs, real traffic, and pods
//! whose containers are `tidegate engine` processes beside them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod account;
mod alone;
mod demo;
mod kubelet;
mod program;
/// The API server of the operator's own tests.
#[path = "../../../kube/tests/it/server.rs"]
#[expect(dead_code, reason = "its own tests use more of it")]
mod server;
mod stage;
