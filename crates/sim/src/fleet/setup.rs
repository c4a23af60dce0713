//! What is simulated: engines, starts, nodes, faults, limits.

use serde::{Deserialize, Serialize};
use tidegate_core::route::Limits;
use tidegate_core::time::Span;

use crate::cold_start::ColdStart;
use crate::profile::Profile;

/// A set-up that cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The profile has numbers out of range.
    #[error(transparent)]
    Profile(#[from] crate::profile::Error),
    /// A number outside its range.
    #[error("the fleet's {field} is {value}; it must be {must}")]
    Range {
        /// Which.
        field: &'static str,
        /// What it says.
        value: f64,
        /// What is allowed.
        must: &'static str,
    },
    /// No pool of nodes has room for one replica.
    #[error("a replica needs {gpus} GPUs on one node, and no pool has nodes with as many; add a larger pool")]
    NoPool {
        /// GPUs of a replica.
        gpus: u32,
    },
}

/// Everything about the world but the requests and the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// The engine of every replica.
    pub profile: Profile,
    /// Replicas that are ready when the trace begins.
    pub initial: u32,
    /// No policy gets more than this.
    pub max: u32,
    /// A replica's start, by phases.
    pub start: ColdStart,
    /// How much single phases differ: the deviation of a phase's logarithm. 0 for none.
    pub start_spread: f64,
    /// What may wait at the gateway.
    pub limits: Limits,
    /// Nodes and what goes wrong.
    pub fleet: Fleet,
    /// A request is good when its first token comes within this time.
    pub slo_ttft: Span,
    /// And, where this is given, when its later tokens take no longer on average.
    pub slo_itl: Option<Span>,
    /// Chance.
    pub seed: u64,
}

/// The machines below, as a file may describe them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fleet {
    /// Where replicas can run; the first with room is taken.
    pub pools: Vec<Pool>,
    /// What goes wrong.
    pub faults: Faults,
    /// A replica that drains is ended after this, whatever it still has.
    pub drain_max_s: f64,
}

/// Nodes of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    /// What it is called.
    pub name: String,
    /// GPUs of one node.
    pub gpus_per_node: u32,
    /// Nodes that are always there.
    pub nodes_min: u32,
    /// Nodes there can be.
    pub nodes_max: u32,
    /// From asking for a node to having it.
    pub provision_s: f64,
    /// A node without replicas goes after this.
    pub idle_s: f64,
    /// Loads that run on one node at full speed; more share what there is: a disk of 2 GB/s and a loader
    /// of 1 GB/s make 2.
    pub loads_at_full_speed: u32,
    /// Whether its nodes can be taken away.
    pub spot: bool,
    /// For spot: times a node is taken away, an hour.
    pub losses_per_hour: f64,
    /// For spot: at each of these seconds one node is taken away, the one with the fewest free GPUs.
    pub losses_at_s: Vec<f64>,
    /// For spot: how long before it is told.
    pub notice_s: f64,
}

impl Default for Pool {
    fn default() -> Self {
        Pool {
            name: "on-demand".to_owned(),
            gpus_per_node: 8,
            nodes_min: 0,
            nodes_max: 1_024,
            provision_s: 0.0,
            idle_s: 600.0,
            loads_at_full_speed: 8,
            spot: false,
            losses_per_hour: 0.0,
            losses_at_s: Vec::new(),
            // What AWS gives; GCP and Azure give 30 s.
            notice_s: 120.0,
        }
    }
}

/// What goes wrong with replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Times a ready replica's process dies, an hour. It starts again where it was.
    pub crashes_per_hour: f64,
    /// Share of replicas that are slow.
    pub slow_share: f64,
    /// How many times as long everything takes there.
    pub slow_factor: f64,
    /// From this second on no engine can be scraped,
    pub no_metrics_from_s: f64,
    /// for so long; 0 for never. The gateway's own demand is still known.
    pub no_metrics_for_s: f64,
}

impl Default for Fleet {
    fn default() -> Self {
        Fleet { pools: vec![Pool::default()], faults: Faults::default(), drain_max_s: 300.0 }
    }
}

/// Replicas at the most: the router's own tests hold 500 endpoints, and a journal line names no more.
pub const REPLICAS_MAX: u32 = 4_096;

/// Losses at set times of one pool at the most: the agenda holds them all from the beginning.
const LOSSES_MAX: f64 = 1_000.0;

/// Pools at the most: nobody has more kinds of GPU nodes in one cluster.
pub const POOLS_MAX: usize = 32;

impl Setup {
    /// A fleet of this engine without faults: nodes are there, starts take what the profile says.
    #[must_use]
    pub fn new(profile: Profile) -> Setup {
        let start = profile.cold_start;
        let slots = profile.max_num_seqs;
        Setup {
            profile,
            initial: 1,
            max: 64,
            start,
            start_spread: 0.1,
            // What `tidegate up` gives a target whose manifest says nothing.
            limits: Limits {
                hold_count_max: 1_000,
                hold_bytes_max: u64::MAX,
                wait_no_replica: Span::from_secs(600),
                wait_busy: Span::from_secs(120),
                slots,
                tenant_count_max: u32::MAX,
            },
            fleet: Fleet::default(),
            slo_ttft: Span::from_secs(2),
            slo_itl: None,
            seed: 1,
        }
    }

    /// Whether it can be run.
    ///
    /// # Errors
    /// The first number out of range.
    pub fn check(&self) -> Result<(), Error> {
        self.profile.check()?;
        let within = |field, value: f64, most: f64, must| {
            if (0.0..=most).contains(&value) { Ok(()) } else { Err(Error::Range { field, value, must }) }
        };
        const WEEK: f64 = 604_800.0;
        within("max", f64::from(self.max), f64::from(REPLICAS_MAX), "at most 4,096")?;
        within("initial", f64::from(self.initial), f64::from(self.max), "at most max")?;
        within("start", self.start.total_s(), WEEK, "between 0 and a week")?;
        within("start_spread", self.start_spread, 2.0, "between 0 and 2")?;
        within("drain_max_s", self.fleet.drain_max_s, WEEK, "between 0 and a week")?;
        within("number of pools", self.fleet.pools.len() as f64, POOLS_MAX as f64, "at most 32")?;
        let faults = &self.fleet.faults;
        within("crashes_per_hour", faults.crashes_per_hour, 3_600.0, "between 0 and 3,600")?;
        within("slow_share", faults.slow_share, 1.0, "between 0 and 1")?;
        within("slow_factor", faults.slow_factor, 1_000.0, "between 0 and 1,000")?;
        within("no_metrics_from_s", faults.no_metrics_from_s, 52.0 * WEEK, "between 0 and a year")?;
        within("no_metrics_for_s", faults.no_metrics_for_s, 52.0 * WEEK, "between 0 and a year")?;
        for pool in &self.fleet.pools {
            within("number of losses_at_s", pool.losses_at_s.len() as f64, LOSSES_MAX, "at most 1,000")?;
            for at_s in &pool.losses_at_s {
                within("losses_at_s", *at_s, 52.0 * WEEK, "between 0 and a year")?;
            }
            within("gpus_per_node", f64::from(pool.gpus_per_node), 1_024.0, "at most 1,024")?;
            within("nodes_max", f64::from(pool.nodes_max), 65_536.0, "at most 65,536")?;
            within("nodes_min", f64::from(pool.nodes_min), f64::from(pool.nodes_max), "at most nodes_max")?;
            within("provision_s", pool.provision_s, WEEK, "between 0 and a week")?;
            within("idle_s", pool.idle_s, WEEK, "between 0 and a week")?;
            within("losses_per_hour", pool.losses_per_hour, 3_600.0, "between 0 and 3,600")?;
            within("notice_s", pool.notice_s, WEEK, "between 0 and a week")?;
        }
        let gpus = self.profile.gpus;
        if self.fleet.pools.iter().all(|pool| pool.gpus_per_node < gpus) {
            return Err(Error::NoPool { gpus });
        }
        Ok(())
    }
}

/// Seconds of a checked field as a span.
pub(super) fn span(seconds: f64) -> Span {
    Span::try_from_secs_f64(seconds).unwrap_or(Span::ZERO)
}
