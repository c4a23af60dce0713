//! The machines of all targets, and the record of what they did: what every driver drives.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use tidegate_core::formula::Compiler;
use tidegate_core::journal::Snapshot;
use tidegate_core::scale::{Action, Event, Scaler, Spec, SpecError, State};
use tidegate_core::time::Time;

use crate::{Journal, Opening, Segments};

/// Takes down every event and what followed.
pub trait Recorder {
    /// Before an event is stepped. Whether the snapshot was taken, with every target that there is.
    ///
    /// # Errors
    /// When it cannot be written.
    fn prepare(&mut self, opening: &mut dyn FnMut() -> Opening) -> io::Result<bool>;

    /// Before the first event of a target that came after the last snapshot.
    ///
    /// # Errors
    /// When it cannot be written.
    fn join(&mut self, t: Time, target: &str, joins: &Snapshot) -> io::Result<()>;

    /// After it.
    ///
    /// # Errors
    /// When it cannot be written.
    fn record(&mut self, t: Time, target: &str, event: &Event, actions: &[Action]) -> io::Result<()>;

    /// At the end: writes out what is buffered.
    ///
    /// # Errors
    /// When it cannot be written.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Segments> Recorder for Journal<S> {
    fn prepare(&mut self, opening: &mut dyn FnMut() -> Opening) -> io::Result<bool> {
        Journal::prepare(self, opening)
    }

    fn join(&mut self, t: Time, target: &str, joins: &Snapshot) -> io::Result<()> {
        Journal::join(self, t, target, joins)
    }

    fn record(&mut self, t: Time, target: &str, event: &Event, actions: &[Action]) -> io::Result<()> {
        Journal::record(self, t, target, event, actions)
    }

    fn finish(&mut self) -> io::Result<()> {
        Journal::finish(self)
    }
}

fn of(scaler: &Scaler) -> Snapshot {
    Snapshot { spec: scaler.spec().clone(), state: scaler.state().clone() }
}

/// Every target's machine, by name.
#[derive(Debug)]
pub struct Control {
    scalers: BTreeMap<Arc<str>, Scaler>,
    /// Targets that came since the last snapshot and have had no event. No more than there are targets.
    joined: BTreeSet<Arc<str>>,
    compiler: Arc<dyn Compiler>,
}

impl Control {
    /// No targets yet.
    #[must_use]
    pub fn new(compiler: Arc<dyn Compiler>) -> Self {
        Control { scalers: BTreeMap::new(), joined: BTreeSet::new(), compiler }
    }

    /// Goes on where a journal ended, with what it knew of each target.
    ///
    /// # Errors
    /// When a formula does not compile.
    pub fn resume(
        snapshots: BTreeMap<Arc<str>, Snapshot>,
        compiler: Arc<dyn Compiler>,
    ) -> Result<Self, SpecError> {
        let mut control = Control::new(compiler);
        for snapshot in snapshots.into_values() {
            control.add(snapshot.spec, snapshot.state)?;
        }
        // They have not come, they go on.
        control.joined.clear();
        Ok(control)
    }

    /// Adds a target, or puts it in the place of one of its name.
    ///
    /// # Errors
    /// When its formula does not compile; then nothing has changed.
    pub fn add(&mut self, spec: Spec, state: State) -> Result<(), SpecError> {
        let name = Arc::clone(&spec.target);
        let scaler = Scaler::resume(spec, state, Arc::clone(&self.compiler))?;
        self.joined.insert(Arc::clone(&name));
        self.scalers.insert(name, scaler);
        Ok(())
    }

    /// Forgets a target.
    pub fn remove(&mut self, target: &str) {
        self.scalers.remove(target);
        self.joined.remove(target);
    }

    /// The targets' names, in order.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<str>> {
        self.scalers.keys()
    }

    /// A target's spec in force.
    #[must_use]
    pub fn spec(&self, target: &str) -> Option<&Spec> {
        self.scalers.get(target).map(Scaler::spec)
    }

    /// Replicas asked for last of a target.
    #[must_use]
    pub fn wanted(&self, target: &str) -> Option<u32> {
        self.scalers.get(target).and_then(|scaler| scaler.state().replicas())
    }

    /// What a target remembers.
    #[must_use]
    pub fn state(&self, target: &str) -> Option<&State> {
        self.scalers.get(target).map(Scaler::state)
    }

    /// Every target as it is now.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Arc<str>, Snapshot> {
        self.scalers.iter().map(|(name, scaler)| (Arc::clone(name), of(scaler))).collect()
    }

    /// Steps one event of one target, and appends what followed. An unknown target does nothing.
    ///
    /// # Errors
    /// When it cannot be written down. If that was before the step, nothing has happened; if after, it has,
    /// and the run must end, or its journal would have a hole.
    pub fn step(
        &mut self,
        now: Time,
        target: &str,
        event: &Event,
        recorder: Option<&mut dyn Recorder>,
        out: &mut Vec<Action>,
    ) -> io::Result<()> {
        let Some(recorder) = recorder else {
            if let Some(scaler) = self.scalers.get_mut(target) {
                scaler.step(now, event, out);
            }
            return Ok(());
        };
        let opening = &mut || Opening { targets: self.snapshot(), joined: self.joined.clone() };
        if recorder.prepare(opening)? {
            self.joined.clear();
        }
        let Some(scaler) = self.scalers.get_mut(target) else { return Ok(()) };
        if self.joined.remove(target) {
            recorder.join(now, target, &of(scaler))?;
        }
        let before = out.len();
        scaler.step(now, event, out);
        recorder.record(now, target, event, &out[before..])
    }
}
