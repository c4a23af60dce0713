//! Policy `slo`: as many replicas as the work needs one start from now, and no number for the user to guess.
//!
//! ```text
//! Load ─▶ cost ──────▶ work, in replicas kept busy ─▶ forecast ─▶ plan ─▶ replicas
//!         what a token    (tokens × seconds each)      one start    two thresholds,
//!         takes, learned                               ahead, and   a hold, N−1
//!                                                      its error
//! ```
//!
//! [`Planner`] is one target's memory; [`Planner::observe`] takes what came and what was done over a second or
//! so, [`Planner::plan`] says how many replicas, with every term. The `scale` machine makes steps of the
//! terms and a proposal of the count, so the manifest's `behavior`, windows and bounds apply to it as to any other.
//!
//! - [`load`]: what is observed;
//! - [`cost`]: what a token takes, learned from engines at work;
//! - `capacity`: how many requests a replica can have in its batch, and how much of its time is to be had;
//! - [`forecast`]: the work after a start, and how far off such forecasts have been;
//! - `starts`: how long starts took;
//! - [`idle`]: how long to stay warm for nobody;
//! - [`plan`]: the count.

mod capacity;
pub mod cost;
pub mod forecast;
pub mod idle;
pub mod load;
pub mod plan;
mod planner;
mod starts;

pub use cost::Cost;
pub use forecast::{Expected, Method};
pub use load::{Engines, Load};
pub use plan::{By, Plan, Standing};
pub use planner::{Objective, Planner};
