//! Targets, their machines, and what one line does to them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde::Serialize;
use tidegate_core::journal::Snapshot;
use tidegate_core::scale::decision::Decision;
use tidegate_core::scale::spec::{Kind, Life, Metric};
use tidegate_core::scale::{Action, Event, Fleet, Reading, Spec, SpecError, State};
use tidegate_core::time::Time;
use tidegate_journal::{Control, Recorder};
use tidegate_manifest::Target;
use tidegate_manifest::formula::ExprLang;
use tidegate_manifest::lower::CronSignal;

use crate::observation::{LineError, Observation, refuse};
use crate::work;

/// Why a line gave no decision.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The line is refused, and nothing has happened.
    #[error(transparent)]
    Line(#[from] LineError),
    /// What happened could not be written down: the run must end, or its journal would have a hole.
    #[error("the journal cannot be written: {0}; free space or name another directory, and run again")]
    Journal(#[from] io::Error),
}

/// One decision, as `decide` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Decided {
    /// The line's own `t`.
    pub t: serde_json::Number,
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
    /// Replicas found; not part of the JSON form.
    #[serde(skip)]
    pub found: u32,
    /// Jobs to create, for a ScaledJob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_jobs: Option<u32>,
}

/// Decides lines of observations for a set of targets.
#[derive(Debug)]
pub struct Session {
    control: Control,
    targets: BTreeMap<Arc<str>, Entry>,
}

#[derive(Debug)]
struct Entry {
    crons: Vec<CronSignal>,
    aliases: BTreeMap<String, String>,
    last: Option<(Time, Fleet)>,
}

impl Session {
    /// A session that remembers nothing yet.
    ///
    /// # Errors
    /// When a target's formula does not compile, which lowering has already told.
    pub fn new(targets: Vec<Target>) -> Result<Self, SpecError> {
        let mut entries = BTreeMap::new();
        let mut control = Control::new(Arc::new(ExprLang));
        for target in targets {
            let name = Arc::clone(&target.spec.target);
            let autoscaler = target.spec.kind == Kind::Autoscaler && target.spec.min == 0;
            let state = if autoscaler { State::zero_is_ours() } else { State::default() };
            control.add(target.spec, state)?;
            let entry = Entry { crons: target.crons, aliases: target.aliases, last: None };
            entries.insert(name, entry);
        }
        Ok(Session { control, targets: entries })
    }

    /// The targets' names, in order.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<str>> {
        self.targets.keys()
    }

    /// Every target as it is now.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Arc<str>, Snapshot> {
        self.control.snapshot()
    }

    /// Decides one line.
    ///
    /// # Errors
    /// When the line is refused, in which case nothing has happened; or its record cannot be written.
    pub fn line(&mut self, line: &str, recorder: Option<&mut dyn Recorder>) -> Result<Decided, Error> {
        self.observe(&Observation::parse(line)?, recorder)
    }

    /// Decides one observation.
    ///
    /// # Errors
    /// As [`Session::line`].
    pub fn observe(
        &mut self,
        seen: &Observation,
        mut recorder: Option<&mut dyn Recorder>,
    ) -> Result<Decided, Error> {
        let now = seen.time()?;
        let name = self.name(seen.target.as_deref())?;
        let Some((entry, spec)) = self.targets.get_mut(&name).zip(self.control.spec(&name)) else {
            return Ok(refuse("no such target")?);
        };
        let (fleet, events) = entry.events(spec, seen, now)?;
        let jobs = matches!(spec.kind, Kind::ScaledJob(_));
        let mut actions = Vec::new();
        for event in &events {
            actions.clear();
            let recorder = recorder.as_mut().map(|recorder| &mut **recorder as &mut dyn Recorder);
            self.control.step(now, &name, event, recorder, &mut actions)?;
        }
        Ok(entry.decided(now, fleet, jobs, seen.t.clone(), actions)?)
    }

    fn name(&self, given: Option<&str>) -> Result<Arc<str>, LineError> {
        let known = || self.targets.keys().map(|name| &**name).collect::<Vec<_>>().join(", ");
        match given {
            Some(name) => match self.targets.get_key_value(name) {
                Some((name, _)) => Ok(Arc::clone(name)),
                None => refuse(format!("target {name} is not in the manifests; there are: {}", known())),
            },
            None if self.targets.len() == 1 => {
                Ok(self.targets.keys().next().map_or_else(|| "".into(), Arc::clone))
            }
            None => refuse(format!("target is missing, and there are several: {}", known())),
        }
    }
}

impl Entry {
    /// The line as events, the tick last; everything is checked before anything is stepped.
    fn events(&self, spec: &Spec, seen: &Observation, now: Time) -> Result<(Fleet, Vec<Event>), LineError> {
        if let Some((last, _)) = self.last
            && now < last
        {
            return refuse(format!("t goes back: {} after {}", now.as_secs_f64(), last.as_secs_f64()));
        }
        let fleet = self.fleet(seen)?;
        let mut events = Vec::new();
        if let Some(life) = life(seen)? {
            events.push(Event::Life(life));
        }
        match seen.core_jobs() {
            Some(jobs) => events.push(Event::Jobs(jobs)),
            None => events.push(Event::Fleet(fleet)),
        }
        events.extend(seen.core_pods(now).map(Event::Pods));
        for seconds in &seen.started_s {
            events.push(Event::Started(work::span("started_s", *seconds)?));
        }
        if let Some(work) = &seen.work {
            events.push(Event::Load(work.load()?));
        }
        self.readings(spec, seen, now, &mut events)?;
        events.push(Event::Tick);
        Ok((fleet, events))
    }

    fn fleet(&self, seen: &Observation) -> Result<Fleet, LineError> {
        let given = seen.replicas;
        let known = given.spec.or(self.last.map(|(_, fleet)| fleet.spec));
        let unfinished = seen.core_jobs().map(|jobs| jobs.iter().filter(|job| !job.finished).count() as u32);
        let Some(spec) = unfinished.or(known) else {
            return refuse(
                "replicas.spec is missing, and nothing was decided before that could stand for it",
            );
        };
        let starting = given.starting.unwrap_or(0);
        let status = given.status.unwrap_or(spec);
        let ready = given.ready.unwrap_or(spec.saturating_sub(starting));
        Ok(Fleet { spec, status, ready, starting })
    }

    fn readings(
        &self,
        spec: &Spec,
        seen: &Observation,
        now: Time,
        events: &mut Vec<Event>,
    ) -> Result<(), LineError> {
        let mut given = BTreeMap::new();
        for (name, value) in &seen.signals.0 {
            let reading =
                value.reading(now).or_else(|error| refuse(format!("signal {name}: {}", error.message)))?;
            if !reading.is_finite() {
                return refuse(format!("signal {name} is not a finite number"));
            }
            let signal = self.signal(spec, name)?;
            if given.insert(signal, reading).is_some() {
                return refuse(format!("signal {name} stands twice, under two of its names"));
            }
        }
        for (name, samples) in seen.pod_samples(now) {
            let signal = if name.is_empty() { only_per_pod(spec)? } else { self.signal(spec, &name)? };
            given.entry(signal).or_insert(Reading::Samples(samples));
        }
        let unix_seconds = now.as_micros().div_euclid(1_000_000);
        for cron in &self.crons {
            let value = f64::from(cron.value_at(unix_seconds));
            given.entry(Arc::from(cron.signal.as_str())).or_insert(Reading::Value { value, active: None });
        }
        events.extend(given.into_iter().map(|(signal, reading)| Event::Reading { signal, reading }));
        Ok(())
    }

    /// The signal of a name: its own, `s<index>-<type>`, its metric's; in any case where that is unique.
    fn signal(&self, spec: &Spec, name: &str) -> Result<Arc<str>, LineError> {
        let signals = &spec.signals;
        let exact = |name: &str| signals.iter().find(|signal| &*signal.name == name);
        let alias = || exact(self.aliases.get(name)?);
        let folded = || {
            let mut alike = signals.iter().filter(|signal| signal.name.eq_ignore_ascii_case(name));
            alike.next().filter(|_| alike.next().is_none())
        };
        let found = exact(name).or_else(alias).or_else(folded);
        // An autoscaler's `resource-cpu` may also be called by its metric alone, which is how samples name it.
        let of_autoscaler = spec.kind == Kind::Autoscaler;
        let by_metric = || {
            signals
                .iter()
                .find(|signal| signal.name.split_once('-').is_some_and(|(_, metric)| metric == name))
        };
        let by_resource = || {
            let of =
                |metric: &Metric| matches!(metric, Metric::Resource { resource, .. } if resource == name);
            signals.iter().find(|signal| of(&signal.metric))
        };
        let by_metric = || if of_autoscaler { by_metric() } else { by_resource() };
        match found.or_else(by_metric) {
            Some(signal) => Ok(Arc::clone(&signal.name)),
            None => {
                let known: Vec<&str> = signals.iter().map(|signal| &*signal.name).collect();
                refuse(format!("signal {name} is not in the manifest; there are: {}", known.join(", ")))
            }
        }
    }

    fn decided(
        &mut self,
        now: Time,
        mut fleet: Fleet,
        jobs: bool,
        t: serde_json::Number,
        actions: Vec<Action>,
    ) -> Result<Decided, LineError> {
        let mut create_jobs = jobs.then_some(0);
        let mut decision = None;
        for action in actions {
            match action {
                Action::Decided(made) => decision = Some(made),
                Action::CreateJobs { count } => create_jobs = Some(count),
                Action::Scale { .. } | Action::Refused { .. } => {}
            }
        }
        let Some(decision) = decision else { return refuse("nothing could be decided") };
        let found = fleet.spec;
        fleet.spec = decision.replicas;
        self.last = Some((now, fleet));
        Ok(Decided { t, decision, found, create_jobs })
    }
}

fn only_per_pod(spec: &Spec) -> Result<Arc<str>, LineError> {
    let per_pod = |metric: &Metric| matches!(metric, Metric::Resource { .. } | Metric::Pods { .. });
    let mut wanting = spec.signals.iter().filter(|signal| per_pod(&signal.metric));
    match (wanting.next(), wanting.next()) {
        (Some(signal), None) => Ok(Arc::clone(&signal.name)),
        (None, _) => refuse("pods have samples, and no signal of the manifest is measured a pod"),
        (Some(_), Some(_)) => refuse("several signals are measured a pod: name each sample's signal"),
    }
}

fn life(seen: &Observation) -> Result<Option<Life>, LineError> {
    let time = |field: &str, seconds: Option<f64>| match seconds {
        None => Ok(None),
        Some(seconds) => match Time::try_from_secs_f64(seconds) {
            Some(time) => Ok(Some(time)),
            None => refuse(format!("{field} is no time in seconds")),
        },
    };
    let life =
        Life { created: time("created", seen.created)?, last_active: time("last_active", seen.last_active)? };
    Ok((life != Life::default()).then_some(life))
}
