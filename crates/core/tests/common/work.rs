//! A target under policy `slo`, and the work that its engines tell of.

use tidegate_core::scale::spec::{Behavior, Keda, Kind, Signal};
use tidegate_core::scale::{Event, Fleet, Spec};
use tidegate_core::slo::{Engines, Load, Objective};

use super::{Rig, Ticked, average, keda, secs, spec};

/// Every second: so many requests of 1,000 + 200 tokens, and engines at work on them.
///
/// An iteration of 10 ms and 20 µs a token read: at ten requests a second a replica of these has 0.2 s of prefill, and the
/// rest of its time decodes.
pub(crate) fn load(requests: u32, ready: u32) -> Load {
    let engines = Engines {
        reporting: ready,
        running: if requests > 0 { ready * 8 } else { 0 },
        prefill_tokens: u64::from(requests) * 1_000,
        decode_tokens: u64::from(requests) * 200,
        itl_us: if requests > 0 { 10_000 } else { 0 },
        kv_tokens: u64::from(ready) * 400_000,
    };
    Load {
        over: secs(1),
        arrived: requests,
        prompt_tokens: u64::from(requests) * 1_000,
        ended: requests,
        output_tokens: u64::from(requests) * 200,
        first_tokens: requests,
        engines: if ready > 0 { engines } else { Engines::default() },
        ..Load::default()
    }
}

pub(crate) fn slo(min: u32, behavior: Option<Behavior>) -> Spec {
    let kind = Kind::ScaledObject(Keda { slo: Some(Objective::default()), ..keda() });
    let signals = vec![average("q", 10.0), Signal::demand()];
    Spec { min, max: 40, behavior: behavior.or(Some(Behavior::free())), ..spec(kind, signals) }
}

/// A target and the fleet below it: what is asked for is there after `start_s`.
pub(crate) struct World {
    pub(crate) rig: Rig,
    pub(crate) wanted: u32,
    pub(crate) ready: u32,
    coming: Vec<(i64, u32)>,
    second: i64,
    start_s: i64,
}

impl World {
    pub(crate) fn new(spec: Spec, replicas: u32) -> World {
        let rig = Rig::new(spec);
        World { rig, wanted: replicas, ready: replicas, coming: Vec::new(), second: 0, start_s: 60 }
    }

    /// A second of this load.
    pub(crate) fn second(&mut self, load: &Load) -> Ticked {
        self.second += 1;
        self.rig.pass(1);
        while let Some((at, to)) = self.coming.first().copied().filter(|(at, _)| *at <= self.second) {
            self.coming.remove(0);
            self.ready = to.min(self.wanted);
            self.rig.send(&Event::Started(secs(at - (at - self.start_s))));
        }
        let (spec, ready) = (self.wanted, self.ready);
        self.rig.send(&Event::Fleet(Fleet { spec, status: spec, ready, starting: spec - ready }));
        self.rig.send(&Event::Load(*load));
        self.rig.value(Signal::DEMAND, f64::from(load.arrived + load.waiting));
        self.rig.value("q", f64::from(load.arrived));
        let ticked = self.rig.tick();
        if let Some((_, to)) = ticked.scale {
            if to > self.wanted {
                self.coming.push((self.second + self.start_s, to));
            }
            self.wanted = to;
            self.ready = self.ready.min(to);
        }
        ticked
    }

    pub(crate) fn run(&mut self, seconds: i64, requests: u32) -> Ticked {
        (1..seconds).for_each(|_| drop(self.second(&load(requests, self.ready))));
        self.second(&load(requests, self.ready))
    }
}
