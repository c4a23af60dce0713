//! A journal, made into requests again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use tidegate_core::scale::spec::Signal;
use tidegate_core::slo::Objective;
use tidegate_core::time::Span;
use tidegate_journal::{Journal, Segments};
use tidegate_manifest::{Source, load, lower};
use tidegate_sim::Profile;
use tidegate_sim::fleet::{self, Outcome, Setup};
use tidegate_sim::policy::Keda;
use tidegate_sim::recorded::Recorded;
use tidegate_sim::trace::{Synth, TraceRequest};

const MANIFEST: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat, namespace: ai}
spec:
  scaleTargetRef: {name: chat}
  minReplicaCount: 0
  maxReplicaCount: 8
  cooldownPeriod: 60
  advanced:
    horizontalPodAutoscalerConfig:
      behavior: {scaleDown: {stabilizationWindowSeconds: 60}}
  triggers:
  - type: external-push
    metadata: {scalerAddress: 'tidegate-gateway.tidegate:9090', metric: demand, targetValue: '8'}
";

#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Vec<u8>>>);

impl Segments for Memory {
    type Out = Memory;

    fn open(&mut self, _: u32) -> io::Result<Memory> {
        Ok(self.clone())
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn setup() -> Setup {
    let mut setup = Setup::new(Profile::named("h100-llama-3.1-8b").unwrap());
    (setup.max, setup.initial) = (8, 0);
    setup.start = setup.start.scaled_to(40.0);
    setup
}

/// A run with its journal.
fn run(setup: &Setup, least: u32, requests: impl Iterator<Item = TraceRequest>) -> (Outcome, Vec<u8>) {
    let manifests =
        load(&[Source::new("chat.yaml", MANIFEST.replace("Count: 0", &format!("Count: {least}")))]);
    let target = lower(&manifests).targets.into_iter().next().unwrap();
    let memory = Memory::default();
    let journal = Journal::new(memory.clone(), "test".to_owned(), 0);
    let mut policy = Keda::live(&target, &manifests, 0).unwrap().recorded(Box::new(journal));
    let outcome = fleet::run(setup, requests.map(Ok), &mut policy, &mut |_| {}).unwrap();
    let written = memory.0.borrow().clone();
    (outcome, written)
}

fn shape(text: &str) -> impl Iterator<Item = TraceRequest> {
    Synth::parse(text, 5).unwrap().map(|one| one.unwrap())
}

#[test]
fn a_journal_under_its_own_policy_gives_its_own_run_again() {
    let setup = setup();
    let (first, journal) = run(&setup, 0, shape("spike,rate=0.5,high=6,at=3m,over=5m,for=15m,output=400"));
    let recorded = Recorded::read(journal.as_slice(), None).unwrap();
    assert_eq!(recorded.target, "ai/chat");
    let start_s = recorded.start_s().unwrap();
    assert!((36.0..46.0).contains(&start_s), "starts of {start_s} s");
    let totals = recorded.totals();
    assert!((totals.replica_hours / first.gpu_hours - 1.0).abs() < 0.1, "{totals:?} {}", first.gpu_hours);
    assert_eq!(totals.scale_actions, first.scale_actions);
    let again = recorded.requests(&setup.profile);
    assert!(again.is_sorted_by_key(|request| request.at));
    let (second, _) = run(&setup, 0, again.into_iter());
    assert_eq!(second.unfinished, 0);
    assert!(
        second.replicas_max.abs_diff(first.replicas_max) <= 1,
        "{} {}",
        first.replicas_max,
        second.replicas_max
    );
    let ratio = second.gpu_hours / first.gpu_hours;
    assert!((0.85..1.15).contains(&ratio), "{} GPU hours, then {}", first.gpu_hours, second.gpu_hours);
    // The work is what it was: requests × seconds.
    let ratio = second.little.area_s / first.little.area_s;
    assert!((0.8..1.25).contains(&ratio), "{:?} {:?}", first.little, second.little);
}

#[test]
fn requests_far_apart_come_back_one_by_one_with_their_lengths() {
    let mut setup = setup();
    setup.initial = 1;
    setup.start = setup.start.scaled_to(0.0);
    let alone = |n: i64| TraceRequest {
        at: Span::from_secs(20 * n),
        prompt_tokens: 512,
        output_tokens: 300,
        hash_ids: Vec::new(),
    };
    let (_, journal) = run(&setup, 1, (1..20).map(alone));
    let again = Recorded::read(journal.as_slice(), Some("chat")).unwrap().requests(&setup.profile);
    assert_eq!(again.len(), 19);
    for request in &again {
        assert!((270..330).contains(&request.output_tokens), "{request:?}");
    }
    let gap_s = again[1].at.as_secs_f64() - again[0].at.as_secs_f64();
    assert!((gap_s - 20.0).abs() < 0.01, "{gap_s}");
}

#[test]
fn a_journal_that_tells_what_came_gives_as_many_requests_and_tokens() {
    let setup = setup();
    let manifests = load(&[Source::new("chat.yaml", MANIFEST)]);
    let target = lower(&manifests).targets.into_iter().next().unwrap();
    let memory = Memory::default();
    let journal = Journal::new(memory.clone(), "test".to_owned(), 0);
    let objective = Objective { ttft: Span::from_secs(2), itl: None };
    let policy = Keda::slo(&target, &manifests, objective, 0).unwrap();
    let mut policy = policy.recorded(Box::new(journal));
    let sent: Vec<TraceRequest> = shape("steady,rate=4,for=5m,prompt=900,output=150").collect();
    fleet::run(&setup, sent.iter().cloned().map(Ok), &mut policy, &mut |_| {}).unwrap();
    let written = memory.0.borrow().clone();
    let again = Recorded::read(written.as_slice(), None).unwrap().requests(&setup.profile);
    let sums = |of: fn(&TraceRequest) -> u32| {
        let sum = |requests: &[TraceRequest]| requests.iter().map(|one| f64::from(of(one))).sum::<f64>();
        sum(&again) / sum(&sent)
    };
    for ratio in
        [again.len() as f64 / sent.len() as f64, sums(|one| one.prompt_tokens), sums(|one| one.output_tokens)]
    {
        assert!((0.95..1.05).contains(&ratio), "{ratio}");
    }
    assert!(again.is_sorted_by_key(|request| request.at));
}

#[test]
fn what_is_no_journal_or_knows_no_demand_is_refused() {
    let (_, journal) = run(&setup(), 0, shape("steady,for=1m"));
    let error = |bytes: &[u8], target| Recorded::read(bytes, target).unwrap_err().to_string();
    assert!(error(&journal, Some("other")).contains("ai/chat"));
    assert!(error(b"TIMESTAMP,ContextTokens\n", None).starts_with("line 1"));
    assert!(error(b"{\"tidegate_journal\":99}\n", None).contains("format 99"));
    assert!(error(b"", None).contains("no target"));
    let text = String::from_utf8(journal).unwrap();
    let deaf: String = text
        .lines()
        .filter(|line| !line.contains(Signal::DEMAND) || line.contains("tidegate_journal"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(error(deaf.as_bytes(), None).contains("no demand"));
    // A last line that was cut short is what a kill leaves.
    let cut = &text.as_bytes()[..text.len() - 5];
    assert!(Recorded::read(cut, None).is_ok());
}
