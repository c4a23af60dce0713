//! A run written down replays from any segment on.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;

use tidegate_core::formula::Compiler;
use tidegate_core::journal::JOINS;
use tidegate_core::scale::{Event, Fleet, Reading, State};
use tidegate_core::time::Time;
use tidegate_decide::{Control, Session};
use tidegate_journal::{Journal, Segments, replay};
use tidegate_manifest::formula::ExprLang;
use tidegate_manifest::{Source, load, lower};

/// A formula, a fallback and windows: everything a snapshot has to carry.
const MANIFEST: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: a, annotations: {tidegate.dev/on-absent: keep}}
spec:
  scaleTargetRef: {name: a}
  cooldownPeriod: 20
  pollingInterval: 2
  fallback: {failureThreshold: 2, replicas: 3, behavior: currentReplicasIfHigher}
  advanced:
    scalingModifiers: {formula: 'max(queue, running / 2)', target: '10'}
    horizontalPodAutoscalerConfig:
      behavior: {scaleDown: {stabilizationWindowSeconds: 7, policies: [{type: Pods, value: 2, periodSeconds: 5}]}}
  triggers:
  - {type: redis, name: queue, metadata: {address: 'redis:6379', listName: q, listLength: '5'}}
  - {type: redis, name: running, metadata: {address: 'redis:6379', listName: r, listLength: '5'}}
";

#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Vec<Vec<u8>>>>);

struct Segment(Memory, usize);

impl Segments for Memory {
    type Out = Segment;

    fn open(&mut self, number: u32) -> io::Result<Segment> {
        self.0.borrow_mut().push(Vec::new());
        Ok(Segment(self.clone(), number as usize - 1))
    }
}

impl Write for Segment {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.0.borrow_mut()[self.1].extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run() -> Vec<Vec<u8>> {
    let targets = lower(&load(&[Source::new("a.yaml", MANIFEST)])).targets;
    let mut session = Session::new(targets).unwrap();
    let memory = Memory::default();
    let mut journal = Journal::new(memory.clone(), "0".into(), 0).with_segment_bytes_max(8_000);
    for t in 0..300_i64 {
        let queue = match t % 17 {
            0..3 => "null".to_owned(),
            3..9 => "{\"error\": \"down\"}".to_owned(),
            n => (n * t % 90).to_string(),
        };
        let running = 0.1 * (t * 37 % 101) as f64;
        let replicas = if t == 0 { "\"replicas\": {\"spec\": 0}, " } else { "" };
        let line =
            format!("{{\"t\": {t}, {replicas}\"signals\": {{\"queue\": {queue}, \"running\": {running}}}}}");
        session.line(&line, Some(&mut journal)).unwrap();
    }
    journal.finish().unwrap();
    memory.0.take()
}

#[test]
fn any_suffix_of_segments_replays_to_the_same_bytes() {
    let segments = run();
    assert!(segments.len() >= 5, "{} segments", segments.len());
    let compiler: Arc<dyn Compiler> = Arc::new(ExprLang);
    for first in 0..segments.len() {
        let suffix = segments[first..].concat();
        let done =
            replay(suffix.as_slice(), &compiler).unwrap_or_else(|error| panic!("from {first}: {error}"));
        assert_eq!(done.segments as usize, segments.len() - first);
        assert!(!done.cut);
    }
}

#[test]
fn a_segment_that_does_not_begin_where_the_one_before_ended_is_told() {
    let segments = run();
    let compiler: Arc<dyn Compiler> = Arc::new(ExprLang);
    let torn = [segments[0].as_slice(), &segments[2]].concat();
    let error = replay(torn.as_slice(), &compiler).unwrap_err();
    assert!(error.to_string().contains("replayed otherwise"), "{error}");
}

#[test]
fn a_run_gives_the_same_journal_every_time() {
    assert_eq!(run(), run());
}

/// Two targets, one after the other, and the first once more under other rules.
fn joining(segment_bytes_max: u64) -> Vec<Vec<u8>> {
    let target = |name: &str, most: u32| {
        let text = MANIFEST.replace("name: a,", &format!("name: {name},"));
        let text =
            text.replace("cooldownPeriod: 20", &format!("cooldownPeriod: 20\n  maxReplicaCount: {most}"));
        lower(&load(&[Source::new("a.yaml", text)])).targets.remove(0).spec
    };
    let mut control = Control::new(Arc::new(ExprLang));
    let memory = Memory::default();
    let mut journal = Journal::new(memory.clone(), "0".into(), 0).with_segment_bytes_max(segment_bytes_max);
    let mut out = Vec::new();
    for (at, name, most) in [(0, "a", 9), (1, "b", 7), (2, "a", 4)] {
        control.add(target(name, most), State::default()).unwrap();
        for step in 0..3 {
            let now = Time::from_secs(10 * at + step);
            for name in ["default/a", "default/b"] {
                let value = Reading::Value { value: 90.0, active: None };
                let reading = Event::Reading { signal: "queue".into(), reading: value };
                for event in [Event::Fleet(Fleet { spec: 1, ..Fleet::default() }), reading, Event::Tick] {
                    control.step(now, name, &event, Some(&mut journal), &mut out).unwrap();
                }
            }
        }
    }
    journal.finish().unwrap();
    memory.0.take()
}

#[test]
fn a_target_that_joins_within_a_segment_is_replayed_from_there() {
    let segments = joining(u64::MAX);
    assert_eq!(segments.len(), 1);
    let compiler: Arc<dyn Compiler> = Arc::new(ExprLang);
    let done = replay(segments[0].as_slice(), &compiler).unwrap();
    assert_eq!((done.segments, done.joins, done.events), (1, 2, 45));
    let text = String::from_utf8(segments[0].clone()).unwrap();
    let silent: String =
        text.lines().filter(|line| !line.starts_with(JOINS)).map(|line| format!("{line}\n")).collect();
    let error = replay(silent.as_bytes(), &compiler).unwrap_err();
    assert!(error.to_string().contains("default/b is not in the segment's header"), "{error}");
}

#[test]
fn a_target_that_joins_as_a_segment_begins_need_not_go_on_where_another_of_its_name_ended() {
    let segments = joining(1);
    assert_eq!(segments.len(), 54, "each event has its own, also one of nobody");
    let compiler: Arc<dyn Compiler> = Arc::new(ExprLang);
    let done = replay(segments.concat().as_slice(), &compiler).unwrap();
    assert_eq!((done.segments, done.joins, done.events), (54, 0, 45));
    let text = String::from_utf8(segments.concat()).unwrap();
    let silent = text.replace("\"joined\":[\"default/a\"],", "");
    assert_ne!(silent, text);
    let error = replay(silent.as_bytes(), &compiler).unwrap_err();
    assert!(error.to_string().contains("replayed otherwise"), "{error}");
}

#[test]
fn a_run_that_begins_anew_need_not_begin_where_the_one_before_ended() {
    let segments = run();
    let compiler: Arc<dyn Compiler> = Arc::new(ExprLang);
    let third = String::from_utf8(segments[2].clone()).unwrap();
    let third = third.replacen("\"targets\":", "\"anew\":true,\"targets\":", 1);
    let both = [segments[0].as_slice(), third.as_bytes()].concat();
    assert_eq!(replay(both.as_slice(), &compiler).unwrap().segments, 2);
}
