//! The `scale` machine: how many replicas one target should have, and why.
//!
//! ```text
//! readings ─▶ signals ─▶ activity ─▶ propose ─▶ stabilise ─▶ limit ─▶ Decision
//!             absent,     KEDA's      one a       windows     policies,  (every step
//!             stale,      0 ↔ min     signal                  min, max    kept)
//!             fallback
//! ```
//!
//! [`Scaler::step`] takes one [`Event`] and appends [`Action`]s. A tick decides and a new spec changes
//! the rules; every other event only stores what was observed, so their order at one instant cannot matter.
//!
//! - [`spec`]: what the manifest asks for;
//! - [`observe`]: what was seen;
//! - [`signals`]: from readings to values, with fallback and formula;
//! - [`keda`]: the part of KEDA that moves between zero and the minimum;
//! - [`hpa`]: the horizontal pod autoscaler's part, from one replica up;
//! - `slo`: policy `slo` between activation and the autoscaler's part;
//! - [`jobs`]: how many jobs a ScaledJob creates;
//! - `resume`: what one driver leaves for the next;
//! - [`victims`]: which replicas go first;
//! - [`decision`]: a decision as data.

pub mod decision;
pub mod hpa;
pub mod jobs;
pub mod keda;
mod machine;
pub mod observe;
mod propose;
mod resume;
pub mod signals;
mod slo;
pub mod spec;
pub mod victims;

pub use decision::{Because, Decision, Rule, Step};
pub use machine::{Action, Event, Scaler, SpecError, State};
pub use observe::{Fleet, Job, JobPod, Phase, Pod, Reading, Requests, Room, Sample};
pub use spec::Spec;
