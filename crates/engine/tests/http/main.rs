//! The stand-in over loopback, as its clients see it.

mod api;
mod client;
mod life;
mod metrics;
