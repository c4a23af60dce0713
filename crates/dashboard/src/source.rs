//! What the listener asks of whoever runs the fleet.

use std::sync::Arc;

use tokio::sync::watch;

use crate::decision::DecisionView;
use crate::health::Health;
use crate::history::Sample;
use crate::model::Fleet;
use crate::why::{self, Why};

/// Where everything shown comes from. [`Board`](crate::Board) is one that only needs to be told.
pub trait Source: Send + Sync + 'static {
    /// The fleet as it is.
    fn fleet(&self) -> Arc<Fleet>;

    /// The last `span_s` seconds of a target, oldest first; `None` for a target that does not exist.
    fn history(&self, target: &str, span_s: f64) -> Option<Vec<Sample>>;

    /// All changes that are remembered of a target, newest first.
    fn decisions(&self, target: &str) -> Vec<DecisionView>;

    /// Why a target has its count, now or at a Unix time.
    ///
    /// # Errors
    /// When the target is unknown, was never decided, or memory does not reach as far back.
    fn why(&self, target: &str, at_unix_s: Option<f64>) -> Result<Why, why::Error>;

    /// Metrics beside those made of the fleet, as Prometheus text without an end mark.
    fn metrics(&self, out: &mut String);

    /// What probes are told; `None` where whoever answers at all is well.
    fn health(&self) -> Option<&Health> {
        None
    }

    /// Changes each time there is something new to show.
    fn subscribe(&self) -> watch::Receiver<u64>;
}
