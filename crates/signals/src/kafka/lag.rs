//! A group's lag from its offsets and the partitions' ends, by KEDA's rules. Pure: time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_manifest::trigger::{Kafka, OffsetResetPolicy};

use super::api::NO_OFFSET;

/// What decides how offsets become a lag.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    threshold: i64,
    policy: OffsetResetPolicy,
    allow_idle_consumers: bool,
    pub(super) exclude_persistent: bool,
    zero_on_invalid_offset: bool,
    only_partitions_with_lag: bool,
    even: bool,
    activation: i64,
    /// An offset that stands still for this long has a persistent lag. KEDA compares two polls; readings
    /// here come more often than that, and a slow consumer is not a stuck one.
    pub(super) persistent_after: Duration,
}

/// A lag, and whether it means work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    /// Messages, after all of KEDA's limits.
    pub value: f64,
    /// Whether the lag, persistent or not, is above `activationLagThreshold`.
    pub active: bool,
}

/// One partition now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    /// What the group has committed; [`NO_OFFSET`] for nothing.
    pub(super) committed: i64,
    /// The offset the next message will have.
    pub(super) end: i64,
}

/// By topic and partition.
pub(super) type Partitions = BTreeMap<(String, i32), Partition>;

/// Since when each partition's offset is what it is. Partitions that are gone are forgotten, so it never
/// has more than the last reading.
#[derive(Debug, Default)]
pub(super) struct Memory {
    seen: BTreeMap<(String, i32), (i64, Duration)>,
}

impl Rules {
    pub(super) fn of(trigger: &Kafka, persistent_after: Duration) -> Self {
        Rules {
            threshold: trigger.lag_threshold.max(1),
            policy: trigger.offset_reset_policy,
            allow_idle_consumers: trigger.allow_idle_consumers,
            exclude_persistent: trigger.exclude_persistent_lag,
            zero_on_invalid_offset: trigger.scale_to_zero_on_invalid_offset,
            only_partitions_with_lag: trigger.limit_to_partitions_with_lag,
            even: trigger.ensure_even_distribution_of_partitions,
            activation: trigger.activation_lag_threshold,
            persistent_after,
        }
    }

    /// The lag at `now`, a time since any fixed point.
    pub(super) fn lag(&self, partitions: &Partitions, memory: &mut Memory, now: Duration) -> Lag {
        let (mut counted, mut whole, mut with_lag) = (0_i64, 0_i64, 0_i64);
        let mut seen = BTreeMap::new();
        for (place, partition) in partitions {
            let lag = self.of_partition(*partition);
            let persistent = self.exclude_persistent && partition.committed != NO_OFFSET && {
                let since = match memory.seen.get(place) {
                    Some((offset, since)) if *offset == partition.committed => *since,
                    _ => now,
                };
                seen.insert(place.clone(), (partition.committed, since));
                now.saturating_sub(since) >= self.persistent_after && since != now
            };
            whole = whole.saturating_add(lag);
            if lag > 0 && !persistent {
                counted = counted.saturating_add(lag);
                with_lag += 1;
            }
        }
        memory.seen = seen;
        let all = i64::try_from(partitions.len()).unwrap_or(i64::MAX);
        // Lags stay far below 2^53.
        Lag { value: self.limited(counted, all, with_lag) as f64, active: whole > self.activation }
    }

    fn of_partition(&self, partition: Partition) -> i64 {
        if partition.committed != NO_OFFSET {
            // A topic that was made anew may end before what was committed in the old one.
            return partition.end.saturating_sub(partition.committed).max(0);
        }
        match (self.zero_on_invalid_offset, self.policy) {
            (true, _) => 0,
            // Enough to start one consumer, whose first commit tells more.
            (false, OffsetResetPolicy::Latest) => 1,
            (false, OffsetResetPolicy::Earliest) => partition.end.max(0),
        }
    }

    /// No more than one consumer a partition, since more would idle; with `even`, as many as leave each
    /// the same number of partitions.
    fn limited(&self, lag: i64, partitions: i64, with_lag: i64) -> i64 {
        if self.allow_idle_consumers && !self.only_partitions_with_lag && !self.even {
            return lag;
        }
        let consumers = |count: i64| count.saturating_mul(self.threshold);
        let lag = if self.even {
            let mut divisors = (1..=partitions).filter(|count| partitions % count == 0);
            consumers(divisors.find(|count| consumers(*count) >= lag).unwrap_or(partitions))
        } else {
            lag
        };
        let most = if self.only_partitions_with_lag { with_lag } else { partitions };
        if lag / self.threshold > most { consumers(most) } else { lag }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            threshold: 10,
            policy: OffsetResetPolicy::Latest,
            allow_idle_consumers: false,
            exclude_persistent: false,
            zero_on_invalid_offset: false,
            only_partitions_with_lag: false,
            even: false,
            activation: 0,
            persistent_after: Duration::from_secs(30),
        }
    }

    fn partitions(all: &[(i64, i64)]) -> Partitions {
        let numbered = all.iter().zip(0..);
        numbered
            .map(|((committed, end), number)| {
                (("jobs".to_owned(), number), Partition { committed: *committed, end: *end })
            })
            .collect()
    }

    fn lag(rules: &Rules, all: &[(i64, i64)]) -> (f64, bool) {
        let lag = rules.lag(&partitions(all), &mut Memory::default(), Duration::ZERO);
        (lag.value, lag.active)
    }

    #[test]
    fn lags_of_partitions_are_summed_and_none_is_below_zero() {
        assert_eq!(lag(&rules(), &[(5, 9), (0, 3), (7, 7)]), (7.0, true));
        assert_eq!(lag(&rules(), &[(9, 5), (7, 7)]), (0.0, false));
    }

    #[test]
    fn more_replicas_than_partitions_are_not_asked_for_unless_they_may_idle() {
        // 100 / 10 would be ten replicas for two partitions.
        assert_eq!(lag(&rules(), &[(0, 50), (0, 50)]), (20.0, true));
        let idle = Rules { allow_idle_consumers: true, ..rules() };
        assert_eq!(lag(&idle, &[(0, 50), (0, 50)]), (100.0, true));
        let with_lag = Rules { only_partitions_with_lag: true, ..rules() };
        assert_eq!(lag(&with_lag, &[(0, 100), (3, 3), (4, 4)]), (10.0, true));
    }

    #[test]
    fn an_even_distribution_takes_the_next_divisor_of_the_partitions() {
        let even = Rules { even: true, ..rules() };
        let six = |lag: i64| [(0, lag), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)];
        // 35 / 10 asks for four; six partitions are even over 1, 2, 3 or 6.
        assert_eq!(lag(&even, &six(35)), (60.0, true));
        assert_eq!(lag(&even, &six(21)), (30.0, true));
        assert_eq!(lag(&even, &six(1_000)), (60.0, true));
    }

    #[test]
    fn a_partition_nobody_has_committed_in_counts_by_policy() {
        assert_eq!(lag(&rules(), &[(NO_OFFSET, 40)]), (1.0, true));
        let zero = Rules { zero_on_invalid_offset: true, ..rules() };
        assert_eq!(lag(&zero, &[(NO_OFFSET, 40)]), (0.0, false));
        let earliest = Rules { policy: OffsetResetPolicy::Earliest, ..rules() };
        assert_eq!(lag(&earliest, &[(NO_OFFSET, 8)]), (8.0, true));
        let both = Rules { zero_on_invalid_offset: true, ..earliest };
        assert_eq!(lag(&both, &[(NO_OFFSET, 8)]), (0.0, false));
    }

    #[test]
    fn a_partition_that_stands_still_for_an_interval_wakes_somebody_but_asks_for_no_more() {
        let rules = Rules { exclude_persistent: true, ..rules() };
        let mut memory = Memory::default();
        let mut at = |seconds: u64, all: &[(i64, i64)]| {
            let lag = rules.lag(&partitions(all), &mut memory, Duration::from_secs(100 + seconds));
            (lag.value, lag.active)
        };
        assert_eq!(at(0, &[(5, 9), (1, 3)]), (6.0, true));
        assert_eq!(at(29, &[(5, 9), (1, 3)]), (6.0, true));
        assert_eq!(at(30, &[(5, 9), (2, 3)]), (1.0, true), "the first stands still");
        assert_eq!(at(60, &[(5, 9), (2, 3)]), (0.0, true), "and now the second too");
        assert_eq!(at(61, &[(6, 9), (2, 3)]), (3.0, true), "the first moves again");
    }
}
