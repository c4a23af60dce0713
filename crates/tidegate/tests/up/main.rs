//! `tidegate up`, as users run it: the real program, real processes, real sockets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clients;
mod death;
mod demo;
mod doctor;
mod drain;
mod files;
mod fleet;
mod gguf;
mod hold;
mod llamacpp;
mod load;
mod rig;
mod secure;
mod signals;
mod swap;
