//! The manifest's own rules: the core's `scale` machine, on one of two beats.
//!
//! [`Beat::stack`] is what people have today. Prometheus scrapes each 15 s; at zero KEDA's operator looks
//! every `pollingInterval`; from one replica up the HPA controller asks KEDA's metrics server every 15 s,
//! and that asks Prometheus, which answers with what it scraped last. So the core is ticked every 15 s while
//! there is a replica, and every `pollingInterval` while there is none; half a scrape after Prometheus, for the
//! two know nothing of one another, so that what is read is 7.5 s old as it is on average. (A real operator also looks only
//! every `pollingInterval` whether to go to zero: here that can come up to 15 s sooner, after a cooldown of
//! minutes.)
//!
//! [`Beat::live`] is `tidegate up`: scrapes and ticks each second, the gateway's demand as one more signal,
//! and a tick at once when the first request comes.
//!
//! A manifest of policy `slo` is told what came and what engines did as well (`loads`), on the live beat.
//!
//! In both the requests wait at the gateway, also at zero: KEDA alone would lose them.

use std::sync::Arc;

use tidegate_core::scale::decision::{Decision, Rule};
use tidegate_core::scale::spec::{Behavior, Kind, Signal};
use tidegate_core::scale::{Action, Event, Fleet, Reading, State};
use tidegate_core::slo::Objective;
use tidegate_core::time::{Span, Time};
use tidegate_journal::{Control, Recorder};
use tidegate_manifest::formula::ExprLang;
use tidegate_manifest::{Manifests, Target};

use super::loads::Loads;
use super::sources::Sources;
use super::{Error, Policy, Seen, Wanted, next_of};
use crate::fleet::Faults;

/// When signals are read and decisions made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Between two scrapes of a replica.
    pub scrape: Span,
    /// Between two decisions while nothing runs.
    pub at_zero: Span,
    /// Between two decisions while something does.
    pub running: Span,
    /// How long after a scrape the decisions of its beat come.
    pub after_scrape: Span,
    /// Whether demand from and to nothing is decided on at once, and counts as a signal.
    pub edges: bool,
}

impl Beat {
    /// KEDA, HPA and Prometheus with their defaults and this `pollingInterval`.
    #[must_use]
    pub const fn stack(polling: Span) -> Beat {
        Beat {
            scrape: Span::from_secs(15),
            at_zero: polling,
            running: Span::from_secs(15),
            after_scrape: Span::from_micros(7_500_000),
            edges: false,
        }
    }

    /// `tidegate up`.
    #[must_use]
    pub const fn live() -> Beat {
        let second = Span::from_secs(1);
        Beat { scrape: second, at_zero: second, running: second, after_scrape: Span::ZERO, edges: true }
    }
}

/// The manifest's rules.
pub struct Keda {
    name: &'static str,
    beat: Beat,
    target: Arc<str>,
    control: Control,
    sources: Sources,
    recorder: Option<Box<dyn Recorder>>,
    /// For policy `slo`.
    loads: Option<Loads>,
    scrape_at: Time,
    decide_at: Time,
    fleet: Option<Fleet>,
    /// No scrape succeeds from the first instant until before the second.
    deaf: Option<(Time, Time)>,
    actions: Vec<Action>,
}

impl Keda {
    /// The rules of `target`, on the beat of KEDA, HPA and Prometheus.
    ///
    /// # Errors
    /// When its formula does not compile.
    pub fn stack(target: &Target, manifests: &Manifests, origin_unix_s: i64) -> Result<Keda, Error> {
        let polling = target.spec.polling_interval.max(Span::from_secs(1));
        Keda::new("keda", Beat::stack(polling), target, manifests, origin_unix_s)
    }

    /// The same rules as `tidegate up` runs them.
    ///
    /// # Errors
    /// When its formula does not compile.
    pub fn live(target: &Target, manifests: &Manifests, origin_unix_s: i64) -> Result<Keda, Error> {
        Keda::new("live", Beat::live(), target, manifests, origin_unix_s)
    }

    /// The target under policy `slo`, whatever its manifest says of a policy, on the beat of `tidegate up`. A
    /// `behavior` that the manifest does not write does not bind.
    ///
    /// # Errors
    /// When its formula does not compile.
    pub fn slo(
        target: &Target,
        manifests: &Manifests,
        objective: Objective,
        origin_unix_s: i64,
    ) -> Result<Keda, Error> {
        let mut target = target.clone();
        if let Kind::ScaledObject(keda) = &mut target.spec.kind {
            keda.slo.get_or_insert(objective);
        }
        target.spec.behavior.get_or_insert_with(Behavior::free);
        Keda::new("slo", Beat::live(), &target, manifests, origin_unix_s)
    }

    /// The rules on a beat of one's own.
    ///
    /// # Errors
    /// When the formula does not compile.
    pub fn new(
        name: &'static str,
        beat: Beat,
        target: &Target,
        manifests: &Manifests,
        origin_unix_s: i64,
    ) -> Result<Keda, Error> {
        let mut target = target.clone();
        let is_slo = matches!(&target.spec.kind, Kind::ScaledObject(keda) if keda.slo.is_some());
        if beat.edges {
            target.spec.signals.push(Signal::demand());
        }
        let sources = Sources::new(&target, manifests, beat.scrape, origin_unix_s);
        let mut control = Control::new(Arc::new(ExprLang));
        let name_of = Arc::clone(&target.spec.target);
        control.add(target.spec, State::default())?;
        Ok(Keda {
            name,
            beat,
            target: name_of,
            control,
            sources,
            recorder: None,
            loads: (beat.edges && is_slo).then(|| Loads::new(16)),
            scrape_at: Time::ORIGIN,
            decide_at: Time::ORIGIN,
            fleet: None,
            deaf: None,
            actions: Vec::new(),
        })
    }

    /// Engines whose KV cache has blocks of so many tokens, instead of vLLM's 16.
    #[must_use]
    pub fn with_blocks_of(mut self, tokens: u32) -> Keda {
        self.loads = self.loads.map(|_| Loads::new(tokens));
        self
    }

    /// The same, with everything it is told and does written down.
    #[must_use]
    pub fn recorded(self, recorder: Box<dyn Recorder>) -> Keda {
        Keda { recorder: Some(recorder), ..self }
    }

    /// The same in a world of these faults: while it lasts, what cannot be scraped is not.
    #[must_use]
    pub fn in_a_world_of(self, faults: &Faults) -> Keda {
        let at = |seconds: f64| Time::try_from_secs_f64(seconds).unwrap_or(Time::ORIGIN);
        let (from_s, for_s) = (faults.no_metrics_from_s, faults.no_metrics_for_s);
        Keda { deaf: (for_s > 0.0).then(|| (at(from_s), at(from_s + for_s))), ..self }
    }

    fn is_deaf(&self, now: Time) -> bool {
        self.deaf.is_some_and(|(from, until)| from <= now && now < until)
    }

    fn step(&mut self, now: Time, event: &Event) -> Result<(), Error> {
        let recorder = self.recorder.as_mut().map(|recorder| &mut **recorder as &mut dyn Recorder);
        Ok(self.control.step(now, &self.target, event, recorder, &mut self.actions)?)
    }

    fn decide(&mut self, now: Time, seen: &Seen<'_>) -> Result<Option<Wanted>, Error> {
        let fleet =
            Fleet { spec: seen.wanted, status: seen.wanted, ready: seen.ready, starting: seen.starting };
        // While it is as it was, the machine knows; what changed in between it must be told.
        if self.fleet != Some(fleet) {
            self.fleet = Some(fleet);
            self.step(now, &Event::Fleet(fleet))?;
        }
        let deaf = self.is_deaf(now);
        if let Some(loads) = &mut self.loads {
            for event in loads.events(now, seen, deaf) {
                self.step(now, &event)?;
            }
        }
        for (signal, reading) in self.sources.readings(now, seen.demand) {
            let reading = if reading.is_finite() { reading } else { Reading::Absent };
            self.step(now, &Event::Reading { signal, reading })?;
        }
        self.actions.clear();
        self.step(now, &Event::Tick)?;
        let mut decision = None;
        let mut wanted = None;
        for action in &self.actions {
            match action {
                Action::Decided(made) => decision = Some(made),
                Action::Scale { to, .. } => wanted = Some(*to),
                Action::CreateJobs { .. } | Action::Refused { .. } => {}
            }
        }
        let because = || decision.map(sentence).unwrap_or_default();
        let wanted = wanted.map(|replicas| Wanted { replicas, because: because() });
        if let Some(wanted) = &wanted {
            self.fleet = self.fleet.map(|fleet| Fleet { spec: wanted.replicas, ..fleet });
        }
        Ok(wanted)
    }
}

impl Policy for Keda {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn next_look(&self) -> Time {
        self.scrape_at.min(self.decide_at)
    }

    fn look(&mut self, now: Time, seen: &Seen<'_>) -> Result<Option<Wanted>, Error> {
        let edge = self.beat.edges && now < self.next_look();
        if now >= self.scrape_at {
            self.sources.scrape(now, seen.replicas, self.is_deaf(now));
            self.scrape_at = next_of(now, self.beat.scrape);
        }
        if now < self.decide_at && !edge {
            return Ok(None);
        }
        let wanted = self.decide(now, seen)?;
        let count = wanted.as_ref().map_or(seen.wanted, |wanted| wanted.replicas);
        let every = if count == 0 { self.beat.at_zero } else { self.beat.running };
        self.decide_at = next_of(now - self.beat.after_scrape, every) + self.beat.after_scrape;
        Ok(wanted)
    }

    fn sees_edges(&self) -> bool {
        self.beat.edges
    }

    fn finish(&mut self) -> Result<(), Error> {
        match &mut self.recorder {
            Some(recorder) => Ok(recorder.finish()?),
            None => Ok(()),
        }
    }

    fn remarks(&self) -> Vec<String> {
        self.sources.remarks.clone()
    }
}

/// The rule that settled the count, and what it says.
fn sentence(decision: &Decision) -> String {
    let settled = decision.steps.iter().rev().find(|step| step.rule == decision.rule);
    let settled = settled.or(decision.steps.last());
    let asked = decision.steps.iter().rev().find(|step| step.rule == Rule::Signal);
    let mut text = settled.map(|step| format!("{}: {}", step.rule.name(), step.because)).unwrap_or_default();
    if let Some(asked) = asked.filter(|asked| settled.is_some_and(|settled| settled.rule != asked.rule)) {
        text.push_str(&format!("; {}", asked.because));
    }
    // Policy slo has a step for each of its terms: all of them together are why.
    const TERMS: [Rule; 5] = [Rule::Work, Rule::Capacity, Rule::Forecast, Rule::Standby, Rule::Waiting];
    for term in decision.steps.iter().filter(|step| TERMS.contains(&step.rule)) {
        text.push_str(&format!("; {}", term.because));
    }
    text
}
