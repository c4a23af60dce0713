//! Whether a target's world has room for more replicas.

use tidegate_core::scale::{Fleet, Room};
use tidegate_core::time::{Span, Time};

use crate::index::pending::{Cause, Kind};

/// How long pods may wait for a node before no more are asked for. What makes nodes looks at pods that wait
/// every ten seconds, so by then it has seen them all, and the batch is what one step of the policies gives.
const GRACE: Span = Span::from_secs(10);

/// Whether pods have waited for longer than whatever makes nodes takes to see them.
pub(super) fn is_over(since: Option<Time>, now: Time) -> bool {
    since.is_some_and(|since| now.since(since) >= GRACE)
}

/// What there is no more room for, from what keeps pods: how many for each cause, what weighs most first. While some
/// wait for GPUs, nodes or quota, the count is not raised above what it is; of others it is only told. `since`
/// remembers when that began, by our own clock.
pub(super) fn of(held: &[(u32, Cause)], fleet: Fleet, since: &mut Option<Time>, now: Time) -> Option<Room> {
    let Some((waiting, cause)) = held.first() else {
        *since = None;
        return None;
    };
    let told = |replicas| Some(Room { replicas, waiting: *waiting, lacks: all(held).into() });
    if !cause.kind.is_capacity() {
        *since = None;
        return told(Room::ANY);
    }
    let began = *since.get_or_insert(now);
    // Nobody makes more of a quota.
    if cause.kind != Kind::Quota && !is_over(Some(began), now) {
        return None;
    }
    told(fleet.spec)
}

/// What all lack. How many lack each is left out: who reads it would read something new with each pod.
fn all(held: &[(u32, Cause)]) -> String {
    let each: Vec<String> = held.iter().map(|(_, cause)| cause.lacks()).collect();
    each.join("; others: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(kind: Kind) -> (u32, Cause) {
        (2, Cause { kind, resource: Some("nvidia.com/gpu".to_owned()), said: "0/5 nodes".to_owned() })
    }

    fn fleet() -> Fleet {
        Fleet { spec: 5, status: 5, ready: 3, starting: 2 }
    }

    #[test]
    fn pods_that_wait_for_a_gpu_limit_once_a_node_could_be_on_its_way() {
        let mut since = None;
        let at = |since: &mut Option<Time>, seconds| {
            of(&[held(Kind::Gpu)], fleet(), since, Time::from_secs(seconds))
        };
        assert_eq!(at(&mut since, 100), None);
        assert_eq!(at(&mut since, 109), None);
        let room = at(&mut since, 110).unwrap();
        assert_eq!((room.replicas, room.waiting, &*room.lacks), (5, 2, "no node has nvidia.com/gpu left"));
        assert_eq!(of(&[], fleet(), &mut since, Time::from_secs(111)), None);
        assert_eq!(at(&mut since, 112), None, "it begins anew");
    }

    #[test]
    fn a_quota_limits_at_once_and_a_missing_image_is_only_told() {
        let now = Time::from_secs(1);
        assert!(of(&[held(Kind::Quota)], fleet(), &mut None, now).is_some());
        let told = of(&[held(Kind::Image)], fleet(), &mut Some(Time::ORIGIN), now).unwrap();
        assert_eq!((told.limits(), told.waiting), (false, 2));
    }
}
