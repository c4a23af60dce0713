//! Which replicas go first when there are to be fewer.
//!
//! What serves nobody goes first; among those that serve, the one with the least to do. A replica that was
//! chosen stays chosen while it serves as it did, for its drain has begun, and a count of requests that
//! moves each second must not move the choice along. The order of standings is that of a ReplicaSet, which
//! goes by it before it looks at anything that somebody else may choose.

use alloc::vec::Vec;
use core::cmp::{Ordering, Reverse};

use crate::time::Time;

/// How far a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It waits for a place to run.
    Waiting,
    /// It has one and is on its way up.
    Starting,
    /// It runs, and takes no requests.
    Unready,
    /// It takes requests.
    Ready,
}

/// A replica that may go.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// How far it is.
    pub standing: Standing,
    /// What somebody said that losing it costs; 0 where nobody did.
    pub cost: i32,
    /// Whether it was chosen before, and its drain has begun.
    pub draining: bool,
    /// Requests it has, waiting and running; `None` where nobody knows, which counts as none.
    pub requests: Option<f64>,
    /// When it was made.
    pub created: Option<Time>,
}

/// The `count` that go, the first first.
#[must_use]
pub fn choose<'a>(candidates: &[Candidate<'a>], count: usize) -> Vec<&'a str> {
    let mut order: Vec<&Candidate<'a>> = candidates.iter().collect();
    order.sort_by(|one, other| before(one, other));
    order.into_iter().take(count).map(|candidate| candidate.name).collect()
}

fn before(one: &Candidate<'_>, other: &Candidate<'_>) -> Ordering {
    let first = |of: &Candidate<'_>| (of.standing, of.cost, !of.draining);
    let requests = |of: &Candidate<'_>| of.requests.unwrap_or(0.0);
    first(one)
        .cmp(&first(other))
        .then(requests(one).total_cmp(&requests(other)))
        // The youngest knows the least: its caches are cold.
        .then(Reverse(one.created).cmp(&Reverse(other.created)))
        .then(one.name.cmp(other.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(name: &str, requests: f64) -> Candidate<'_> {
        let requests = Some(requests);
        Candidate { name, standing: Standing::Ready, cost: 0, draining: false, requests, created: None }
    }

    #[test]
    fn what_serves_nobody_goes_before_the_least_busy() {
        let starting = Candidate { standing: Standing::Starting, ..ready("starting", 0.0) };
        let waiting = Candidate { standing: Standing::Waiting, ..ready("waiting", 0.0) };
        let all = [ready("busy", 9.0), ready("idle", 1.0), starting, waiting];
        assert_eq!(choose(&all, 3), ["waiting", "starting", "idle"]);
        assert_eq!(choose(&all, 9).len(), 4);
    }

    #[test]
    fn one_that_drains_stays_chosen_though_another_has_less_to_do_by_now() {
        let draining = Candidate { draining: true, ..ready("draining", 5.0) };
        assert_eq!(choose(&[ready("idle", 0.0), draining], 1), ["draining"]);
    }

    #[test]
    fn what_somebody_said_of_the_cost_goes_before_our_own_count() {
        let dear = Candidate { cost: 10, ..ready("dear", 0.0) };
        assert_eq!(choose(&[dear, ready("busy", 9.0)], 1), ["busy"]);
    }

    #[test]
    fn of_equals_the_youngest_goes() {
        let at = |name, seconds| Candidate { created: Some(Time::from_secs(seconds)), ..ready(name, 1.0) };
        assert_eq!(choose(&[at("a-old", 1), at("b-young", 2)], 1), ["b-young"]);
    }
}
