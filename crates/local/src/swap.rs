//! Model swap: who yields a GPU when none is free and somebody has requests waiting.
//!
//! Pure, so that the decision can be shown and tested: the driver says who could, this says who does.
//! Least recently used goes first, and never
//! - one with a request in flight or held,
//! - one at its minimum,
//! - one whose manifest says `tidegate.dev/preemptible: "false"`,
//! - one that came less than the minimum residence ago.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tidegate_core::time::{Span, Time};

/// Shortest stay on a GPU. Loading takes from seconds to minutes: two models asked for in turn every
/// 10 s would otherwise spend all their time loading. With 30 s each is at least there for as long as a
/// small start takes, and a request waits at the most that much longer.
pub const MIN_RESIDENCE: Span = Span::from_secs(30);

/// A target that holds devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub target: Arc<str>,
    /// Since when nothing is in flight or held; `None` while something is.
    pub idle_since: Option<Time>,
    /// Replicas that hold devices.
    pub replicas: u32,
    /// Fewest it may have.
    pub min: u32,
    /// Whether it yields at all.
    pub preemptible: bool,
    /// When the youngest of its replicas got its devices.
    pub resident_since: Time,
    /// Its own shortest stay.
    pub min_residence: Span,
    /// Devices of one replica.
    pub gpus_per_replica: u32,
}

/// Who gives up how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Yield {
    /// Which target.
    pub target: Arc<str>,
    /// Replicas it gives up.
    pub replicas: u32,
    /// Devices that come free by it.
    pub gpus: u32,
}

/// Why a target does not yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It has requests in flight or held.
    Busy,
    /// It has no more than its minimum.
    AtMinimum,
    /// Its manifest forbids it.
    NotPreemptible,
    /// It came too short a while ago.
    Resident {
        /// How long it stays at the least from now.
        left: Span,
    },
    /// It would yield, and it would not be enough.
    TooSmall,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Busy => f.write_str("is busy"),
            Why::AtMinimum => f.write_str("is at its minimum"),
            Why::NotPreemptible => f.write_str("is not preemptible"),
            Why::Resident { left } => {
                // Whole seconds, rounded up: nobody needs more.
                write!(f, "came too recently and stays {} s more", (left.as_micros() + 999_999) / 1_000_000)
            }
            Why::TooSmall => f.write_str("has too few to give"),
        }
    }
}

/// Nobody yields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Devices that are missing.
    pub missing: u32,
    /// Every target that holds devices, and why it keeps them.
    pub because: Vec<(Arc<str>, Why)>,
}

impl Refusal {
    /// When asking again could be answered otherwise by the clock alone.
    #[must_use]
    pub fn retry_in(&self) -> Option<Span> {
        let left = |why: &Why| if let Why::Resident { left } = why { Some(*left) } else { None };
        self.because.iter().filter_map(|(_, why)| left(why)).min()
    }
}

impl fmt::Display for Refusal {
    /// `2 GPUs are missing; default/chat is busy, default/code is at its minimum`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plural, verb) = if self.missing == 1 { ("", "is") } else { ("s", "are") };
        write!(f, "{} GPU{plural} {verb} missing; ", self.missing)?;
        if self.because.is_empty() {
            return f.write_str("no other target holds one");
        }
        for (position, (target, why)) in self.because.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}{target} {why}")?;
        }
        Ok(())
    }
}

/// Chooses who gives up `missing` devices: as few targets as the order of last use allows.
///
/// # Errors
/// When all who may yield have too little together: the reasons of all.
pub fn choose(now: Time, missing: u32, candidates: &[Candidate]) -> Result<Vec<Yield>, Refusal> {
    let mut willing: Vec<(Time, &Candidate)> = Vec::new();
    let mut because = Vec::new();
    for candidate in candidates.iter().filter(|one| one.gpus_per_replica > 0 && one.replicas > 0) {
        match refuses(now, candidate) {
            Ok(idle_since) => willing.push((idle_since, candidate)),
            Err(why) => because.push((Arc::clone(&candidate.target), why)),
        }
    }
    willing.sort_by(|a, b| (a.0, &a.1.target).cmp(&(b.0, &b.1.target)));
    let mut yields: Vec<Yield> = Vec::new();
    let mut freed = 0_u32;
    for (_, candidate) in &willing {
        if freed >= missing {
            break;
        }
        let spare = candidate.replicas - candidate.min;
        let replicas = (missing - freed).div_ceil(candidate.gpus_per_replica).min(spare);
        let gpus = replicas * candidate.gpus_per_replica;
        freed += gpus;
        yields.push(Yield { target: Arc::clone(&candidate.target), replicas, gpus });
    }
    if freed < missing {
        let small = willing.iter().map(|(_, one)| (Arc::clone(&one.target), Why::TooSmall));
        because.extend(small);
        because.sort_by(|a, b| a.0.cmp(&b.0));
        return Err(Refusal { missing, because });
    }
    // Four devices wanted: if the first gives 1 and the second 4, the first may stay. The more
    // recently used are spared first.
    let mut index = yields.len();
    while index > 0 {
        index -= 1;
        if freed - yields[index].gpus >= missing {
            freed -= yields[index].gpus;
            yields.remove(index);
        }
    }
    Ok(yields)
}

fn refuses(now: Time, candidate: &Candidate) -> Result<Time, Why> {
    if !candidate.preemptible {
        return Err(Why::NotPreemptible);
    }
    let Some(idle_since) = candidate.idle_since else { return Err(Why::Busy) };
    if candidate.replicas <= candidate.min {
        return Err(Why::AtMinimum);
    }
    let stayed = now.since(candidate.resident_since);
    if stayed < candidate.min_residence {
        let left = Span::from_micros(candidate.min_residence.as_micros() - stayed.as_micros());
        return Err(Why::Resident { left });
    }
    Ok(idle_since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Time {
        Time::from_secs(1000)
    }

    fn idle(target: &str, idle_since_s: i64, gpus_per_replica: u32) -> Candidate {
        Candidate {
            target: target.into(),
            idle_since: Some(Time::from_secs(idle_since_s)),
            replicas: 1,
            min: 0,
            preemptible: true,
            resident_since: Time::from_secs(0),
            min_residence: MIN_RESIDENCE,
            gpus_per_replica,
        }
    }

    fn names(yields: &[Yield]) -> Vec<&str> {
        yields.iter().map(|one| &*one.target).collect()
    }

    #[test]
    fn the_least_recently_used_yields() {
        let all = [idle("a", 900, 1), idle("b", 500, 1), idle("c", 700, 1)];
        assert_eq!(names(&choose(now(), 1, &all).unwrap()), ["b"]);
        assert_eq!(names(&choose(now(), 2, &all).unwrap()), ["b", "c"]);
    }

    #[test]
    fn equally_old_ones_yield_by_name() {
        let all = [idle("b", 500, 1), idle("a", 500, 1)];
        assert_eq!(names(&choose(now(), 1, &all).unwrap()), ["a"]);
    }

    #[test]
    fn one_that_would_not_have_been_needed_stays() {
        let all = [idle("small", 100, 1), idle("large", 500, 4)];
        assert_eq!(names(&choose(now(), 4, &all).unwrap()), ["large"]);
    }

    #[test]
    fn only_what_is_above_the_minimum_is_given() {
        let many = Candidate { replicas: 3, min: 1, ..idle("a", 100, 2) };
        let yields = choose(now(), 3, std::slice::from_ref(&many)).unwrap();
        assert_eq!(yields, [Yield { target: "a".into(), replicas: 2, gpus: 4 }]);
        let refusal = choose(now(), 5, &[many]).unwrap_err();
        assert_eq!(refusal.because, [("a".into(), Why::TooSmall)]);
    }

    #[test]
    fn nobody_who_must_not_yields_and_all_reasons_are_told() {
        let all = [
            Candidate { idle_since: None, ..idle("busy", 0, 1) },
            Candidate { min: 1, ..idle("floor", 0, 1) },
            Candidate { preemptible: false, ..idle("kept", 0, 1) },
            Candidate { resident_since: Time::from_secs(990), ..idle("new", 995, 1) },
        ];
        let refusal = choose(now(), 1, &all).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "1 GPU is missing; busy is busy, floor is at its minimum, kept is not preemptible, \
             new came too recently and stays 20 s more"
        );
        assert_eq!(refusal.retry_in(), Some(Span::from_secs(20)));
    }

    #[test]
    fn a_machine_whose_gpus_nobody_of_ours_holds_says_so() {
        let text = choose(now(), 2, &[]).unwrap_err().to_string();
        assert_eq!(text, "2 GPUs are missing; no other target holds one");
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_enough_and_never_forbidden(
            missing in 1_u32..8,
            all in proptest::collection::vec(
                (any::<bool>(), 0_i64..1000, 0_u32..4, 0_u32..3, any::<bool>(), 0_u32..4),
                0..8,
            ),
        ) {
            let all: Vec<Candidate> = all
                .into_iter()
                .enumerate()
                .map(|(number, (busy, since, replicas, min, preemptible, gpus))| Candidate {
                    idle_since: (!busy).then(|| Time::from_secs(since)),
                    replicas,
                    min,
                    preemptible,
                    ..idle(&format!("t{number}"), 0, gpus)
                })
                .collect();
            if let Ok(yields) = choose(now(), missing, &all) {
                let freed: u32 = yields.iter().map(|one| one.gpus).sum();
                prop_assert!(freed >= missing);
                for one in &yields {
                    let of = all.iter().find(|candidate| candidate.target == one.target).unwrap();
                    prop_assert!(of.idle_since.is_some() && of.preemptible);
                    prop_assert!(of.replicas - one.replicas >= of.min);
                    // Nobody is put out for nothing.
                    prop_assert!(freed - one.gpus < missing);
                }
            }
        }
    }
}
