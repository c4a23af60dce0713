//! Probes and the time a model takes to load.

use k8s_openapi::api::core::v1::Probe;
use tidegate_metrics::dialect::Engine;

use super::disruption::written;
use super::facts::{self, Facts};
use super::serving::{Server, behind_service, servers};
use crate::finding::{Finding, Severity};
use crate::path;

/// A readiness delay from which on it is a guess at the start's length rather than a moment to breathe.
const GUESSED_DELAY_S: i64 = 30;

/// TG303: a probe that restarts the container before the model is loaded.
pub(super) fn liveness_kills_loading(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for server in servers(facts) {
        let Some(kill) = kill(&server) else { continue };
        let (probe, after) = (kill.probe, kill.after_s);
        findings.push(server.document().finding(
            "TG303",
            kill.severity,
            &server.path(path![probe]),
            format!("{probe} restarts {} {after} s after its start, and {}", server.title(), kill.because),
            format!(
                "give a startupProbe on the readiness path the time the slowest load takes: periodSeconds: 5 \
                 with failureThreshold: {} allows {} s, and livenessProbe waits for it",
                kill.needs_s.max(300) / 5,
                kill.needs_s.max(300) / 5 * 5
            ),
        ));
    }
}

/// A probe that ends a load.
struct Kill {
    probe: &'static str,
    after_s: i64,
    needs_s: i64,
    because: String,
    severity: Severity,
}

/// The probe that ends a load before its time, if any does.
fn kill(server: &Server<'_>) -> Option<Kill> {
    let readiness = server.container.readiness_probe.as_ref();
    let (field, probe) = match (&server.container.startup_probe, &server.container.liveness_probe) {
        (Some(startup), _) => ("startupProbe", startup),
        (None, Some(liveness)) => ("livenessProbe", liveness),
        (None, None) => return None,
    };
    if !fails_while_loading(server, probe, readiness, field == "startupProbe") {
        return None;
    }
    let after_s = allowance(probe);
    let planned = readiness.and_then(|probe| probe.initial_delay_seconds).map_or(0, i64::from);
    let kill = |needs_s, because, severity| Some(Kill { probe: field, after_s, needs_s, because, severity });
    if after_s < planned {
        let because = format!("readinessProbe first looks after {planned} s");
        return kill(planned, because, Severity::Error);
    }
    let (least, usual) = loading_s(server);
    if after_s < least {
        let because = format!("a start takes {least} s before anything but a toy is loaded");
        return kill(least, because, Severity::Error);
    }
    if after_s < usual {
        let because = format!("loading a model often takes more than {usual} s");
        return kill(usual, because, Severity::Warning);
    }
    None
}

/// How long a probe lets the container fail: `initialDelaySeconds + periodSeconds × failureThreshold`.
fn allowance(probe: &Probe) -> i64 {
    let delay = i64::from(probe.initial_delay_seconds.unwrap_or(0));
    let period = i64::from(probe.period_seconds.filter(|seconds| *seconds > 0).unwrap_or(10));
    let failures = i64::from(probe.failure_threshold.filter(|count| *count > 0).unwrap_or(3));
    delay + period * failures
}

/// What a start takes at the least, and often; 0 where nothing is known. vLLM with a model of a megabyte
/// takes 26 to 47 s, nearly all of it imports and process start; SGLang and `trtllm-serve` are built alike.
fn loading_s(server: &Server<'_>) -> (i64, i64) {
    let gpu = facts::gpus(server.container) > 0;
    match server.engine {
        Some(Engine::Vllm | Engine::Sglang | Engine::TensorRtLlm) => (60, 120),
        Some(Engine::Tgi | Engine::Lmdeploy | Engine::Dynamo) => (30, 120),
        _ if gpu => (0, 60),
        _ => (0, 0),
    }
}

/// Whether a probe fails until the model is loaded. Engines refuse connections until then (llama.cpp
/// answers 503); of any other program it is so only when it is what readiness asks, too.
fn fails_while_loading(server: &Server<'_>, probe: &Probe, readiness: Option<&Probe>, startup: bool) -> bool {
    if probe.exec.is_some() {
        return false;
    }
    match server.engine {
        Some(Engine::LlamaCpp) => probe.http_get.is_some(),
        Some(Engine::Dynamo) | None => {
            let path =
                |probe: &Probe| probe.http_get.as_ref().map(|get| get.path.clone().unwrap_or_default());
            let same = path(probe).is_some() && readiness.and_then(path) == path(probe);
            same || (startup && probe.http_get.is_some() && server.engine.is_some())
        }
        Some(_) => true,
    }
}

/// TG304: a server whose start nobody measures.
pub(super) fn no_startup_probe(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for server in servers(facts) {
        let container = server.container;
        if container.startup_probe.is_some() || kill(&server).is_some() {
            continue;
        }
        let readiness_delay = container
            .readiness_probe
            .as_ref()
            .and_then(|probe| probe.initial_delay_seconds)
            .map_or(0, i64::from);
        let (field, message) = match &container.liveness_probe {
            Some(liveness) if liveness.exec.is_none() => (
                "livenessProbe",
                format!(
                    "{} has no startupProbe: a start that takes more than {} s is ended and begun again, \
                     every time",
                    server.title(),
                    allowance(liveness)
                ),
            ),
            _ if readiness_delay >= GUESSED_DELAY_S => (
                "readinessProbe",
                format!(
                    "{} has no startupProbe: readiness first looks after {readiness_delay} s, so every start \
                     takes at least that long",
                    server.title()
                ),
            ),
            _ => continue,
        };
        findings.push(server.document().finding(
            "TG304",
            Severity::Warning,
            &server.path(path![field]),
            message,
            "add a startupProbe on the readiness path with periodSeconds: 5 and failureThreshold: 60, and \
             drop initialDelaySeconds",
        ));
    }
}

/// TG305: readiness that is not asked where the engine answers it.
pub(super) fn readiness_not_health(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for server in servers(facts) {
        let Some(readiness) = &server.container.readiness_probe else {
            no_readiness(facts, &server, findings);
            continue;
        };
        let Some(engine) = server.engine else { continue };
        let health = engine.health_path();
        let (field, asked) = if let Some(get) = &readiness.http_get {
            let path = get.path.as_deref().unwrap_or("/");
            if tells_readiness(engine, path) {
                continue;
            }
            ("httpGet", format!("asks {path}"))
        } else if readiness.tcp_socket.is_some() {
            ("tcpSocket", "asks whether a port is open".to_owned())
        } else {
            continue;
        };
        findings.push(server.document().finding(
            "TG305",
            Severity::Warning,
            &server.path(path!["readinessProbe", field]),
            format!("readiness {asked}; {} tells whether it can serve on {health}", engine.name()),
            format!("write httpGet: {{path: {health}, port: {}}}", port(&server)),
        ));
    }
}

fn no_readiness(facts: &Facts<'_>, server: &Server<'_>, findings: &mut Vec<Finding>) {
    if server.engine.is_none() && !behind_service(facts, &server.pods) {
        return;
    }
    let health = server.engine.map_or("/health", Engine::health_path);
    findings.push(server.document().finding(
        "TG305",
        Severity::Warning,
        &server.path(path!["name"]),
        format!(
            "{} has no readinessProbe: requests are sent to it from the first second, while the model \
             still loads",
            server.title()
        ),
        format!(
            "add readinessProbe: {{httpGet: {{path: {health}, port: {}}}, periodSeconds: 5}}",
            port(server)
        ),
    ));
}

/// The port to ask: the one that is asked already, or the first that is declared.
fn port(server: &Server<'_>) -> String {
    let readiness = server.container.readiness_probe.as_ref();
    let asked = readiness.and_then(|probe| {
        let http = probe.http_get.as_ref().map(|get| &get.port);
        http.or_else(|| probe.tcp_socket.as_ref().map(|socket| &socket.port))
    });
    let declared =
        || server.container.ports.iter().flatten().next().map(|port| port.container_port.to_string());
    asked.map(written).or_else(declared).unwrap_or_else(|| "http".to_owned())
}

/// Whether a path answers 200 only once requests can be served; a prefix set by `--root-path` is allowed.
fn tells_readiness(engine: Engine, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or(path).trim_end_matches('/');
    let ends = |known: &[&str]| known.iter().any(|known| path.ends_with(known));
    if ends(&["/health", "/v1/models"]) {
        return engine != Engine::Triton;
    }
    match engine {
        Engine::Vllm => ends(&["/ping"]),
        Engine::Sglang => ends(&["/health_generate", "/get_model_info", "/model_info", "/ping"]),
        Engine::Tgi => ends(&["/info", "/ping"]),
        Engine::Triton => ends(&["/ready"]),
        Engine::LlamaCpp => ends(&["/props", "/models", "/slots"]),
        _ => false,
    }
}
