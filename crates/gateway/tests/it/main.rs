//! The gateway as its clients and engines see it: real sockets on loopback, a fake engine with a will of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod access;
mod client;
mod engine;
mod forwarding;
mod holding;
mod hostile_clients;
mod hostile_engines;
mod protocol;
mod setup;
mod streams;
mod tls;
