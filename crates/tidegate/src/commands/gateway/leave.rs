//! How a gateway leaves: it lingers, then it drains.
//!
//! ```text
//! SIGTERM ─▶ not ready, takes requests (linger) ─▶ takes none, ends what runs (drain) ─▶ cuts what is left
//! ```
//!
//! A pod that is told to end is taken out of its Service at the same moment, and every node and load balancer hears
//! of it by itself, a second or more later. Until then they send requests here.

use std::time::Duration;

use clap::Args;
use tidegate_gateway::Gateway;

use crate::output;

/// How long requests are taken after SIGTERM in a pod: nodes follow a Service within a second or two, what watches
/// readiness from outside within some 5 s.
const LINGER_S: u64 = 5;

/// The longest that can be asked for, of either.
const LONGEST_S: u64 = 24 * 3600;

#[derive(Debug, Args)]
pub(super) struct LeaveArgs {
    /// After SIGTERM, how many seconds running requests and streams may take to their end; what is left then is cut.
    /// It begins when the lingering is over.
    #[arg(long, value_name = "SECONDS", env = "TIDEGATE_DRAIN", default_value_t = 30, value_parser = seconds())]
    drain: u64,
    /// After SIGTERM, for how many seconds requests are still taken while the gateway says that it is not ready. 5 in
    /// a pod without it, elsewhere 0.
    #[arg(long, value_name = "SECONDS", env = "TIDEGATE_LINGER", value_parser = seconds())]
    linger: Option<u64>,
}

fn seconds() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(0..=LONGEST_S)
}

impl LeaveArgs {
    /// Stops the gateway, which winds down already, as it was asked to; `at_once` ends all waiting.
    pub(super) async fn carry_out(&self, gateway: &Gateway, at_once: impl Future<Output = ()>) {
        let in_a_pod = || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        let linger = self.linger.unwrap_or_else(|| if in_a_pod() { LINGER_S } else { 0 });
        let leaving = async {
            if linger > 0 {
                output::note(&format!(
                    "leaving: requests are taken for {linger} s more; once more stops at once"
                ));
                tokio::time::sleep(Duration::from_secs(linger)).await;
            }
            output::note(&format!("stopping: what runs may take {} s; once more stops at once", self.drain));
            gateway.stop(Duration::from_secs(self.drain)).await;
        };
        tokio::select! {
            () = leaving => {}
            () = at_once => {}
        }
    }
}
