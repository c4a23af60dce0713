//! Manifests to units.

use std::time::Duration;

use tidegate_manifest::load::{self, Source};
use tidegate_manifest::{Severity, lower};
use tidegate_metrics::dialect::Engine;

use super::{Plan, Surroundings, units};
use crate::launch::{Given, fill};
use crate::unit::{Check, Hook, Unit};

fn plan(text: &str) -> Plan {
    let manifests = load::load(&[Source::new("test.yaml", text)]);
    assert!(!manifests.has_errors(), "{:?}", manifests.findings);
    let lowered = lower(&manifests);
    let surroundings = Surroundings {
        on_path: &|program| program != "text-generation-launcher",
        variable: &|name| (name == "HF_TOKEN").then(|| "hf_ours".to_owned()),
    };
    units(&manifests, &lowered, &surroundings)
}

fn one(text: &str) -> Unit {
    let mut plan = plan(text);
    assert!(!plan.has_errors(), "{:?}", plan.findings);
    assert_eq!(plan.units.len(), 1, "{:?}", plan.units);
    plan.units.remove(0)
}

fn error(text: &str) -> String {
    let plan = plan(text);
    let mut errors = plan.findings.iter().filter(|finding| finding.severity == Severity::Error);
    let error = errors.next().expect("there is an error");
    format!("{} {}: {}", error.code, error.message, error.help)
}

/// A Deployment with a container's fields.
fn deployment(container: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: chat, namespace: inference}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: chat}}}}
  template:
    metadata: {{labels: {{app: chat}}}}
    spec:
      containers:
        - name: server
{}
",
        container.lines().map(|line| format!("          {line}\n")).collect::<String>()
    )
}

/// What one replica would be started with.
fn command(unit: &Unit) -> String {
    let ports = unit.template.ports.iter().zip(40_000..).map(|(port, own)| (port.number, own)).collect();
    fill(&unit.template, &Given { replica: "chat-1", ports: &ports, gpus: &[] }).command.join(" ")
}

#[test]
fn the_examples_we_ship_become_units() {
    let text =
        std::fs::read_to_string("../../examples/vllm-scale-to-zero.yaml").expect("the example is there");
    let unit = one(&text);
    assert_eq!(
        (&*unit.target, unit.scaled, unit.models.as_slice()),
        ("inference/qwen3-32b", true, &["qwen3-32b".to_owned()][..])
    );
    assert_eq!((unit.engine, unit.hold_max), (Some(Engine::Vllm), Some(200)));
    assert_eq!(unit.hold_timeout, Some(Duration::from_secs(360)));
    let template = &unit.template;
    assert_eq!((template.gpus, template.memory_limit_bytes), (2, Some(48 << 30)));
    assert_eq!(template.termination_grace, Duration::from_secs(150));
    assert_eq!(template.pre_stop, Some(Hook::Sleep(Duration::from_secs(10))));
    assert_eq!(template.startup.as_ref().map(|probe| probe.failure_threshold), Some(60));
    assert_eq!(
        command(&unit),
        "vllm serve --model=Qwen/Qwen3-32B --served-model-name=qwen3-32b --max-num-seqs=64 \
         --tensor-parallel-size=2 --shutdown-timeout=120 --port 40000 --host 127.0.0.1"
    );
}

#[test]
fn llama_cpps_own_port_and_address_are_replaced() {
    let text = std::fs::read_to_string("../../examples/llamacpp.yaml").expect("the example is there");
    let unit = one(&text);
    assert_eq!(unit.models, ["gemma-3-4b"]);
    assert!(command(&unit).ends_with("--metrics --host 127.0.0.1 --port 40000"), "{}", command(&unit));
}

#[test]
fn a_deployment_that_nothing_scales_runs_as_often_as_it_says() {
    let unit = one(&deployment("command: [python3, server.py]\nports: [{containerPort: 9000}]"));
    assert_eq!((&*unit.target, unit.scaled, unit.replicas), ("inference/chat", false, 2));
    assert_eq!(unit.models, ["chat"]);
    let readiness = unit.template.readiness.as_ref().map(|probe| &probe.check);
    assert_eq!(readiness, Some(&Check::Tcp { port: 9000 }));
}

#[test]
fn a_worker_without_a_port_answers_nobody_and_is_asked_nothing() {
    let unit = one(&deployment("command: [python3, worker.py]"));
    assert_eq!((unit.models.len(), &unit.template.readiness), (0, &None));
}

#[test]
fn the_local_command_is_split_as_a_shell_splits() {
    let text = deployment("image: example.com/own:1\nargs: [--never]").replace(
        "metadata: {labels: {app: chat}}",
        "metadata:\n      annotations: {tidegate.dev/local-command: \"tidegate engine --dialect sglang --model 'my model' --port $(PORT)\"}",
    );
    let unit = one(&text);
    assert_eq!(unit.engine, Some(Engine::Sglang));
    assert_eq!(unit.template.command[5], "my model");
    assert!(command(&unit).ends_with("--port 40000"), "{}", command(&unit));
}

#[test]
fn an_image_with_an_entry_point_nobody_knows_is_refused_with_the_annotation() {
    let text = error(&deployment("image: example.com/own:1"));
    assert!(text.starts_with("TU002 container server has no command"), "{text}");
    assert!(text.contains("tidegate.dev/local-command"), "{text}");
    let text = error(&deployment("image: ghcr.io/huggingface/text-generation-inference:3"));
    assert!(text.contains("text-generation-launcher, which is not on PATH"), "{text}");
}

#[test]
fn variables_come_from_the_files_or_from_our_environment() {
    let text = deployment(
        "command: [run]
env:
  - {name: PLAIN, value: a}
  - {name: MODE, valueFrom: {configMapKeyRef: {name: settings, key: mode}}}
  - {name: KEY, valueFrom: {secretKeyRef: {name: keys, key: api}}}
  - {name: TEXT, valueFrom: {secretKeyRef: {name: keys, key: text}}}
  - {name: HF_TOKEN, valueFrom: {secretKeyRef: {name: elsewhere, key: token}}}
  - {name: MAYBE, valueFrom: {secretKeyRef: {name: elsewhere, key: other, optional: true}}}
  - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
envFrom: [{prefix: S_, configMapRef: {name: settings}}]",
    ) + "---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: inference}
data: {mode: fast}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: inference}
data: {api: c2VjcmV0}
stringData: {text: plain}
";
    let unit = one(&text);
    let filled = fill(&unit.template, &Given { replica: "chat-7", ports: &[].into(), gpus: &[] });
    let of = |name: &str| filled.env.get(name).map(String::as_str);
    let expected = [
        ("PLAIN", Some("a")),
        ("MODE", Some("fast")),
        ("KEY", Some("secret")),
        ("TEXT", Some("plain")),
        ("HF_TOKEN", Some("hf_ours")),
        ("MAYBE", None),
        ("POD", Some("chat-7")),
        ("S_mode", Some("fast")),
    ];
    for (name, value) in expected {
        assert_eq!(of(name), value, "{name}");
    }
    assert!(!format!("{unit:?}").contains("hf_ours"), "a secret is printed");
    let missing = text.replace("HF_TOKEN", "NOT_HERE");
    assert!(
        error(&missing).starts_with("TU003 NOT_HERE: key token of Secret elsewhere"),
        "{}",
        error(&missing)
    );
}

#[test]
fn probes_find_their_port_by_name_and_keep_their_numbers() {
    let unit = one(&deployment(
        "command: [run]
ports: [{name: metrics, containerPort: 9090}, {name: api, containerPort: 9000}]
readinessProbe: {httpGet: {path: ready, port: api}, periodSeconds: 2, successThreshold: 3}
livenessProbe: {exec: {command: [check, it]}, initialDelaySeconds: 7, timeoutSeconds: 4}
startupProbe: {grpc: {port: 9100}, failureThreshold: 30}",
    ));
    let template = &unit.template;
    assert_eq!(template.serving, 9000);
    let readiness = template.readiness.as_ref().expect("it is there");
    assert_eq!((readiness.period, readiness.success_threshold), (Duration::from_secs(2), 3));
    assert!(matches!(&readiness.check, Check::Http(get) if get.port == 9000 && get.path == "/ready"));
    let liveness = template.liveness.as_ref().expect("it is there");
    assert_eq!((liveness.initial_delay, liveness.timeout), (Duration::from_secs(7), Duration::from_secs(4)));
    assert_eq!(liveness.check, Check::Exec(vec!["check".to_owned(), "it".to_owned()]));
    assert_eq!(template.startup.as_ref().map(|probe| &probe.check), Some(&Check::Tcp { port: 9100 }));
    assert!(template.ports.iter().any(|port| port.number == 9100));
    let bad = deployment("command: [run]\nreadinessProbe: {httpGet: {port: nowhere}}");
    assert!(error(&bad).starts_with("TU004 readinessProbe asks at a port"), "{}", error(&bad));
}

#[test]
fn an_engines_key_is_found_in_its_arguments_or_its_variable() {
    let key = |container: &str| one(&deployment(container)).upstream_key.map(|key| key.0);
    let env = "env: [{name: TOKEN, value: k1}]";
    let by_flag = key(&format!("command: [vllm, serve, --api-key, $(TOKEN)]\n{env}"));
    assert_eq!(by_flag.as_deref(), Some("k1"));
    let by_variable = key("command: [vllm, serve, m]\nenv: [{name: VLLM_API_KEY, value: k2}]");
    assert_eq!(by_variable.as_deref(), Some("k2"));
    assert_eq!(key("command: [vllm, serve, m]"), None);
}

#[test]
fn what_is_not_run_or_mounted_is_told() {
    let text = deployment(
        "command: [run]
ports: [{containerPort: 8000}]
volumeMounts: [{name: settings, mountPath: /etc/run}, {name: shm, mountPath: /dev/shm}]",
    ) + "        - {name: proxy, image: envoy}
      initContainers: [{name: fetch, image: curl}]
      volumes: [{name: settings, configMap: {name: settings}}, {name: shm, emptyDir: {}}]
";
    let plan = plan(&text);
    let told: Vec<&str> = plan.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "container proxy is not run; of a pod only server is",
            "container fetch is not run; of a pod only server is",
            "volume settings is not mounted at /etc/run",
        ]
    );
    assert_eq!(plan.units.len(), 1);
}

#[test]
fn a_scaler_without_its_workload_is_refused() {
    let text = "apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat, namespace: inference}
spec:
  scaleTargetRef: {name: chat}
  triggers: [{type: cron, metadata: {timezone: UTC, start: 0 8 * * *, end: 0 18 * * *, desiredReplicas: \"1\"}}]
";
    assert!(
        error(text).starts_with("TU001 Deployment inference/chat is not in the files"),
        "{}",
        error(text)
    );
}
