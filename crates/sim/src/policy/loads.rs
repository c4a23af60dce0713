//! What a simulated fleet tells policy `slo`: the gateway's counts, and what engines' counters moved by.

use std::collections::BTreeMap;

use tidegate_core::scale::Event;
use tidegate_core::slo::{Engines, Load};
use tidegate_core::time::{Span, Time};

use super::{Arrived, Seen};
use crate::engine::Stats;

/// What was told last.
#[derive(Debug)]
pub(super) struct Loads {
    block_tokens: u32,
    last: Option<(Time, Arrived)>,
    engines: BTreeMap<u32, Stats>,
    starts: u64,
}

fn grown(now: u64, before: u64) -> u32 {
    u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX)
}

impl Loads {
    /// Of engines whose cache has blocks of so many tokens.
    pub(super) fn new(block_tokens: u32) -> Loads {
        Loads { block_tokens, last: None, engines: BTreeMap::new(), starts: 0 }
    }

    /// Starts that are over and the work since the last time; of engines nothing while nobody hears them.
    pub(super) fn events(&mut self, now: Time, seen: &Seen<'_>, deaf: bool) -> Vec<Event> {
        let new = usize::try_from(seen.starts.saturating_sub(self.starts)).unwrap_or(usize::MAX);
        self.starts = seen.starts;
        let known = seen.starts_s.len().saturating_sub(new);
        let spans = seen.starts_s.iter().skip(known).filter_map(|seconds| Span::try_from_secs_f64(*seconds));
        let mut events: Vec<Event> = spans.map(Event::Started).collect();
        let engines = if deaf { Engines::default() } else { self.engines(seen) };
        let queued: u32 =
            if deaf { 0 } else { seen.replicas.iter().map(|replica| replica.stats.waiting).sum() };
        let (at, before) = self.last.replace((now, seen.arrived)).unwrap_or((now, seen.arrived));
        let over = now.since(at);
        if over <= Span::ZERO {
            return events;
        }
        events.push(Event::Load(Load {
            over,
            arrived: grown(seen.arrived.requests, before.requests),
            prompt_tokens: seen.arrived.prompt_tokens - before.prompt_tokens,
            ended: grown(seen.arrived.answered, before.answered),
            output_tokens: seen.arrived.output_tokens - before.output_tokens,
            first_tokens: grown(seen.arrived.first_tokens, before.first_tokens),
            late: grown(seen.arrived.late, before.late),
            waiting: seen.demand.waiting + queued,
            engines,
        }));
        events
    }

    /// What the counters of ready replicas moved by; one seen for the first time says nothing yet.
    fn engines(&mut self, seen: &Seen<'_>) -> Engines {
        let mut engines = Engines::default();
        let (mut busy_us, mut iterations) = (0, 0);
        let mut known = BTreeMap::new();
        for replica in seen.replicas.iter().filter(|replica| replica.ready) {
            let stats = replica.stats;
            if let Some(old) = self.engines.get(&replica.number) {
                engines.reporting += 1;
                engines.running += stats.running;
                engines.prefill_tokens += stats.prefill_tokens.saturating_sub(old.prefill_tokens);
                engines.decode_tokens += stats.generation_tokens.saturating_sub(old.generation_tokens);
                busy_us +=
                    (stats.prefill_us + stats.decode_us).saturating_sub(old.prefill_us + old.decode_us);
                iterations += stats.iterations.saturating_sub(old.iterations);
                engines.kv_tokens += stats.kv_blocks_total * u64::from(self.block_tokens);
            }
            known.insert(replica.number, stats);
        }
        self.engines = known;
        engines.itl_us = grown(busy_us.checked_div(iterations).unwrap_or(0), 0);
        engines
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::seen;
    use super::*;

    #[test]
    fn what_is_told_is_what_moved_since_the_last_time() {
        let mut loads = Loads::new(16);
        let at = |requests| Seen {
            arrived: Arrived { requests, late: requests / 2, ..Arrived::default() },
            ..seen(1, 1, 5)
        };
        assert_eq!(loads.events(Time::from_secs(10), &at(100), false), [], "nothing to compare with");
        let events = loads.events(Time::from_secs(12), &at(130), false);
        let Some(Event::Load(load)) = events.first() else { panic!("{events:?}") };
        assert_eq!((load.over, load.arrived, load.late), (Span::from_secs(2), 30, 15));
        assert_eq!(loads.events(Time::from_secs(12), &at(130), false), [], "no time has passed");
    }

    #[test]
    fn engines_that_nobody_hears_say_nothing_and_the_gateway_still_does() {
        let mut loads = Loads::new(16);
        let at = |requests| Seen { arrived: Arrived { requests, ..Arrived::default() }, ..seen(1, 1, 5) };
        loads.events(Time::from_secs(10), &at(100), true);
        let events = loads.events(Time::from_secs(11), &at(130), true);
        let Some(Event::Load(load)) = events.first() else { panic!("{events:?}") };
        assert_eq!((load.arrived, load.engines), (30, Engines::default()));
    }

    #[test]
    fn each_start_is_told_once() {
        let mut loads = Loads::new(16);
        let at = |starts| Seen { starts, starts_s: &[60.0, 61.0, 62.0], ..seen(1, 1, 0) };
        let told = |events: Vec<Event>| events.iter().filter(|e| matches!(e, Event::Started(_))).count();
        assert_eq!(told(loads.events(Time::from_secs(1), &at(3), false)), 3);
        assert_eq!(told(loads.events(Time::from_secs(2), &at(3), false)), 0);
        // Of two new ones, the last two of the list.
        let events = loads.events(Time::from_secs(3), &at(5), false);
        assert_eq!(events[0], Event::Started(Span::from_secs(61)));
    }
}
