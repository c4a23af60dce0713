//! Who holds which GPU of this machine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Its number, as `nvidia-smi` and `CUDA_VISIBLE_DEVICES` count.
    pub index: u32,
    /// Its own name for life; empty for a device that was only counted (`--gpus N`).
    pub uuid: String,
    /// Its model; empty for a device that was only counted.
    pub name: String,
    /// Its memory.
    pub memory_total_mib: Option<u64>,
    /// Memory in use when Tidegate looked, before any replica was started: other people's.
    pub memory_used_mib: Option<u64>,
}

impl Gpu {
    /// Devices of which nothing is known but their number.
    #[must_use]
    pub fn counted(number: u32) -> Vec<Gpu> {
        let gpu = |index| Gpu {
            index,
            uuid: String::new(),
            name: String::new(),
            memory_total_mib: None,
            memory_used_mib: None,
        };
        (0..number).map(gpu).collect()
    }
}

/// A replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Holder {
    /// `namespace/name` of its target.
    pub target: Arc<str>,
    /// Its name.
    pub replica: Arc<str>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.replica, self.target)
    }
}

/// The devices and their holders. A device has one holder at the most.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    gpus: Vec<Gpu>,
    held: BTreeMap<u32, Holder>,
}

/// A replica that waits for devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who.
    pub holder: Holder,
    /// How many.
    pub gpus: u32,
}

impl Ledger {
    /// A ledger in which nobody holds anything.
    #[must_use]
    pub fn new(mut gpus: Vec<Gpu>) -> Self {
        // Those that others use least come first.
        gpus.sort_by_key(|gpu| (gpu.memory_used_mib.unwrap_or(0) >> 10, gpu.index));
        gpus.dedup_by_key(|gpu| gpu.index);
        Ledger { gpus, held: BTreeMap::new() }
    }

    /// All devices with their holders, by number.
    #[must_use]
    pub fn entries(&self) -> Vec<(&Gpu, Option<&Holder>)> {
        let mut entries: Vec<_> = self.gpus.iter().map(|gpu| (gpu, self.held.get(&gpu.index))).collect();
        entries.sort_by_key(|(gpu, _)| gpu.index);
        entries
    }

    /// How many devices there are.
    #[must_use]
    pub fn total(&self) -> u32 {
        u32::try_from(self.gpus.len()).unwrap_or(u32::MAX)
    }

    /// How many nobody holds.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.total() - u32::try_from(self.held.len()).unwrap_or(u32::MAX).min(self.total())
    }

    /// Takes so many devices, or none when there are not enough.
    pub fn grant(&mut self, holder: &Holder, number: u32) -> Option<Vec<u32>> {
        if number > self.free() {
            return None;
        }
        let free = self.gpus.iter().filter(|gpu| !self.held.contains_key(&gpu.index));
        let mut taken: Vec<u32> = free.take(number as usize).map(|gpu| gpu.index).collect();
        taken.sort_unstable();
        for index in &taken {
            self.held.insert(*index, holder.clone());
        }
        Some(taken)
    }

    /// Gives back all that a replica holds.
    pub fn release(&mut self, holder: &Holder) {
        self.held.retain(|_, of| of != holder);
    }

    /// How many devices a replica holds.
    #[must_use]
    pub fn held_by(&self, holder: &Holder) -> u32 {
        self.held.values().filter(|of| *of == holder).fold(0, |count, _| count + 1)
    }

    /// Which of those who wait may start now. `asks` come in the order of who goes first; `returning`
    /// is what replicas that are leaving still hold.
    ///
    /// Who needs less may pass who needs more, or a device would idle beside a request that could use
    /// it. But nobody passes one whose devices are on their way: with 1 free and 1 returning, a replica
    /// that waits for 2 gets both, and a later one that needs 1 waits.
    #[must_use]
    pub fn may_start(&self, asks: &[Ask], returning: u32) -> Vec<Ask> {
        let (mut free, mut returning) = (self.free(), returning);
        let mut start = Vec::new();
        for ask in asks {
            if ask.gpus <= free {
                free -= ask.gpus;
                start.push(ask.clone());
            } else if ask.gpus <= free + returning {
                returning -= ask.gpus - free;
                free = 0;
            }
        }
        start
    }

    /// Why so many devices cannot be had: `needs 2 GPUs; 1 of 4 is free: 0, 1 and 2 are held by …`.
    #[must_use]
    pub fn why_not(&self, number: u32) -> String {
        let (total, free) = (self.total(), self.free());
        let plural = if number == 1 { "" } else { "s" };
        if number > total {
            return format!("needs {number} GPU{plural}; this machine has {total}");
        }
        let mut holders: Vec<String> = self.held.values().map(ToString::to_string).collect();
        holders.dedup();
        format!("needs {number} GPU{plural}; {free} of {total} free: held by {}", holders.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::btree_map::Entry;

    use proptest::prelude::*;

    fn holder(number: u32) -> Holder {
        Holder { target: "default/chat".into(), replica: format!("chat-{number}").into() }
    }

    #[test]
    fn a_replica_that_cannot_have_its_devices_is_told_who_holds_them() {
        let mut ledger = Ledger::new(Gpu::counted(4));
        assert_eq!(ledger.grant(&holder(1), 3), Some(vec![0, 1, 2]));
        assert_eq!(ledger.grant(&holder(2), 2), None);
        assert_eq!(ledger.why_not(2), "needs 2 GPUs; 1 of 4 free: held by chat-1 (default/chat)");
        assert_eq!(ledger.why_not(8), "needs 8 GPUs; this machine has 4");
    }

    #[test]
    fn devices_that_others_use_are_taken_last() {
        let mut gpus = Gpu::counted(3);
        gpus[0].memory_used_mib = Some(30_000);
        let mut ledger = Ledger::new(gpus);
        assert_eq!(ledger.grant(&holder(1), 2), Some(vec![1, 2]));
    }

    #[test]
    fn nobody_passes_one_whose_devices_are_on_their_way() {
        let mut ledger = Ledger::new(Gpu::counted(2));
        ledger.grant(&holder(9), 1);
        let asks = [Ask { holder: holder(1), gpus: 2 }, Ask { holder: holder(2), gpus: 1 }];
        assert_eq!(ledger.may_start(&asks, 1), []);
        assert_eq!(ledger.may_start(&asks, 0), [asks[1].clone()]);
    }

    proptest! {
        #[test]
        fn a_device_never_has_two_holders(
            total in 0_u32..9,
            steps in proptest::collection::vec((0_u32..6, 0_u32..5, any::<bool>()), 0..60),
        ) {
            let mut ledger = Ledger::new(Gpu::counted(total));
            let mut expected: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for (who, number, give_back) in steps {
                if give_back {
                    ledger.release(&holder(who));
                    expected.remove(&who);
                } else if let Entry::Vacant(place) = expected.entry(who) {
                    let free = ledger.free();
                    match ledger.grant(&holder(who), number) {
                        Some(taken) => {
                            prop_assert_eq!(taken.len(), number as usize);
                            place.insert(taken);
                        }
                        None => prop_assert!(number > free),
                    }
                }
                let mut held: Vec<u32> = expected.values().flatten().copied().collect();
                held.sort_unstable();
                let count = held.len();
                held.dedup();
                prop_assert_eq!(count, held.len());
                prop_assert_eq!(ledger.free() as usize, total as usize - count);
            }
        }

        #[test]
        fn whoever_may_start_can_be_granted(
            total in 0_u32..9,
            asks in proptest::collection::vec(0_u32..9, 0..20),
            returning in 0_u32..9,
        ) {
            let mut ledger = Ledger::new(Gpu::counted(total));
            let asks: Vec<Ask> = asks
                .into_iter()
                .enumerate()
                .map(|(number, gpus)| Ask { holder: holder(number as u32), gpus })
                .collect();
            for ask in ledger.may_start(&asks, returning) {
                prop_assert!(ledger.grant(&ask.holder, ask.gpus).is_some());
            }
        }
    }
}
