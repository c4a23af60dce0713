//! The decision: given what was observed, how many replicas, and why.
//!
//! Everything here is a pure state machine of the form `step(now, event, &mut actions)`. A driver
//! (processes on one machine, pods on Kubernetes, a simulated fleet) turns its world into
//! [`scale::Event`]s and carries [`scale::Action`]s out. There is no clock, no randomness, no I/O and
//! no logging: the crate is `no_std`, so the compiler proves it.
//!
//! Where to look:
//! - [`scale`]: the machine that decides replicas for one target;
//! - [`slo`]: the policy that counts work in tokens and looks one start ahead;
//! - [`route`]: the machine that decides who waits, who goes where and who is refused;
//! - [`time`], [`units`]: the numbers it counts in;
//! - [`window`]: bounded memories of what was recommended and done;
//! - [`formula`]: how expressions come in from outside;
//! - [`journal`]: the written form of a run, from which it can be replayed.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod formula;
pub mod journal;
pub mod route;
pub mod scale;
pub mod slo;
pub mod time;
pub mod units;
pub mod window;
