//! The machine with real processes, real sockets and real signals.

mod common;
mod crashes;
mod devices;
mod lifecycle;
mod orphans;
mod probes;
