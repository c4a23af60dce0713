//! `tidegate operator` and `tidegate gateway` on a real control plane: real programs, real traffic, and pods
//! whose containers are `tidegate engine` processes beside them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod demo;
mod kubelet;
mod program;
mod stage;
