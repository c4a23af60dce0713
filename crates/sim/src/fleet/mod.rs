//! A fleet in simulated time: requests from a trace, the gateway's own routing, engines by iteration, nodes,
//! starts and faults, and a policy that says how many replicas there are.
//!
//! Discrete events over whole microseconds, one thread, nothing drawn but from the seed: the same set-up,
//! trace and policy give the same run, bit for bit.
//!
//! - `setup`: what is simulated;
//! - `world`: the loop over what happens;
//! - `serve`: requests, the route machine and the engines;
//! - `lifecycle`, `replica`, `nodes`: starts, drains, losses; where replicas are;
//! - `measure`, `timeline`, `outcome`: what came of it;
//! - `agenda`, `live`: what happens next, and who is under way.
//!
//! # What it leaves out
//! The network: a request takes no time from gateway to engine. Prompts are counted exactly, where a real
//! gateway estimates them from bytes. One target a run. A killed replica that had begun an answer fails it;
//! before the first token the gateway's own retries apply.

mod agenda;
mod lifecycle;
mod live;
mod measure;
mod nodes;
mod outcome;
mod replica;
mod serve;
mod setup;
mod timeline;
mod world;

pub use outcome::{Change, Distribution, Little, Outcome, Refusals};
pub use replica::{TTFT_BOUNDS_S, Ttft};
pub use setup::{Error as SetupError, Faults, Fleet, POOLS_MAX, Pool, REPLICAS_MAX, Setup};
pub use timeline::{Bin, Timeline};
pub use world::{Error, Progress, run};
