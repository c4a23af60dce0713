//! Nodes, their GPUs, and the loads that share their disks.

use std::collections::BTreeMap;

use tidegate_core::time::{Span, Time};

use super::setup::{Pool, span};

/// A node of a pool.
#[derive(Clone, Debug)]
struct Node {
    pool: usize,
    free: u32,
    ready: bool,
    /// It was told that it will go: nothing new is put there.
    doomed: bool,
    idle_since: Option<Time>,
    loads: Loads,
}

/// Loads of weights under way on one node: at most so many at full speed, more share what there is.
///
/// *Worked*: a disk for one load, two loads of 20 s that begin together: each runs at half speed, both end
/// after 40 s. If the second begins when the first has 10 s to go, the first ends 20 s later, and then the
/// second has 10 s left, alone.
#[derive(Clone, Debug, Default)]
struct Loads {
    /// Replicas and what is left of each, in microseconds at full speed.
    left: Vec<(u32, f64)>,
    since: Time,
    /// Changes so far: an end foreseen before a change is void.
    changes: u32,
}

impl Loads {
    fn pace(&self, at_full_speed: u32) -> f64 {
        (f64::from(at_full_speed.max(1)) / self.left.len().max(1) as f64).min(1.0)
    }

    fn advance(&mut self, now: Time, at_full_speed: u32) {
        let done = now.since(self.since).as_micros() as f64 * self.pace(at_full_speed);
        self.since = now;
        for (_, left) in &mut self.left {
            *left -= done;
        }
    }

    fn next(&self, at_full_speed: u32) -> Option<(Time, u32)> {
        let least = self.left.iter().map(|(_, left)| *left).min_by(f64::total_cmp)?;
        let micros = libm::ceil(least.max(0.0) / self.pace(at_full_speed)) as i64;
        Some((self.since + Span::from_micros(micros), self.changes))
    }
}

/// Where a replica goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To a node that is there.
    Ready(u32),
    /// To a node that comes; `new` says that it was asked for just now, and when it will be there.
    Coming { node: u32, new: Option<Time> },
    /// Nowhere: every pool is full.
    None,
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Nodes {
    pools: Vec<Pool>,
    nodes: BTreeMap<u32, Node>,
    next: u32,
}

impl Nodes {
    pub(super) fn new(pools: &[Pool]) -> Nodes {
        let mut nodes = Nodes { pools: pools.to_vec(), nodes: BTreeMap::new(), next: 0 };
        for (pool, kind) in pools.iter().enumerate() {
            for _ in 0..kind.nodes_min {
                nodes.add(pool, true, Time::ORIGIN);
            }
        }
        nodes
    }

    fn add(&mut self, pool: usize, ready: bool, now: Time) -> u32 {
        let number = self.next;
        self.next += 1;
        let node = Node {
            pool,
            free: self.pools[pool].gpus_per_node,
            ready,
            doomed: false,
            idle_since: Some(now),
            loads: Loads::default(),
        };
        self.nodes.insert(number, node);
        number
    }

    /// Takes `gpus` on the fullest node that has them, nodes that are there before nodes that come, pools in
    /// their order; asks for a node where none has room.
    pub(super) fn take(&mut self, now: Time, gpus: u32) -> Place {
        self.forget_idle(now);
        for pool in 0..self.pools.len() {
            let fits = |node: &Node| node.pool == pool && node.free >= gpus && !node.doomed;
            let best = self
                .nodes
                .iter()
                .filter(|(_, node)| fits(node))
                .min_by_key(|(number, node)| (!node.ready, node.free, **number))
                .map(|(number, _)| *number);
            let (number, new) = match best {
                Some(number) => (number, None),
                None if self.room_for_node(pool, gpus) => {
                    let wait = span(self.pools[pool].provision_s);
                    let number = self.add(pool, wait == Span::ZERO, now);
                    (number, Some(now + wait))
                }
                None => continue,
            };
            let Some(node) = self.nodes.get_mut(&number) else { continue };
            node.free -= gpus;
            node.idle_since = None;
            return if node.ready { Place::Ready(number) } else { Place::Coming { node: number, new } };
        }
        Place::None
    }

    fn room_for_node(&self, pool: usize, gpus: u32) -> bool {
        let there = self.nodes.values().filter(|node| node.pool == pool).count();
        gpus <= self.pools[pool].gpus_per_node && there < self.pools[pool].nodes_max as usize
    }

    /// Nodes that stood empty for too long have gone.
    fn forget_idle(&mut self, now: Time) {
        for (index, pool) in self.pools.iter().enumerate() {
            let mut there = self.nodes.values().filter(|node| node.pool == index).count();
            let idle = span(pool.idle_s);
            self.nodes.retain(|_, node| {
                let gone = node.pool == index
                    && there > pool.nodes_min as usize
                    && node.idle_since.is_some_and(|since| now.since(since) > idle);
                there -= usize::from(gone);
                !gone
            });
        }
    }

    pub(super) fn give_back(&mut self, now: Time, number: u32, gpus: u32) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.free += gpus;
            if node.free == self.pools[node.pool].gpus_per_node {
                node.idle_since = Some(now);
            }
        }
    }

    pub(super) fn is_ready(&mut self, number: u32) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.ready = true;
        }
    }

    pub(super) fn doom(&mut self, number: u32) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.doomed = true;
        }
    }

    pub(super) fn lose(&mut self, number: u32) {
        self.nodes.remove(&number);
    }

    /// The pool of a node.
    pub(super) fn pool(&self, number: u32) -> Option<&Pool> {
        self.nodes.get(&number).map(|node| &self.pools[node.pool])
    }

    /// The node of a pool with the fewest free GPUs that stays.
    pub(super) fn fullest(&self, pool: usize) -> Option<u32> {
        let stays = self.nodes.iter().filter(|(_, node)| node.pool == pool && node.ready && !node.doomed);
        stays.min_by_key(|(number, node)| (node.free, **number)).map(|(number, _)| *number)
    }

    /// Nodes there are, by number.
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.nodes.keys().copied().collect()
    }

    /// A replica begins to load; when the node's next load ends.
    pub(super) fn load(&mut self, now: Time, number: u32, replica: u32, work: Span) -> Option<(Time, u32)> {
        self.change(now, number, |loads| loads.left.push((replica, work.as_micros() as f64)))
    }

    /// A replica no longer loads.
    pub(super) fn forget_load(&mut self, now: Time, number: u32, replica: u32) -> Option<(Time, u32)> {
        self.change(now, number, |loads| loads.left.retain(|(one, _)| *one != replica))
    }

    /// The loads of a node that have ended, if nothing changed since that was foreseen; and the next end.
    pub(super) fn loaded(
        &mut self,
        now: Time,
        number: u32,
        foreseen: u32,
    ) -> (Vec<u32>, Option<(Time, u32)>) {
        if self.nodes.get(&number).is_none_or(|node| node.loads.changes != foreseen) {
            return (Vec::new(), None);
        }
        let mut ended = Vec::new();
        let next = self.change(now, number, |loads| {
            // Half a microsecond is rounding.
            loads.left.retain(|(replica, left)| {
                let over = *left < 0.5;
                if over {
                    ended.push(*replica);
                }
                !over
            });
        });
        (ended, next)
    }

    fn change(&mut self, now: Time, number: u32, with: impl FnOnce(&mut Loads)) -> Option<(Time, u32)> {
        let node = self.nodes.get_mut(&number)?;
        let at_full_speed = self.pools[node.pool].loads_at_full_speed;
        node.loads.advance(now, at_full_speed);
        with(&mut node.loads);
        node.loads.changes = node.loads.changes.wrapping_add(1);
        node.loads.next(at_full_speed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        Pool { gpus_per_node: 4, nodes_max: 2, loads_at_full_speed: 1, ..Pool::default() }
    }

    #[test]
    fn replicas_fill_a_node_before_another_is_asked_for() {
        let mut nodes = Nodes::new(&[Pool { provision_s: 90.0, ..pool() }]);
        let at = Time::from_secs(10);
        let there = Some(Time::from_secs(100));
        assert_eq!(nodes.take(at, 2), Place::Coming { node: 0, new: there });
        assert_eq!(nodes.take(at, 2), Place::Coming { node: 0, new: None });
        assert_eq!(nodes.take(at, 2), Place::Coming { node: 1, new: there });
        nodes.is_ready(1);
        assert_eq!(nodes.take(at, 2), Place::Ready(1));
        assert_eq!(nodes.take(at, 2), Place::None);
        nodes.give_back(at, 0, 2);
        assert_eq!(nodes.take(at, 2), Place::Coming { node: 0, new: None });
    }

    #[test]
    fn loads_on_one_disk_slow_one_another() {
        let mut nodes = Nodes::new(&[pool()]);
        assert_eq!(nodes.take(Time::ORIGIN, 1), Place::Ready(0));
        let s = Time::from_secs;
        let (alone, _) = nodes.load(s(0), 0, 1, Span::from_secs(20)).unwrap();
        assert_eq!(alone, s(20));
        let (first, foreseen) = nodes.load(s(10), 0, 2, Span::from_secs(20)).unwrap();
        assert_eq!(first, s(30));
        let (ended, next) = nodes.loaded(s(30), 0, foreseen);
        assert_eq!((ended, next.map(|(at, _)| at)), (vec![1], Some(s(40))));
        assert_eq!(nodes.loaded(s(40), 0, foreseen), (Vec::new(), None), "what was foreseen before is void");
    }

    #[test]
    fn a_node_that_stood_empty_has_to_be_asked_for_again() {
        let mut nodes = Nodes::new(&[Pool { provision_s: 90.0, idle_s: 60.0, ..pool() }]);
        nodes.take(Time::ORIGIN, 1);
        nodes.is_ready(0);
        nodes.give_back(Time::from_secs(100), 0, 1);
        assert_eq!(nodes.take(Time::from_secs(150), 1), Place::Ready(0));
        nodes.give_back(Time::from_secs(200), 0, 1);
        assert!(matches!(nodes.take(Time::from_secs(300), 1), Place::Coming { node: 1, .. }));
    }
}
