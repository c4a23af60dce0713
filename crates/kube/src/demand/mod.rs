//! What gateways tell the operator: demand for targets, what is in flight at pods; and what it tells them.
//!
//! ```text
//! gateway ─▶ Report ─▶ server ─▶ Book (in the loop) ─▶ Event, as if the gateway were here
//!    ▲                             │ drains, outlooks
//!    └──────────── Word ◀──────────┘
//! ```
//!
//! A gateway tells every operator it can reach, also a standby: who takes over knows the demand already.
//! What a silent gateway said last is counted for [`SILENT_AFTER`], then it is stale, and never zero: until
//! its pod is known to be gone, or for [`FORGOTTEN_AFTER`] where nobody knows its pod. Who there was is remembered
//! ([`Roll`]), so an operator that begins anew does not take the first gateway's share for all there is.
//!
//! - [`report`]: a report, checked; [`book`]: all of them, summed;
//! - [`listen`], [`server`]: where gateways connect, [`account`]: whose tokens are taken;
//! - [`client`], `link`: the gateway's side;
//! - [`proto`]: the messages.

pub mod account;
pub mod book;
pub mod client;
mod link;
pub mod listen;
/// The messages and the service, made of `proto/demand.proto`.
#[rustfmt::skip]
#[expect(clippy::allow_attributes, reason = "made by codegen")]
pub mod proto;
pub mod report;
pub mod server;
#[cfg(test)]
mod tests;

pub use book::{Book, FIRST_WORD, FORGOTTEN_AFTER, Known, Live, LivePods, Roll, SILENT_AFTER};
pub use report::Report;
