//! Open-loop load from a rate plan or a trace, and what came of it.
//!
//! *Open loop*: a request leaves when the schedule says so, whether or not earlier ones were answered. A
//! closed loop slows down with the server it measures and so hides every queue.
//!
//! - [`plan::Plan`] and [`schedule::Schedule`]: what is sent when;
//! - [`options::Options`]: where to, how, and what counts as good;
//! - [`run()`]: plays the schedule and hands back a [`report::Report`];
//! - [`page::html`]: the report as a page with charts.
//!
//! ```no_run
//! # async fn play() -> Result<(), Box<dyn std::error::Error>> {
//! use tidegate_load::{Mix, Options, Plan, Schedule, run, schedule::Arrivals};
//!
//! let plan = Plan::parse("0s:1rps 30s:20rps 60s:0rps")?;
//! let schedule = Schedule::from_plan(plan, Arrivals::Poisson, 7, Mix::of("llama"));
//! let report = run(Options::to("http://127.0.0.1:8080")?, schedule, &mut ()).await?;
//! assert_eq!(report.failed, 0);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod answer;
mod exchange;
pub mod files;
pub mod options;
pub mod page;
mod prompt;
mod record;
pub mod report;
mod run;
pub mod schedule;
pub mod sse;
mod times;

pub use options::Options;
pub use report::Report;
pub use run::{Error, Progress, Snapshot, models, run};
pub use schedule::{Mix, Schedule};
pub use tidegate_sim::trace::plan::{self, Plan};
