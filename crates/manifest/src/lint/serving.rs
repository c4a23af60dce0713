//! Which containers answer requests, and what their command lines say.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Lifecycle};
use tidegate_metrics::dialect::Engine;

use super::facts::{self, Facts, Pods};
use crate::load::Document;
use crate::node::Segment;
use crate::object::{Kind, Object};
use crate::workload::environment;

/// A container that answers requests, in pods that are replaced one by one.
#[derive(Debug)]
pub(super) struct Server<'a> {
    /// Its pods.
    pub(super) pods: Pods<'a>,
    /// Which of their containers.
    pub(super) index: usize,
    /// The container.
    pub(super) container: &'a Container,
    /// The engine it runs; none of a program we do not know.
    pub(super) engine: Option<Engine>,
}

/// Every container that answers requests: an engine, or a program with a GPU that has a readiness probe
/// or stands behind a Service in the files. Jobs and queue workers answer nobody.
pub(super) fn servers<'a>(facts: &Facts<'a>) -> Vec<Server<'a>> {
    let mut servers = Vec::new();
    for pods in facts.pods() {
        if !matches!(pods.document.kind.as_str(), "Deployment" | "StatefulSet" | "LeaderWorkerSet") {
            continue;
        }
        let found = pods.containers().find_map(|(index, container)| {
            let engine = running_engine(container);
            let serves =
                engine.is_some() || (facts::gpus(container) > 0 && is_asked(facts, &pods, container));
            serves.then_some((index, container, engine))
        });
        if let Some((index, container, engine)) = found {
            servers.push(Server { pods, index, container, engine });
        }
    }
    servers
}

impl<'a> Server<'a> {
    /// The workload.
    pub(super) fn document(&self) -> &'a Document {
        self.pods.document
    }

    /// A path below the container.
    pub(super) fn path(&self, rest: &[Segment]) -> Vec<Segment> {
        let container = crate::path!["spec", "containers", self.index];
        self.pods.path(&[container, rest].concat())
    }

    /// `vLLM`, or the container's name.
    pub(super) fn title(&self) -> &str {
        match self.engine {
            Some(engine) => engine.name(),
            None => &self.container.name,
        }
    }
}

/// Whether somebody sends requests to a container of a program we do not know.
fn is_asked(facts: &Facts<'_>, pods: &Pods<'_>, container: &Container) -> bool {
    let probe = container.readiness_probe.as_ref();
    let answers = |probe: &k8s_openapi::api::core::v1::Probe| {
        probe.http_get.is_some() || probe.grpc.is_some() || probe.tcp_socket.is_some()
    };
    probe.is_some_and(answers) || behind_service(facts, pods)
}

/// Whether a Service in the files selects the pods.
pub(super) fn behind_service(facts: &Facts<'_>, pods: &Pods<'_>) -> bool {
    let labels = pods.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    let Some(labels) = labels else { return false };
    facts.manifests.of_kind(Kind::Service).any(|document| {
        let Object::Service(service) = &document.object else { return false };
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        document.namespace == pods.document.namespace
            && selector.is_some_and(|selector| !selector.is_empty() && all_in(selector, labels))
    })
}

/// Whether every label of the selector is among the labels.
pub(super) fn all_in(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// What an engine's own program is called, in any part of a command.
const PROGRAMS: &[&str] = &[
    "vllm",
    "api-server",
    "sglang",
    "launch-server",
    "text-generation",
    "tritonserver",
    "trtllm",
    "llama-server",
    "lmdeploy",
    "dynamo",
];

/// The engine a container serves with: by its image, unless its command runs something else from it
/// (a benchmark, a batch, a script of which nothing is known) or serves nobody (`--headless`).
pub(super) fn running_engine(container: &Container) -> Option<Engine> {
    let engine = facts::engine(container).filter(|engine| *engine != Engine::Dcgm)?;
    let line = CommandLine::of(container);
    let not_serving =
        |word: &String| word.contains("bench") || word.contains("run-batch") || word == "--headless";
    if line.words.iter().any(not_serving) {
        return None;
    }
    let own_entry_point = container.command.as_ref().is_none_or(Vec::is_empty);
    let known = own_entry_point
        || line.words.iter().any(|word| PROGRAMS.iter().any(|program| word.contains(program)));
    known.then_some(engine)
}

/// The words of a container's command and arguments.
#[derive(Debug)]
pub(super) struct CommandLine {
    /// Words; a shell script's words apart, underscores of options as dashes.
    pub(super) words: Vec<String>,
    /// Whether more words may come from where nobody can look.
    pub(super) hidden: bool,
}

impl CommandLine {
    /// The command line of a container, variables of its environment filled in.
    pub(super) fn of(container: &Container) -> Self {
        let variables = environment(container).unwrap_or_default();
        let mut line = CommandLine { words: Vec::new(), hidden: false };
        for text in container.command.iter().chain(&container.args).flatten() {
            line.take(text, &variables);
        }
        line
    }

    fn take(&mut self, text: &str, variables: &BTreeMap<String, Option<String>>) {
        for word in text.split_whitespace() {
            let word = word.trim_matches(['"', '\'', ';', '\\']);
            match variable(word) {
                Some(name) => match variables.get(name) {
                    Some(Some(value)) => self.words.extend(value.split_whitespace().map(plain)),
                    _ => self.hidden |= carries_options(name),
                },
                None if !word.is_empty() => self.words.push(plain(word)),
                None => {}
            }
        }
    }

    /// The value of an option: `--name=value` or `--name value`. An option without one has an empty value.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.words.iter().enumerate().find_map(|(index, word)| {
            let rest = word.strip_prefix(name)?;
            if let Some(value) = rest.strip_prefix('=') {
                return Some(value);
            }
            let next = self.words.get(index + 1).filter(|next| !next.starts_with("--"));
            rest.is_empty().then(|| next.map_or("", String::as_str))
        })
    }
}

/// Python's parsers take `--max_num_seqs` for `--max-num-seqs`; a program's name likewise.
fn plain(word: &str) -> String {
    match word.split_once('=') {
        Some((name, value)) => format!("{}={value}", name.replace('_', "-")),
        None => word.replace('_', "-"),
    }
}

/// The name in `$(NAME)`, `${NAME}` or `$NAME`, when that is the whole word.
fn variable(word: &str) -> Option<&str> {
    let rest = word.strip_prefix('$')?;
    Some(rest.trim_start_matches(['(', '{']).trim_end_matches([')', '}']))
}

/// Whether a variable of this name holds options rather than one value.
fn carries_options(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    matches!(name.as_str(), "@" | "*")
        || ["ARG", "OPT", "FLAG", "EXTRA", "PARAM"].iter().any(|part| name.contains(part))
}

/// What happens between the decision to remove a pod and the signal to its process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PreStop {
    /// Nothing.
    None,
    /// It sleeps this many seconds.
    Sleeps(f64),
    /// Something whose length only its author knows.
    Waits,
}

impl PreStop {
    /// The hook of a container.
    pub(super) fn of(container: &Container) -> Self {
        let Some(hook) = container.lifecycle.as_ref().and_then(|hooks: &Lifecycle| hooks.pre_stop.as_ref())
        else {
            return PreStop::None;
        };
        if let Some(sleep) = &hook.sleep {
            return PreStop::Sleeps(sleep.seconds as f64);
        }
        match hook.exec.as_ref().and_then(|exec| exec.command.as_ref()) {
            Some(command) => slept(&command.join(" ")),
            None => PreStop::Waits,
        }
    }
}

/// The sleep in a command: `sleep 15`, `sh -c "sleep 1m; kill 1"`. One in a loop, or with anything that
/// may wait itself, has no length.
fn slept(command: &str) -> PreStop {
    let parts = |c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '"' | '\'' | '(' | ')');
    let words: Vec<&str> = command.split(parts).filter(|word| !word.is_empty()).collect();
    if words
        .iter()
        .any(|word| matches!(*word, "while" | "until" | "for" | "wait" | "curl" | "wget" | "timeout"))
    {
        return PreStop::Waits;
    }
    let is_sleep = |word: &str| word == "sleep" || word.ends_with("/sleep");
    let lengths: Option<Vec<f64>> = words
        .iter()
        .enumerate()
        .filter(|(_, word)| is_sleep(word))
        .map(|(index, _)| words.get(index + 1).and_then(|length| seconds(length)))
        .collect();
    match lengths {
        Some(lengths) if !lengths.is_empty() => PreStop::Sleeps(lengths.iter().sum()),
        _ => PreStop::Waits,
    }
}

/// `30`, `0.5`, `30s`, `1m`, `1h`.
fn seconds(text: &str) -> Option<f64> {
    let (number, unit) = match text.strip_suffix('s') {
        Some(number) => (number, 1.0),
        None => match (text.strip_suffix('m'), text.strip_suffix('h')) {
            (Some(number), _) => (number, 60.0),
            (_, Some(number)) => (number, 3600.0),
            _ => (text, 1.0),
        },
    };
    number
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite() && *number >= 0.0)
        .map(|number| number * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(command: &[&str], args: &[&str]) -> Container {
        let owned = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        Container { command: owned(command), args: owned(args), ..Container::default() }
    }

    #[test]
    fn an_option_is_found_in_every_spelling() {
        for (command, args) in [
            (&["vllm", "serve"][..], &["--shutdown-timeout", "30"][..]),
            (&[], &["--shutdown-timeout=30"]),
            (&[], &["--shutdown_timeout=30", "--port", "8000"]),
            (&["/bin/sh", "-c"], &["exec vllm serve m \\\n  --shutdown-timeout 30 --port 8000"]),
        ] {
            assert_eq!(CommandLine::of(&container(command, args)).option("--shutdown-timeout"), Some("30"));
        }
        let line = CommandLine::of(&container(&[], &["--shutdown-timeouts=3", "--headless"]));
        assert_eq!((line.option("--shutdown-timeout"), line.option("--headless")), (None, Some("")));
    }

    #[test]
    fn options_that_come_from_elsewhere_are_hidden_and_a_model_name_is_not() {
        assert!(CommandLine::of(&container(&["vllm", "serve"], &["$(VLLM_ARGS)"])).hidden);
        assert!(CommandLine::of(&container(&["sh", "-c", "vllm serve \"$@\""], &[])).hidden);
        assert!(!CommandLine::of(&container(&["vllm", "serve", "$(MODEL)"], &[])).hidden);
    }

    #[test]
    fn a_sleep_is_as_long_as_it_says_and_a_loop_as_long_as_it_likes() {
        for (command, expected) in [
            ("/bin/sleep 15", PreStop::Sleeps(15.0)),
            ("/bin/sh -c sleep 30", PreStop::Sleeps(30.0)),
            ("sh -c sleep 1m && sleep 5s; kill -TERM 1", PreStop::Sleeps(65.0)),
            ("sh -c while busy; do sleep 1; done", PreStop::Waits),
            ("/drain.sh", PreStop::Waits),
            ("sh -c sleep $DRAIN", PreStop::Waits),
        ] {
            assert_eq!(slept(command), expected, "{command}");
        }
    }

    #[test]
    fn an_engine_image_that_runs_something_else_is_no_engine() {
        let of = |command: &[&str], args: &[&str]| {
            let image = Some("vllm/vllm-openai:v0.32.0".to_owned());
            running_engine(&Container { image, ..container(command, args) })
        };
        assert_eq!(of(&[], &["--model", "m"]), Some(Engine::Vllm));
        assert_eq!(of(&["python3", "-m", "vllm.entrypoints.openai.api_server"], &[]), Some(Engine::Vllm));
        assert_eq!(of(&["python3", "/app/worker.py"], &[]), None);
        assert_eq!(of(&["vllm", "bench", "serve"], &[]), None);
        assert_eq!(of(&["vllm", "serve", "m", "--headless"], &[]), None);
    }
}
