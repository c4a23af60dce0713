//! What the core decides in a simulated fleet is what it decides on the same readings anywhere.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;

use tidegate_core::formula::Compiler;
use tidegate_core::time::Span;
use tidegate_journal::{Journal, Segments, replay};
use tidegate_manifest::formula::ExprLang;
use tidegate_manifest::{Manifests, Source, Target, load, lower};
use tidegate_sim::Profile;
use tidegate_sim::fleet::{self, Outcome, Setup};
use tidegate_sim::policy::Keda;
use tidegate_sim::trace::{Scaled, demo_trace};

const MANIFEST: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat, namespace: ai}
spec:
  scaleTargetRef: {name: chat}
  minReplicaCount: 1
  maxReplicaCount: 16
  advanced:
    horizontalPodAutoscalerConfig:
      behavior: {scaleDown: {stabilizationWindowSeconds: 60}}
  triggers:
  - type: prometheus
    metadata:
      serverAddress: http://prometheus:9090
      query: sum(vllm:num_requests_running{model_name=\"chat\"}) + sum(vllm:num_requests_waiting{model_name=\"chat\"})
      threshold: '4'
  - type: prometheus
    metadata:
      serverAddress: http://prometheus:9090
      query: sum(rate(vllm:generation_tokens_total{model_name=\"chat\"}[1m]))
      threshold: '4000'
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

fn target() -> (Target, Manifests) {
    let manifests = load(&[Source::new("chat.yaml", MANIFEST)]);
    let target = lower(&manifests).targets.into_iter().next().unwrap();
    (target, manifests)
}

fn play(policy: &mut Keda) -> Outcome {
    let mut setup = Setup::new(Profile::named("h100-llama-3.1-8b").unwrap());
    setup.max = 16;
    setup.slo_ttft = Span::from_secs(1);
    let trace = Scaled::new(demo_trace().unwrap().into_iter().map(Ok), 4.0, 1).unwrap();
    fleet::run(&setup, trace, policy, &mut |_| {}).unwrap()
}

#[test]
fn a_simulated_run_replays_in_the_core_byte_for_byte() {
    for stack in [true, false] {
        let (target, manifests) = target();
        let memory = Memory::default();
        let journal = Journal::new(memory.clone(), "test".to_owned(), 0);
        let keda = if stack { Keda::stack } else { Keda::live };
        let mut policy = keda(&target, &manifests, 0).unwrap().recorded(Box::new(journal));
        let outcome = play(&mut policy);
        assert!(outcome.little.holds());
        assert!(outcome.scale_actions >= 3, "{} changes", outcome.scale_actions);
        let written = memory.0.borrow().clone();
        let compiler: Arc<dyn Compiler> = Arc::new(ExprLang);
        let replayed = replay(written.as_slice(), &compiler).unwrap();
        assert!(replayed.events > 100, "{replayed:?}");
        // What the fleet did is what the machine said.
        let said: Vec<(u64, u64)> = String::from_utf8(written).unwrap().lines().filter_map(scaled).collect();
        let did: Vec<(u64, u64)> =
            outcome.changes.iter().map(|change| (u64::from(change.from), u64::from(change.to))).collect();
        assert_eq!(said, did);
    }
}

fn scaled(line: &str) -> Option<(u64, u64)> {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let actions = line.get("actions")?.as_array()?.clone();
    let scale = actions.iter().find_map(|action| action.get("scale"))?;
    Some((scale["from"].as_u64()?, scale["to"].as_u64()?))
}

#[test]
fn the_stack_reads_what_was_scraped_and_tidegate_what_is() {
    let (target, manifests) = target();
    let stack = play(&mut Keda::stack(&target, &manifests, 0).unwrap());
    let live = play(&mut Keda::live(&target, &manifests, 0).unwrap());
    assert_eq!(stack.requests, live.requests);
    let first = |outcome: &Outcome| outcome.changes.first().map(|change| change.t_s);
    assert!(first(&live) < first(&stack), "{:?} {:?}", first(&live), first(&stack));
    let on_the_beat = |change: &fleet::Change| ((change.t_s - 7.5) / 15.0).fract().abs() < 1e-9;
    assert!(stack.changes.iter().skip(1).all(on_the_beat), "{:?}", stack.changes);
}

#[test]
fn a_name_no_simulated_engine_writes_is_told() {
    let text = MANIFEST.replace("vllm:num_requests_running", "vllm:num_requests_walking");
    let manifests = load(&[Source::new("chat.yaml", text)]);
    let target = lower(&manifests).targets.into_iter().next().unwrap();
    let outcome = play(&mut Keda::stack(&target, &manifests, 0).unwrap());
    assert!(
        outcome.remarks.iter().any(|remark| remark.contains("num_requests_walking")),
        "{:?}",
        outcome.remarks
    );
}
