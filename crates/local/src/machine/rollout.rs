//! Which replicas come and which go: the count that is wanted, and a changed template. Pure.

use std::sync::Arc;

/// How a replica that is not leaving stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It waits for devices.
    Waiting,
    /// It ended and will be tried again.
    Down,
    /// It is on its way up.
    Starting,
    /// Its readiness probe fails.
    Unready,
    /// It takes requests.
    Ready,
}

/// A replica that is not leaving.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) replica: Arc<str>,
    pub(super) standing: Standing,
    /// Whether it runs the current template.
    pub(super) fresh: bool,
    /// Its number: the youngest has the greatest.
    pub(super) number: u64,
    /// Among ready ones: how little it has left to do, the least first.
    pub(super) order: usize,
}

/// What is to be done now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    pub(super) create: u32,
    pub(super) leave: Vec<Arc<str>>,
}

/// The next moves.
///
/// Going down, what serves nobody goes first: those that wait, those that are down, then the youngest
/// of those that start; then unready ones; then ready ones, the least left to do first.
///
/// A changed template replaces replicas one by one. An old one that serves nobody goes at once. An old
/// one that serves stays until a new one is ready, if there is `room` for one more; otherwise it goes
/// first. The next is replaced when the last one is gone (`old_leaving` is over). A new template that
/// never becomes ready thus leaves all old replicas but at most one in service.
pub(super) fn moves(wanted: u32, members: &[Member], old_leaving: bool, room: bool) -> Moves {
    let mut moves = Moves::default();
    let serving = |member: &&Member| member.standing >= Standing::Unready;
    let mut staying: Vec<&Member> = Vec::new();
    for member in members {
        if member.fresh || serving(&member) {
            staying.push(member);
        } else {
            moves.leave.push(Arc::clone(&member.replica));
        }
    }
    staying.sort_by_key(|member| {
        let youngest_first = u64::MAX - member.number;
        let within = if member.standing == Standing::Ready { member.order as u64 } else { youngest_first };
        (member.standing, member.fresh, within, member.number)
    });
    let old: Vec<&Member> = staying.iter().filter(|member| !member.fresh).copied().collect();
    let new_unready: Vec<&&Member> =
        staying.iter().filter(|member| member.fresh && member.standing != Standing::Ready).collect();
    let wanted = wanted as usize;
    let replacing = !old.is_empty() && wanted > 0;
    // One more while a new one takes an old one's place.
    let most = wanted + usize::from(replacing);
    let surplus = staying.len().saturating_sub(most);
    moves.leave.extend(staying.iter().take(surplus).map(|member| Arc::clone(&member.replica)));
    if surplus > 0 {
        return moves;
    }
    let missing = wanted.saturating_sub(staying.len());
    if missing > 0 {
        moves.create = u32::try_from(missing).unwrap_or(u32::MAX);
        return moves;
    }
    if !replacing || old_leaving {
        return moves;
    }
    if staying.len() == most {
        let stuck = new_unready.iter().all(|member| member.standing == Standing::Waiting);
        if new_unready.is_empty() || stuck {
            moves.leave.push(Arc::clone(&old[0].replica));
        }
    } else if new_unready.is_empty() {
        if room {
            moves.create = 1;
        } else {
            moves.leave.push(Arc::clone(&old[0].replica));
        }
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(number: u64, standing: Standing, fresh: bool) -> Member {
        let replica = format!("r{number}").into();
        Member { replica, standing, fresh, number, order: number as usize }
    }

    fn names(moves: &Moves) -> Vec<&str> {
        moves.leave.iter().map(|name| &**name).collect()
    }

    #[test]
    fn what_serves_nobody_goes_first_and_the_youngest_of_those_that_start() {
        let mut members = vec![
            member(1, Standing::Ready, true),
            member(2, Standing::Ready, true),
            member(3, Standing::Starting, true),
            member(4, Standing::Starting, true),
            member(5, Standing::Down, true),
            member(6, Standing::Waiting, true),
        ];
        members[1].order = 0;
        let gone = moves(1, &members, false, true);
        assert_eq!(names(&gone), ["r6", "r5", "r4", "r3", "r2"]);
    }

    #[test]
    fn a_new_one_is_ready_before_an_old_one_goes_where_there_is_room() {
        let old = member(1, Standing::Ready, false);
        let new = |standing| member(2, standing, true);
        assert_eq!(moves(1, std::slice::from_ref(&old), false, true), Moves { create: 1, leave: vec![] });
        assert_eq!(moves(1, &[old.clone(), new(Standing::Starting)], false, true), Moves::default());
        assert_eq!(names(&moves(1, &[old.clone(), new(Standing::Ready)], false, true)), ["r1"]);
        assert_eq!(moves(1, &[old, new(Standing::Down)], false, true), Moves::default());
    }

    #[test]
    fn an_old_one_goes_first_where_there_is_no_room() {
        let old = [member(1, Standing::Ready, false), member(2, Standing::Ready, false)];
        assert_eq!(names(&moves(2, &old, false, false)), ["r1"]);
        assert_eq!(moves(2, &old[1..], true, false), Moves { create: 1, leave: vec![] });
        let stuck = [old[0].clone(), old[1].clone(), member(3, Standing::Waiting, true)];
        assert_eq!(names(&moves(2, &stuck, false, true)), ["r1"]);
    }

    #[test]
    fn an_old_one_that_serves_nobody_goes_at_once() {
        let old = [member(1, Standing::Down, false), member(2, Standing::Starting, false)];
        let moves = moves(2, &old, false, false);
        assert_eq!((names(&moves), moves.create), (vec!["r1", "r2"], 2));
    }

    #[test]
    fn at_zero_everybody_goes() {
        let all = [member(1, Standing::Ready, false), member(2, Standing::Ready, true)];
        assert_eq!(moves(0, &all, false, true).leave.len(), 2);
    }

    fn standing() -> impl Strategy<Value = Standing> {
        prop_oneof![
            Just(Standing::Waiting),
            Just(Standing::Down),
            Just(Standing::Starting),
            Just(Standing::Unready),
            Just(Standing::Ready),
        ]
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_one_too_many_nor_fewer_serving_than_needed(
            wanted in 0_u32..6,
            members in proptest::collection::vec((standing(), any::<bool>()), 0..8),
            old_leaving: bool,
            room: bool,
        ) {
            let members: Vec<Member> = members
                .into_iter()
                .enumerate()
                .map(|(number, (standing, fresh))| member(number as u64, standing, fresh))
                .collect();
            let moves = moves(wanted, &members, old_leaving, room);
            let left: Vec<&Member> =
                members.iter().filter(|member| !moves.leave.contains(&member.replica)).collect();
            let after = left.len() + moves.create as usize;
            prop_assert!(after <= wanted as usize + 1);
            prop_assert!(left.iter().all(|one| one.fresh || one.standing >= Standing::Unready));
            // With room, going from old to new costs no ready replica.
            let ready = |all: &mut dyn Iterator<Item = &Member>| {
                all.filter(|one| one.standing == Standing::Ready).count()
            };
            let (before, now) = (ready(&mut members.iter()), ready(&mut left.iter().copied()));
            if room && !members.iter().any(|one| one.standing == Standing::Waiting) {
                prop_assert!(now >= before.min(wanted as usize));
            }
        }
    }
}
