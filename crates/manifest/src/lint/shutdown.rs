//! What happens to running streams when a pod goes.

use k8s_openapi::api::core::v1::Container;
use tidegate_metrics::dialect::Engine;

use super::facts::Facts;
use super::image::Reference;
use super::serving::{CommandLine, PreStop, Server, servers};
use crate::finding::{Finding, Severity};
use crate::path;

/// `terminationGracePeriodSeconds` where the manifest is silent.
const GRACE_S: i64 = 30;
/// A sleep of this length is meant to let streams end, not only to let endpoints settle.
const DRAINING_SLEEP_S: f64 = 30.0;
/// The first vLLM release taken to know `--shutdown-timeout`: it was announced for 0.18, taken back once
/// and put in again, so the release after that one.
const SHUTDOWN_TIMEOUT_SINCE: (u32, u32) = (0, 19);

/// How a vLLM is told to treat running requests when the signal comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Drain {
    /// `--shutdown-timeout` of this many seconds.
    Within(f64),
    /// Nothing is said, or 0: they are aborted.
    Aborts,
    /// It may be said where nobody can look.
    Unknown,
}

impl Drain {
    fn of(container: &Container) -> Self {
        let line = CommandLine::of(container);
        match line.option("--shutdown-timeout") {
            Some(value) => match value.parse::<f64>() {
                Ok(seconds) if seconds > 0.0 => Drain::Within(seconds),
                Ok(_) => Drain::Aborts,
                Err(_) => Drain::Unknown,
            },
            None if line.hidden || line.option("--config").is_some() => Drain::Unknown,
            None => Drain::Aborts,
        }
    }
}

/// The drain of a vLLM, `None` of anything else. llm-d's simulator goes by vLLM's name and has no streams
/// to lose.
fn vllm_drain(server: &Server<'_>) -> Option<Drain> {
    let image = server.container.image.as_deref().unwrap_or_default();
    (server.engine == Some(Engine::Vllm) && !image.contains("inference-sim"))
        .then(|| Drain::of(server.container))
}

fn grace_s(server: &Server<'_>) -> i64 {
    let spec = server.pods.template.spec.as_ref();
    spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(GRACE_S)
}

/// TG306: a server that is signalled while requests are still being sent to it.
pub(super) fn no_pre_stop(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for server in servers(facts) {
        if PreStop::of(server.container) != PreStop::None {
            continue;
        }
        let (severity, then, sleep_s) = match (server.engine, vllm_drain(&server)) {
            (_, Some(Drain::Within(_))) => (Severity::Info, "it refuses what arrives in between", 10),
            // It ends running streams at the signal, so the hook is all the time they have.
            (Some(Engine::LlamaCpp), _) => (Severity::Warning, "it cuts every running stream", 60),
            _ => (Severity::Warning, "what arrives in between is lost", 10),
        };
        findings.push(server.document().finding(
            "TG306",
            severity,
            &server.path(path!["name"]),
            format!(
                "{} has no preStop hook: it is told to stop at the same moment as the Service is told to \
                 leave it out, and {then}",
                server.title()
            ),
            format!(
                "add lifecycle: {{preStop: {{sleep: {{seconds: {sleep_s}}}}}}} and make \
                 terminationGracePeriodSeconds at least {}",
                grace_s(&server) + sleep_s
            ),
        ));
    }
}

/// TG307: a pod that is killed before it could finish.
pub(super) fn grace_too_short(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for server in servers(facts) {
        let grace = grace_s(&server);
        let slept = match PreStop::of(server.container) {
            PreStop::Sleeps(seconds) => seconds,
            PreStop::None => 0.0,
            // A hook of unknown length may be all the wait there has to be.
            PreStop::Waits => continue,
        };
        let given = server.pods.path(path!["spec", "terminationGracePeriodSeconds"]);
        let default = if server.document().root.at(&given).is_some() { "" } else { ", the default" };
        let mut report = |severity, message: String, wanted: f64| {
            let help = format!("set terminationGracePeriodSeconds: {} in the pod's spec", wanted.ceil());
            findings.push(server.document().finding("TG307", severity, &given, message, help));
        };
        let drain = vllm_drain(&server);
        match drain {
            Some(Drain::Within(seconds)) if slept + seconds > grace as f64 => {
                let message = format!(
                    "the pod is killed after {grace} s{default}, and preStop ({slept} s) and \
                     --shutdown-timeout ({seconds} s) take {} s",
                    slept + seconds
                );
                report(Severity::Error, message, slept + seconds + 10.0);
            }
            _ if slept >= grace as f64 => {
                let message = format!(
                    "the pod is killed after {grace} s{default}, and preStop alone sleeps {slept} s: {} \
                     never gets to end anything",
                    server.title()
                );
                report(Severity::Error, message, slept + 60.0);
            }
            // Who aborts on the signal is not cut by the grace: TG308 and TG306 tell.
            Some(Drain::Within(_) | Drain::Aborts) => {}
            None if server.engine == Some(Engine::LlamaCpp) => {}
            _ if grace <= GRACE_S => {
                let left = grace as f64 - slept;
                let message = format!(
                    "the pod is killed after {grace} s{default}: streams that run for more than \
                     {left} s are cut"
                );
                report(Severity::Warning, message, slept + 300.0);
            }
            _ => {}
        }
    }
}

/// TG308: a vLLM that aborts every running stream when it is told to stop.
pub(super) fn vllm_aborts_streams(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for server in servers(facts) {
        if vllm_drain(&server) != Some(Drain::Aborts) {
            continue;
        }
        let knows = knows_shutdown_timeout(server.container.image.as_deref().unwrap_or_default());
        let explicit = CommandLine::of(server.container).option("--shutdown-timeout").is_some();
        let drained = match PreStop::of(server.container) {
            PreStop::None => false,
            PreStop::Waits => true,
            PreStop::Sleeps(seconds) => seconds >= DRAINING_SLEEP_S || !(knows || explicit),
        };
        if drained {
            continue;
        }
        let (why, help) = advice(&server, knows, explicit);
        let field = if server.container.args.is_some() { "args" } else { "command" };
        findings.push(server.document().finding(
            "TG308",
            Severity::Error,
            &server.path(path![field]),
            format!(
                "{why}, so vLLM aborts every running stream when it is told to stop, and ends it as if \
                 it were whole"
            ),
            help,
        ));
    }
}

fn advice(server: &Server<'_>, knows: bool, explicit: bool) -> (&'static str, String) {
    let slept = match PreStop::of(server.container) {
        PreStop::Sleeps(seconds) => seconds,
        PreStop::None | PreStop::Waits => 0.0,
    };
    let (timeout, settle) = (120.0, if slept == 0.0 { 10.0 } else { slept });
    let grace = (settle + timeout + 10.0).ceil();
    if knows || explicit {
        let why = if explicit { "--shutdown-timeout is 0" } else { "--shutdown-timeout is not given" };
        let help = format!(
            "add --shutdown-timeout={timeout} to its arguments and \
             terminationGracePeriodSeconds: {grace} to the pod"
        );
        (why, help)
    } else {
        let help = format!(
            "name a release from 0.19 on and add --shutdown-timeout={timeout}; or give an older one a \
             preStop that waits until vllm:num_requests_running is 0. Either way set \
             terminationGracePeriodSeconds: {grace}"
        );
        ("there is neither --shutdown-timeout nor a preStop hook", help)
    }
}

/// Whether an image is surely of a release that has the option: a version tag of vLLM's own image. What
/// others build carries their numbers.
fn knows_shutdown_timeout(image: &str) -> bool {
    let reference = Reference::of(image);
    reference.repository().contains("vllm/vllm-openai")
        && reference.version().is_some_and(|version| version >= SHUTDOWN_TIMEOUT_SINCE)
}
