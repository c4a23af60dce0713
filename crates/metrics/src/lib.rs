//! Engine metric dialects and PromQL, as plain data and pure functions.
//!
//! An autoscaler is only as good as the number it reads, and most bad scaling comes from a query
//! that parses, returns something, and means something else: a metric renamed two releases ago, a
//! label no scrape ever adds, a mean where a total was meant, a result that disappears together
//! with the last replica. This crate holds the knowledge needed to tell: [`dialect`] says what each
//! inference engine writes to `/metrics`, and [`promql`] says what a query returns, without a
//! server and without data.
//!
//! The rest reads: [`exposition`] takes a page apart, [`sample`] makes of it what a replica says of
//! itself, [`counter`], [`histogram`] and [`rates`] what that means over time; [`store`] keeps the series
//! that queries name, [`eval`] answers them, and [`api`] and [`remote`] give and take them in Prometheus'
//! own forms. Nothing here reads a file, a clock or the network.

pub mod api;
pub mod counter;
pub mod dialect;
pub mod eval;
pub mod exposition;
pub mod gpu;
pub mod histogram;
pub mod promql;
pub mod rates;
pub mod remote;
pub mod sample;
pub mod store;
