//! Which container of a pod serves, where it listens, and where its metrics are.

use std::fmt;

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use tidegate_metrics::dialect::Engine;

use crate::quantity;

/// Names of ports that take requests.
const SERVING_NAMES: &[&str] = &["http", "api", "openai", "serving", "web", "http1"];

/// An entry of a Secret in the pods' namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The Secret's name.
    pub secret: String,
    /// The name of the entry in it.
    pub entry: String,
}

impl Entry {
    /// From `SECRET/ENTRY`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (secret, entry) = text.trim().split_once('/')?;
        let named = !secret.is_empty() && !entry.is_empty() && !entry.contains('/');
        named.then(|| Entry { secret: secret.to_owned(), entry: entry.to_owned() })
    }
}

/// What a certificate is checked by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The authorities of the machine that asks.
    #[default]
    Machine,
    /// Authorities in PEM that stand in a Secret: `tidegate.dev/metrics-ca: SECRET/ENTRY`.
    Entry(Entry),
    /// Nothing: whatever it shows will do (`tidegate.dev/metrics-ca: none`).
    Nothing,
}

/// Annotation with the entry of a Secret in which the key stands that a pod asks for.
pub const KEY: &str = "tidegate.dev/metrics-key";
/// Annotation with the entry of a Secret in which the authorities of pods' certificates stand.
pub const CA: &str = "tidegate.dev/metrics-ca";
/// Annotation with the name that pods' certificates have.
pub const HOST: &str = "tidegate.dev/metrics-host";

/// Where every pod of a template has its metrics.
#[derive(Clone, PartialEq, Eq)]
pub struct Page {
    /// The container that serves.
    pub container: String,
    /// Its port.
    pub port: u16,
    /// Its path.
    pub path: String,
    /// Whether it is asked over TLS (`prometheus.io/scheme`).
    pub https: bool,
    /// The engine, where its image tells.
    pub engine: Option<Engine>,
    /// Model names that requests use.
    pub models: Vec<String>,
    /// The key the engine asks of its clients, where it stands in the template itself.
    pub key: Option<String>,
    /// Where that key stands else: `tidegate.dev/metrics-key`.
    pub key_from: Option<Entry>,
    /// What its certificate is to be checked by.
    pub trust: Trust,
    /// The name its certificate must have, where that is not its address: `tidegate.dev/metrics-host`.
    pub host: Option<String>,
    /// Whether somebody says that there are metrics: the image of an engine, or an annotation. What is
    /// no more than a port may be anything.
    pub certain: bool,
}

impl fmt::Debug for Page {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}:{}{}",
            self.container,
            if self.https { "https" } else { "http" },
            self.port,
            self.path
        )
    }
}

impl Page {
    /// What a template says; `None` where it says no port, or that nobody is to ask.
    #[must_use]
    pub fn of(template: &PodTemplateSpec) -> Option<Self> {
        let metadata = template.metadata.as_ref();
        let annotation = |name: &str| {
            metadata.and_then(|metadata| metadata.annotations.as_ref()?.get(name)).map(|text| text.trim())
        };
        let scrape = annotation("prometheus.io/scrape");
        if scrape == Some("false") {
            return None;
        }
        let container = container(template.spec.as_ref()?)?;
        let words: Vec<String> =
            [&container.command, &container.args].into_iter().flatten().flatten().cloned().collect();
        let engine = container.image.as_deref().and_then(Engine::of_image);
        let annotated = annotation("prometheus.io/port").and_then(|text| text.parse().ok());
        let said = argument(&words, &["--port", "-p"]).and_then(|text| text.parse().ok());
        let port = annotated.or_else(|| said.or_else(|| port(container)))?;
        let path = annotation("prometheus.io/path").filter(|path| path.starts_with('/'));
        let own = engine.map_or("/metrics", Engine::metrics_path);
        let label = || metadata.and_then(|metadata| metadata.labels.as_ref()?.get("model")).cloned();
        let models = match annotation("tidegate.dev/model") {
            Some(text) => names(text),
            None => label().map_or_else(|| models(&words), |name| vec![name]),
        };
        Some(Page {
            container: container.name.clone(),
            port,
            path: path.unwrap_or(own).to_owned(),
            https: annotation("prometheus.io/scheme") == Some("https"),
            engine,
            models,
            key: key(engine, container, &words),
            key_from: annotation(KEY).and_then(Entry::parse),
            trust: match annotation(CA) {
                Some("none") => Trust::Nothing,
                // What names no entry trusts nobody new.
                said => said.and_then(Entry::parse).map_or(Trust::Machine, Trust::Entry),
            },
            host: annotation(HOST).filter(|host| !host.is_empty()).map(str::to_owned),
            certain: engine.is_some() || annotated.is_some() || scrape == Some("true"),
        })
    }
}

/// Names between commas.
#[must_use]
pub fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The first container that serves: by its image, a GPU, a readiness probe or a port.
#[must_use]
pub fn container(spec: &PodSpec) -> Option<&Container> {
    let serves = |container: &&Container| {
        container.image.as_deref().and_then(Engine::of_image).is_some()
            || amount(container, is_gpu).is_some()
            || container.readiness_probe.is_some()
            || container.ports.as_ref().is_some_and(|ports| !ports.is_empty())
    };
    spec.containers.iter().find(serves).or_else(|| spec.containers.first())
}

/// Whether a name is that of a port that takes requests.
#[must_use]
pub fn is_serving_name(name: &str) -> bool {
    SERVING_NAMES.contains(&name)
}

/// The port of a container that takes requests by its name, or else the first.
fn port(container: &Container) -> Option<u16> {
    let ports = container.ports.as_deref().unwrap_or_default();
    let named = ports.iter().find(|port| port.name.as_deref().is_some_and(is_serving_name));
    u16::try_from(named.or_else(|| ports.first())?.container_port).ok()
}

/// Whether a resource is a GPU.
#[must_use]
pub fn is_gpu(resource: &str) -> bool {
    resource.ends_with("/gpu")
}

/// Thousandths of a resource: its limit, or else its request.
#[must_use]
pub fn amount(container: &Container, is: impl Fn(&str) -> bool) -> Option<i64> {
    let resources = container.resources.as_ref()?;
    [&resources.limits, &resources.requests].into_iter().flatten().find_map(|amounts| {
        let (_, amount) = amounts.iter().find(|(name, _)| is(name))?;
        quantity::parse(&amount.0).ok().map(|milli| milli.0).filter(|milli| *milli > 0)
    })
}

/// The value of the first of these flags: `--flag value` or `--flag=value`.
#[must_use]
pub fn argument(words: &[String], flags: &[&str]) -> Option<String> {
    words.iter().enumerate().find_map(|(index, word)| match word.split_once('=') {
        Some((flag, value)) if flags.contains(&flag) => Some(value.to_owned()),
        None if flags.contains(&word.as_str()) => words.get(index + 1).cloned(),
        _ => None,
    })
}

/// Model names that a command line gives; vLLM takes several after one flag.
#[must_use]
pub fn models(words: &[String]) -> Vec<String> {
    if let Some(at) = words.iter().position(|word| word == "--served-model-name") {
        return words[at + 1..].iter().take_while(|word| !word.starts_with('-')).cloned().collect();
    }
    let flags = ["--served-model-name", "--alias", "-a", "--model-id", "--model-path", "--model"];
    let named = flags.iter().find_map(|flag| argument(words, &[flag]));
    // `vllm serve NAME`
    let serve = words.iter().position(|word| word == "serve").filter(|at| *at < 2);
    let positional = serve.and_then(|at| words.get(at + 1)).filter(|word| !word.starts_with('-')).cloned();
    named.or(positional).into_iter().collect()
}

/// The variable in which an engine's key stands.
#[must_use]
pub const fn key_variable(engine: Option<Engine>) -> &'static str {
    match engine {
        Some(Engine::Vllm) => "VLLM_API_KEY",
        Some(Engine::LlamaCpp) => "LLAMA_API_KEY",
        _ => "API_KEY",
    }
}

fn key(engine: Option<Engine>, container: &Container, words: &[String]) -> Option<String> {
    let name = key_variable(engine);
    let variable = || container.env.iter().flatten().rev().find(|one| one.name == name)?.value.clone();
    let said = argument(words, &["--api-key"]).or_else(variable);
    // What refers to a variable that stands elsewhere is no key yet.
    said.filter(|key| !key.is_empty() && !key.contains("$("))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(yaml: &str) -> Option<Page> {
        let json: serde_json::Value = serde_json::from_str(yaml).unwrap();
        Page::of(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn an_engines_image_and_its_first_port_are_enough() {
        let page = page(
            r#"{"spec": {"containers": [
                {"name": "proxy", "image": "envoy"},
                {"name": "server", "image": "vllm/vllm-openai:v0.10", "args": ["--model", "m/x"],
                 "ports": [{"containerPort": 9000, "name": "grpc"}, {"containerPort": 8000, "name": "http"}]}]}}"#,
        )
        .unwrap();
        assert_eq!((page.container.as_str(), page.port, page.path.as_str()), ("server", 8000, "/metrics"));
        assert_eq!(
            (page.engine, page.certain, page.models),
            (Some(Engine::Vllm), true, vec!["m/x".to_owned()])
        );
    }

    #[test]
    fn prometheus_annotations_win_and_can_forbid() {
        let of = |annotations: &str| {
            page(&format!(
                r#"{{"metadata": {{"annotations": {{{annotations}}}, "labels": {{"model": "llama"}}}}, "spec": {{"containers":
                [{{"name": "a", "image": "own", "ports": [{{"containerPort": 80}}]}}]}}}}"#
            ))
        };
        let plain = of("").unwrap();
        assert_eq!((plain.port, plain.certain, plain.models), (80, false, vec!["llama".to_owned()]));
        let said = of(
            r#""prometheus.io/port": "9100", "prometheus.io/path": "/stats", "prometheus.io/scheme": "https""#,
        );
        let said = said.unwrap();
        assert_eq!((said.port, said.path.as_str(), said.https, said.certain), (9100, "/stats", true, true));
        assert_eq!(of(r#""prometheus.io/scrape": "false""#), None);
    }

    #[test]
    fn a_key_and_authorities_may_stand_in_secrets() {
        let of = |annotations: &str| {
            page(&format!(
                r#"{{"metadata": {{"annotations": {{{annotations}}}}}, "spec": {{"containers":
                [{{"name": "a", "image": "own", "ports": [{{"containerPort": 80}}]}}]}}}}"#
            ))
            .unwrap()
        };
        let said =
            of(r#""tidegate.dev/metrics-key": "engine/key", "tidegate.dev/metrics-ca": "engine/ca.crt""#);
        let entry = |entry: &str| Entry { secret: "engine".to_owned(), entry: entry.to_owned() };
        assert_eq!((said.key_from, said.trust), (Some(entry("key")), Trust::Entry(entry("ca.crt"))));
        assert_eq!(of(r#""tidegate.dev/metrics-ca": "none""#).trust, Trust::Nothing);
        for nonsense in ["engine", "/key", "engine/", "a/b/c", ""] {
            let said = of(&format!(
                r#""tidegate.dev/metrics-key": "{nonsense}", "tidegate.dev/metrics-ca": "{nonsense}""#
            ));
            assert_eq!((said.key_from, said.trust), (None, Trust::Machine), "{nonsense}");
        }
    }

    #[test]
    fn without_a_port_there_is_no_page() {
        assert_eq!(page(r#"{"spec": {"containers": [{"name": "a", "image": "own"}]}}"#), None);
    }

    #[test]
    fn a_key_is_never_shown() {
        let page = page(
            r#"{"spec": {"containers": [{"name": "a", "image": "ghcr.io/ggml-org/llama.cpp:server",
            "args": ["--api-key", "hunter2", "--port", "8080"]}]}}"#,
        );
        let page = page.unwrap();
        assert_eq!(page.key.as_deref(), Some("hunter2"));
        assert!(!format!("{page:?}").contains("hunter2"));
    }
}
