//! Requests that wait, counts that go to and fro, caches and devices that are full.

use super::Rule;
use crate::evidence::{Evidence, Gpu, State};
use crate::finding::Finding;

/// Turns within [`FLAPPING_S`] that make flapping: up, down, up, down.
const TURNS: usize = 4;
/// Ten minutes: a day's curve turns twice in a day.
const FLAPPING_S: f64 = 600.0;

/// Above this share of its KV cache an engine begins to preempt: vLLM drops whole sequences and computes them again.
const KV_FULL: f64 = 0.95;

/// Memory a device has in use with nothing on it: a driver's own takes up to some 500 MiB.
const IDLE_MIB: u64 = 1_024;

/// How much longer than told a wait may be.
const PATIENCE: f64 = 1.5;

pub(super) fn at_maximum(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    for target in &evidence.targets {
        if target.waiting == 0 || target.wanted < target.max || target.ready < target.max {
            continue;
        }
        let message =
            format!("{} requests wait, and all {} replicas it may have serve", target.waiting, target.max);
        let free = evidence.gpus.iter().filter(|gpu| gpu.holder.is_none()).count();
        let mut seen = vec![format!("maxReplicaCount is {}", target.max)];
        let fix = if free >= target.gpus_per_replica as usize && target.gpus_per_replica > 0 {
            seen.push(format!("{free} GPUs are free, {} a replica", target.gpus_per_replica));
            "raise maxReplicaCount".to_owned()
        } else {
            "raise maxReplicaCount if there is room, or tell clients to come later with tidegate.dev/hold-max"
                .to_owned()
        };
        out.push(rule.finding(&target.name, message, seen, fix));
    }
}

pub(super) fn longer_than_told(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    for target in &evidence.targets {
        let Some((waited_s, Some(expected_s))) = target.longest_wait_s else { continue };
        if waited_s <= (expected_s * PATIENCE).max(expected_s + 5.0) {
            continue;
        }
        let message = format!("a request has waited {waited_s:.0} s and was told {expected_s:.0} s");
        let seen = target
            .replicas
            .iter()
            .filter(|replica| replica.state != State::Ready)
            .filter_map(|replica| Some(format!("{}: {}", replica.name, replica.why.as_ref()?)))
            .collect();
        let fix = format!("see what holds the start up: `tidegate why {}`", target.name);
        out.push(rule.finding(&target.name, message, seen, fix));
    }
}

pub(super) fn flapping(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    for target in &evidence.targets {
        let recent: Vec<bool> = target
            .changes
            .iter()
            .filter(|(ago_s, from, to)| *ago_s <= FLAPPING_S && from != to)
            .map(|(_, from, to)| to > from)
            .collect();
        let turns = recent.windows(2).filter(|pair| pair[0] != pair[1]).count();
        if turns < TURNS {
            continue;
        }
        let message = format!("its count turned {turns} times in {:.0} minutes", FLAPPING_S / 60.0);
        let seen =
            target.changes.iter().take(6).map(|(ago_s, from, to)| format!("{ago_s:.0} s ago {from} → {to}"));
        let fix = "widen behavior.scaleDown.stabilizationWindowSeconds, or lengthen cooldownPeriod where it goes to zero";
        out.push(rule.finding(&target.name, message, seen.collect(), fix.to_owned()));
    }
}

pub(super) fn kv_full(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    for target in &evidence.targets {
        let full: Vec<String> = target
            .replicas
            .iter()
            .filter(|replica| replica.state == State::Ready)
            .filter_map(|replica| {
                let used = replica.kv_use.filter(|used| *used >= KV_FULL)?;
                Some(format!("{}: {:.0} % of its KV cache", replica.name, used * 100.0))
            })
            .collect();
        if full.is_empty() {
            continue;
        }
        let message =
            format!("{} of {} replicas have no room left for tokens, and preempt", full.len(), target.ready);
        let fix = "scale on KV use or tokens as well as on requests, or lower --max-num-seqs".to_owned();
        out.push(rule.finding(&target.name, message, full, fix));
    }
}

pub(super) fn used_by_others(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    for gpu in evidence.gpus.iter().filter(|gpu| gpu.holder.is_none()) {
        let Some((all_mib, used_mib)) = gpu.memory_mib.filter(|(_, used_mib)| *used_mib > IDLE_MIB) else {
            continue;
        };
        let subject = format!("GPU {}", gpu.index);
        let message =
            "none of the replicas holds it, and its memory is in use: what starts there may not fit"
                .to_owned();
        let seen = vec![format!("{used_mib} of {all_mib} MiB in use")];
        let fix =
            "see whose it is with nvidia-smi; end it, or leave the device out with CUDA_VISIBLE_DEVICES"
                .to_owned();
        out.push(rule.finding(&subject, message, seen, fix));
    }
}

/// What a program does wrong; it ends the program and leaves the device sound. The catalogue:
/// <https://docs.nvidia.com/deploy/xid-errors/>.
const XIDS_OF_PROGRAMS: [u32; 5] = [13, 31, 43, 45, 69];

pub(super) fn gpu_error(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    for gpu in &evidence.gpus {
        let Some(xid) = gpu.last_xid else { continue };
        let message = format!("its driver reported error XID {xid}");
        let seen = gpu.holder.iter().map(|holder| format!("{holder} holds it")).collect();
        let fix = if XIDS_OF_PROGRAMS.contains(&xid) {
            "it is one that a program causes: look at the log of the replica that held it".to_owned()
        } else {
            "look at it with `dmesg | grep Xid`; where it comes again, leave the device out with \
             CUDA_VISIBLE_DEVICES and have it reset"
                .to_owned()
        };
        out.push(rule.finding(&format!("GPU {}", gpu.index), message, seen, fix));
    }
}

/// Below this share of its time a device does nothing for an engine; drivers' own work stays below.
const IDLE: f64 = 0.01;

pub(super) fn idle_under_load(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    for target in evidence.targets.iter().filter(|target| target.in_flight > 0) {
        let serves = |gpu: &&Gpu| {
            let holder = gpu.holder.as_ref();
            target.replicas.iter().any(|one| one.state == State::Ready && Some(&one.name) == holder)
        };
        let shares: Vec<f64> = evidence.gpus.iter().filter(serves).filter_map(|gpu| gpu.active).collect();
        if shares.is_empty() || shares.iter().any(|share| *share >= IDLE) {
            continue;
        }
        let message = "its replicas work on requests, and none of their GPUs does anything".to_owned();
        let seen = vec![format!("{} requests in flight, {} GPUs idle", target.in_flight, shares.len())];
        let fix =
            "see in the engine's log which device it took: it may compute on the CPU, or hang".to_owned();
        out.push(rule.finding(&target.name, message, seen, fix));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{codes, of, target};
    use crate::evidence::{Evidence, Gpu, Replica, State};
    use crate::rules::examine;

    #[test]
    fn requests_that_wait_at_the_maximum_are_told_with_the_free_gpus() {
        let mut full = target();
        (full.waiting, full.max, full.wanted, full.ready, full.gpus_per_replica) = (3, 2, 2, 2, 1);
        let gpus = vec![Gpu { index: 2, ..Gpu::default() }];
        let found = examine(&Evidence { targets: vec![full.clone()], gpus, ..Evidence::default() });
        assert_eq!(codes(&found), ["TD301"]);
        assert_eq!(found[0].fix, "raise maxReplicaCount");
        full.max = 3;
        assert_eq!(codes(&of(full)), [""; 0]);
    }

    #[test]
    fn a_wait_is_too_long_by_what_was_told() {
        let mut late = target();
        late.longest_wait_s = Some((31.0, Some(20.0)));
        assert_eq!(codes(&of(late.clone())), ["TD302"]);
        late.longest_wait_s = Some((29.0, Some(20.0)));
        assert_eq!(codes(&of(late.clone())), [""; 0]);
        late.longest_wait_s = Some((1e6, None));
        assert_eq!(codes(&of(late)), [""; 0]);
    }

    #[test]
    fn up_and_down_and_up_again_is_flapping_and_a_climb_is_not() {
        let mut restless = target();
        restless.changes = vec![(1.0, 1, 2), (60.0, 2, 1), (120.0, 1, 2), (180.0, 2, 1), (240.0, 1, 2)];
        assert_eq!(codes(&of(restless.clone())), ["TD303"]);
        restless.changes.iter_mut().for_each(|change| change.0 += 590.0);
        assert_eq!(codes(&of(restless.clone())), [""; 0]);
        restless.changes = (1..9).map(|n| (f64::from(n), n, n + 1)).collect();
        assert_eq!(codes(&of(restless)), [""; 0]);
    }

    #[test]
    fn a_full_cache_is_told_of_replicas_that_serve() {
        let mut full = target();
        let replica = |state| Replica { kv_use: Some(0.96), state, ..Replica::default() };
        full.replicas = vec![replica(State::Leaving)];
        assert_eq!(codes(&of(full.clone())), [""; 0]);
        full.replicas.push(replica(State::Ready));
        assert_eq!(codes(&of(full)), ["TD304"]);
    }

    #[test]
    fn a_device_that_somebody_else_uses_is_told() {
        let gpu = |used_mib, holder: Option<&str>| Gpu {
            index: 0,
            memory_mib: Some((81_920, used_mib)),
            holder: holder.map(str::to_owned),
            ..Gpu::default()
        };
        let found = |gpu| examine(&Evidence { gpus: vec![gpu], ..Evidence::default() });
        assert_eq!(codes(&found(gpu(2_000, None))), ["TD305"]);
        assert_eq!(codes(&found(gpu(400, None))), [""; 0]);
        assert_eq!(codes(&found(gpu(70_000, Some("chat-1")))), [""; 0]);
    }

    #[test]
    fn an_error_of_a_driver_is_told_and_whether_a_program_made_it() {
        let with = |xid| {
            let gpu = Gpu { index: 3, last_xid: xid, ..Gpu::default() };
            examine(&Evidence { gpus: vec![gpu], ..Evidence::default() })
        };
        assert_eq!(codes(&with(None)), [""; 0]);
        assert!(with(Some(31))[0].fix.contains("a program"));
        assert!(with(Some(79))[0].fix.contains("reset"));
    }

    #[test]
    fn gpus_that_idle_while_their_replica_has_requests_are_told() {
        let found = |in_flight, active| {
            let replica = Replica { name: "chat-1".to_owned(), state: State::Ready, ..Replica::default() };
            let gpu = Gpu { holder: Some("chat-1".to_owned()), active, ..Gpu::default() };
            let chat = crate::evidence::Target { in_flight, replicas: vec![replica], ..target() };
            examine(&Evidence { targets: vec![chat], gpus: vec![gpu], ..Evidence::default() })
        };
        assert_eq!(codes(&found(2, Some(0.0))), ["TD307"]);
        assert_eq!(codes(&found(2, Some(0.4))), [""; 0]);
        assert_eq!(codes(&found(0, Some(0.0))), [""; 0]);
        assert_eq!(codes(&found(2, None)), [""; 0], "nobody says");
    }
}
