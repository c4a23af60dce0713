//! What a journal says of a target at a time.
//!
//! A journal holds what was seen, and the machine that decided runs again over it. So the answer has
//! every step with its numbers, for any second that is still on disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tidegate_core::formula::Compiler;
use tidegate_core::journal::{Entry, FORMAT, Header, JOINS, Joined, Snapshot};
use tidegate_core::scale::{Action, Scaler};
use tidegate_core::time::Time;
use tidegate_dashboard::decision::Made;
use tidegate_dashboard::why::{Why, explain};
use tidegate_journal::{LINE_BYTES_MAX, TARGETS_MAX};
use tidegate_manifest::formula::ExprLang;

use crate::journals;

/// The decision in force at a Unix time (or the last one), from the journals of these state directories.
pub(super) fn why(state_dirs: &[PathBuf], asked: &str, at_unix_s: Option<f64>) -> Result<Why> {
    let mut segments = Vec::new();
    for directory in state_dirs.iter().map(|state| state.join("journal")).filter(|path| path.is_dir()) {
        segments.extend(journals::list(&directory)?);
    }
    let mut begun = Vec::new();
    for path in segments {
        // A segment without a whole line has nothing to say.
        if let Some(begin) = begin(&path)? {
            begun.push((begin, path));
        }
    }
    begun.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    if begun.is_empty() {
        let dirs: Vec<String> = state_dirs.iter().map(|path| path.display().to_string()).collect();
        bail!("no journal in {}; name the state directory with --state-dir", dirs.join(" or "));
    }
    let mut others = BTreeSet::new();
    for (begin, path) in begun {
        if at_unix_s.is_some_and(|at| at < begin) {
            continue;
        }
        match read(&path, asked, at_unix_s).with_context(|| format!("cannot read {}", path.display()))? {
            Seen::Decided(past) => {
                let Past { made, changed, last_unix_s } = *past;
                return Ok(explain(&made, changed.as_ref(), at_unix_s.unwrap_or(last_unix_s), "journal"));
            }
            Seen::Began(unix_s) => bail!(
                "no decision of {asked} since it came to this journal at Unix time {unix_s}; what is older was of \
                 another of its name, or by another state"
            ),
            Seen::Nothing(mut names) => others.append(&mut names),
        }
    }
    if others.iter().any(|name| is(name, asked)) {
        bail!("no decision of {asked} is in the journal from before then; ask for a later time");
    }
    if others.is_empty() {
        bail!("the journal begins later than that; ask for a later time");
    }
    bail!("the journal has no target {asked}; it has {}", Vec::from_iter(others).join(", "));
}

enum Seen {
    Decided(Box<Past>),
    /// It came then, in Unix seconds, and nothing was decided since.
    Began(f64),
    /// The targets that are there instead.
    Nothing(BTreeSet<String>),
}

struct Past {
    /// The decision in force.
    made: Made,
    /// The change that brought its count, if it is in the segment.
    changed: Option<Made>,
    /// When the last line was.
    last_unix_s: f64,
}

/// A bare name means the target of that name in any namespace.
fn is(name: &str, asked: &str) -> bool {
    name == asked || (!asked.contains('/') && name.rsplit('/').next() == Some(asked))
}

/// When a segment's first event was, in Unix seconds.
fn begin(path: &Path) -> Result<Option<f64>> {
    let mut lines = Lines::open(path)?;
    let Some(header) = lines.header()? else { return Ok(None) };
    let Some(line) = lines.next()? else { return Ok(None) };
    let At { t } = serde_json::from_str(line).with_context(|| lines.place("no journal line"))?;
    Ok(Some(unix_s(&header, t)))
}

/// What every line after the header has.
#[derive(serde::Deserialize)]
struct At {
    t: Time,
}

fn unix_s(header: &Header, t: Time) -> f64 {
    Time::from_micros(header.origin_unix_us.saturating_add(t.as_micros())).as_secs_f64()
}

/// Runs one target of a segment again, up to a time.
fn read(path: &Path, asked: &str, at_unix_s: Option<f64>) -> Result<Seen> {
    let mut lines = Lines::open(path)?;
    let Some(mut header) = lines.header()? else { return Ok(Seen::Nothing(BTreeSet::new())) };
    let mut names: BTreeSet<String> = header.targets.keys().map(|name| name.to_string()).collect();
    let found = header.targets.keys().find(|name| is(name, asked)).cloned();
    let snapshot = found.and_then(|name| header.targets.remove_entry(&name));
    let mut running = snapshot.map(|(name, snapshot)| Running::new(name, snapshot)).transpose()?;
    let joins_here = running.as_ref().is_some_and(|running| header.joined.contains(&running.name));
    let (mut made, mut changed, mut last, mut began) = (None, None, 0.0, None);
    let mut actions = Vec::new();
    while let Some(line) = lines.next()? {
        if line.starts_with(JOINS) {
            let Joined { joins, t, target } =
                serde_json::from_str(line).with_context(|| lines.place("no journal line"))?;
            if names.insert(target.to_string()) && names.len() > TARGETS_MAX {
                bail!(lines.place("more targets than a segment has"));
            }
            let late = at_unix_s.is_some_and(|until| unix_s(&header, t) > until);
            let mine = running.as_ref().map_or_else(|| is(&target, asked), |running| running.name == target);
            if mine && !late {
                // What was decided before was of another that had its name, where this one asks for other things.
                if running.as_ref().is_none_or(|running| *running.scaler.spec() != joins.spec) {
                    (made, changed, began) = (None, None, Some(unix_s(&header, t)));
                }
                running = Some(Running::new(target, joins)?);
            }
            continue;
        }
        let Some(Running { name, needle, scaler }) = &mut running else { continue };
        if !line.contains(&**needle) {
            continue;
        }
        let entry: Entry = serde_json::from_str(line).with_context(|| lines.place("no journal line"))?;
        let at = unix_s(&header, entry.t);
        if at_unix_s.is_some_and(|until| at > until) {
            break;
        }
        if entry.target != *name {
            continue;
        }
        last = at;
        began = began.or(joins_here.then_some(at));
        actions.clear();
        scaler.step(entry.t, &entry.event, &mut actions);
        if let Some(one) = decided(&actions, at) {
            if one.from != one.decision.replicas {
                changed = Some(one.clone());
            }
            made = Some(one);
        }
    }
    Ok(match (made, began) {
        (Some(made), _) => Seen::Decided(Box::new(Past { made, changed, last_unix_s: last })),
        (None, Some(began)) => Seen::Began(began),
        (None, None) => Seen::Nothing(names),
    })
}

/// The target that is run again.
struct Running {
    name: Arc<str>,
    /// What a line of it has in it.
    needle: String,
    scaler: Scaler,
}

impl Running {
    fn new(name: Arc<str>, snapshot: Snapshot) -> Result<Self> {
        let needle = format!("\"target\":{}", serde_json::to_string(&*name)?);
        let compiler: Arc<dyn Compiler> = Arc::new(ExprLang);
        let scaler = Scaler::resume(snapshot.spec, snapshot.state, compiler)?;
        Ok(Running { name, needle, scaler })
    }
}

/// The decision among what a step gave, with the count it began from.
fn decided(actions: &[Action], at_unix_s: f64) -> Option<Made> {
    let decision = actions.iter().find_map(|action| match action {
        Action::Decided(decision) => Some(Arc::new(decision.clone())),
        _ => None,
    })?;
    let from = actions.iter().find_map(|action| match action {
        Action::Scale { from, .. } => Some(*from),
        _ => None,
    });
    Some(Made { at_unix_s, from: from.unwrap_or(decision.replicas), decision })
}

/// The whole lines of a segment. One that was cut short, as a kill leaves it, is the end.
struct Lines {
    file: BufReader<File>,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Lines { file: BufReader::new(file), line: Vec::new(), number: 0 })
    }

    fn next(&mut self) -> Result<Option<&str>> {
        self.line.clear();
        self.number += 1;
        let mut limited = (&mut self.file).take(LINE_BYTES_MAX as u64);
        limited.read_until(b'\n', &mut self.line)?;
        if self.line.pop() != Some(b'\n') {
            return Ok(None);
        }
        Ok(Some(str::from_utf8(&self.line)?))
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let Some(line) = self.next()? else { return Ok(None) };
        let header: Header = serde_json::from_str(line).with_context(|| {
            format!("line 1 is no header of a journal of format {FORMAT}; use the version that wrote it")
        })?;
        if header.tidegate_journal != FORMAT {
            let found = header.tidegate_journal;
            bail!("journal format {found}, and this version reads {FORMAT}; use the version that wrote it");
        }
        Ok(Some(header))
    }

    fn place(&self, what: &str) -> String {
        format!("line {}: {what}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;

    use tidegate_core::journal::Snapshot;
    use tidegate_core::scale::{Event, Fleet, Reading};
    use tidegate_journal::{Journal, Opening, Segments};

    const MANIFEST: &str = "
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat, namespace: a}
spec:
  scaleTargetRef: {name: chat}
  minReplicaCount: 0
  maxReplicaCount: 5
  cooldownPeriod: 30
  triggers:
  - type: redis
    metadata: {address: 'localhost:6379', listName: jobs, listLength: '10'}
";

    /// Unix seconds at the time origin of the journals here.
    const ORIGIN_UNIX_S: i64 = 1_000_000;

    struct Files(PathBuf);

    impl Segments for Files {
        type Out = File;
        fn open(&mut self, number: u32) -> std::io::Result<File> {
            File::create_new(self.0.join(format!("journal-{number:06}.jsonl")))
        }
    }

    /// Ten seconds at zero, a queue of 25 from second 10 on, empty again from second 20 on.
    fn journal(state: &Path) {
        let directory = state.join("journal");
        fs::create_dir_all(&directory).unwrap();
        let sources = [tidegate_manifest::Source { name: "m.yaml".into(), bytes: MANIFEST.into() }];
        let manifests = tidegate_manifest::load(&sources);
        let lowered = tidegate_manifest::lower(&manifests);
        let spec = lowered.targets.first().expect("one target").spec.clone();
        let name = Arc::clone(&spec.target);
        let signal = Arc::clone(&spec.signals[0].name);
        let mut scaler = Scaler::new(spec, Arc::new(ExprLang)).unwrap();
        let mut journal = Journal::new(Files(directory), "x".to_owned(), ORIGIN_UNIX_S * 1_000_000)
            .with_segment_bytes_max(6_000);
        let mut count = 0;
        for second in 0..60 {
            let t = Time::from_secs(second);
            let queue = if (10..20).contains(&second) { 25.0 } else { 0.0 };
            let fleet = Fleet { spec: count, status: count, ready: count, starting: 0 };
            let reading = Event::Reading {
                signal: Arc::clone(&signal),
                reading: Reading::Value { value: queue, active: None },
            };
            for event in [Event::Fleet(fleet), reading, Event::Tick] {
                let opening = || {
                    let of = Snapshot { spec: scaler.spec().clone(), state: scaler.state().clone() };
                    Opening { targets: BTreeMap::from([(Arc::clone(&name), of)]), ..Opening::default() }
                };
                journal.prepare(opening).unwrap();
                let mut actions = Vec::new();
                scaler.step(t, &event, &mut actions);
                journal.record(t, &name, &event, &actions).unwrap();
                for action in &actions {
                    if let Action::Scale { to, .. } = action {
                        count = *to;
                    }
                }
            }
        }
        journal.finish().unwrap();
    }

    fn at(second: i64) -> Option<f64> {
        Some((ORIGIN_UNIX_S + second) as f64)
    }

    #[test]
    fn each_second_of_a_journal_of_several_segments_has_its_own_answer() {
        let state = tempfile::tempdir().unwrap();
        journal(state.path());
        assert!(fs::read_dir(state.path().join("journal")).unwrap().count() > 2, "several segments");
        let dirs = [state.path().to_owned()];
        let early = why(&dirs, "a/chat", at(5)).unwrap();
        assert_eq!((early.decision.to, early.from.as_str()), (0, "journal"));
        let busy = why(&dirs, "a/chat", at(15)).unwrap();
        assert_eq!(busy.decision.to, 3, "{busy:?}");
        assert!(busy.levers.iter().any(|lever| lever.starts_with("more: ")), "{busy:?}");
        let late = why(&dirs, "a/chat", None).unwrap();
        assert_eq!(late.decision.to, 0, "{late:?}");
        assert_eq!(Some(late.at_unix_s), at(59));
    }

    #[test]
    fn what_was_decided_for_another_of_the_same_name_is_no_answer_for_the_one_that_came_after_it() {
        let state = tempfile::tempdir().unwrap();
        journal(state.path());
        let directory = state.path().join("journal");
        let before = u32::try_from(fs::read_dir(&directory).unwrap().count()).unwrap();
        let sources = [tidegate_manifest::Source {
            name: "m.yaml".into(),
            bytes: MANIFEST.replace("maxReplicaCount: 5", "maxReplicaCount: 9").into(),
        }];
        let spec = tidegate_manifest::lower(&tidegate_manifest::load(&sources)).targets.remove(0).spec;
        let mut control = tidegate_journal::Control::new(Arc::new(ExprLang));
        control.add(spec, tidegate_core::scale::State::default()).unwrap();
        let mut again =
            Journal::new(Files(directory), "y".to_owned(), ORIGIN_UNIX_S * 1_000_000).after(before);
        let mut out = Vec::new();
        let mut step = |second, event: &Event| {
            control.step(Time::from_secs(second), "a/chat", event, Some(&mut again), &mut out).unwrap();
            tidegate_journal::Recorder::finish(&mut again).unwrap();
        };
        step(70, &Event::Fleet(Fleet::default()));
        let dirs = [state.path().to_owned()];
        let error = why(&dirs, "a/chat", None).unwrap_err().to_string();
        assert!(error.contains("no decision of a/chat since it came to this journal"), "{error}");
        assert_eq!(why(&dirs, "a/chat", at(65)).unwrap().decision.to, 0, "that was the other");
        step(71, &Event::Tick);
        assert_eq!(Some(why(&dirs, "a/chat", None).unwrap().at_unix_s), at(71));
    }

    #[test]
    fn a_bare_name_finds_its_target_and_a_wrong_one_is_told_what_there_is() {
        let state = tempfile::tempdir().unwrap();
        journal(state.path());
        let dirs = [state.path().to_owned()];
        assert_eq!(why(&dirs, "chat", None).unwrap().target, "a/chat");
        let error = why(&dirs, "hat", None).unwrap_err().to_string();
        assert_eq!(error, "the journal has no target hat; it has a/chat");
        let error = why(&dirs, "chat", at(-5)).unwrap_err().to_string();
        assert_eq!(error, "the journal begins later than that; ask for a later time");
    }

    #[test]
    fn a_last_line_that_a_kill_cut_short_is_left_out() {
        let state = tempfile::tempdir().unwrap();
        journal(state.path());
        let last = journals::list(&state.path().join("journal")).unwrap().pop().unwrap();
        let bytes = fs::read(&last).unwrap();
        fs::write(&last, &bytes[..bytes.len() - 7]).unwrap();
        let seen = why(&[state.path().to_owned()], "chat", None).unwrap();
        assert_eq!(Some(seen.at_unix_s), at(59));
    }

    #[test]
    fn without_a_journal_the_answer_says_where_it_looked() {
        let state = tempfile::tempdir().unwrap();
        let error = why(&[state.path().to_owned()], "chat", None).unwrap_err().to_string();
        assert!(error.contains("no journal in") && error.contains("--state-dir"), "{error}");
    }
}
