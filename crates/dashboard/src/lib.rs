//! The admin listener: fleet, reasons and metrics as pages, JSON and Prometheus text.
//!
//! Whoever runs a fleet tells a [`Board`] once a second how things are ([`Board::publish`]) and of each
//! decision as it is made ([`Board::decided`]); [`serve()`] answers from it. Nothing here changes
//! the fleet: what can be written are samples, into the store of series.
#![forbid(unsafe_code)]

mod access;
mod assets;
pub mod board;
pub mod brief;
pub mod decision;
mod events;
pub mod health;
pub mod history;
pub mod model;
mod page;
mod prom;
mod push;
mod routes;
mod series;
mod serve;
pub mod source;
pub mod why;

pub use access::TOKEN_CHARS_MIN;
pub use board::Board;
pub use health::Health;
pub use push::{Number, Push, number};
pub use serve::{Config, Error, Running, serve};
pub use source::Source;
