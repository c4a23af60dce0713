//! A template and what one replica was given, made into a command and an environment.
//!
//! On a cluster every pod has an address of its own, and the manifest's ports are the pods' ports. On
//! one machine each replica gets free ports instead. Every place where the manifest's number stands for
//! "the port I listen on" is rewritten:
//! - `--port 8000`, `--port=8000`, `-p 8000`, `--http-port 8000`: a flag whose name is `p` or contains
//!   `port`, and whose value is a port of the container;
//! - `0.0.0.0:8000`, `:8000`: an address to listen on;
//! - variables called `PORT` or `…_PORT` with such a value;
//! - `$(PORT)`, `$PORT` and `${PORT}` anywhere.
//!
//! `--host 0.0.0.0` becomes `127.0.0.1`: what listens on all addresses in a pod would be open to the
//! whole network here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::unit::{Check, Hook, Probe, Template, Value};
use crate::words::{expand, fill_port};

/// The address replicas listen on.
const LOOPBACK: &str = "127.0.0.1";
/// Addresses that mean "all of them".
const ANY: &[&str] = &["0.0.0.0", "::", "[::]", "*"];

/// What one replica was given.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// Its name.
    pub(crate) replica: &'a str,
    /// Its port for each of the template's.
    pub(crate) ports: &'a BTreeMap<u16, u16>,
    /// Its devices.
    pub(crate) gpus: &'a [u32],
}

/// Ready to be started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filled {
    pub(crate) command: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
}

/// Fills a template in.
pub(crate) fn fill(template: &Template, given: &Given<'_>) -> Filled {
    let serving = given.ports.get(&template.serving).copied().unwrap_or(template.serving);
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    env.insert("PORT".to_owned(), serving.to_string());
    for variable in &template.env {
        let value = match &variable.value {
            Value::Text(text) => expand(text, |name| env.get(name).cloned()),
            Value::Taken(text) => text.clone(),
            Value::Field(path) => field(template, given, path),
        };
        let is_port = variable.name == "PORT" || variable.name.ends_with("_PORT");
        let mapped = value.parse().ok().filter(|_| is_port).and_then(|number: u16| given.ports.get(&number));
        env.insert(variable.name.clone(), mapped.map_or(value, u16::to_string));
    }
    let devices: Vec<String> = given.gpus.iter().map(u32::to_string).collect();
    // Empty for a replica that asks for none: it must not see the devices of others.
    env.insert("CUDA_VISIBLE_DEVICES".to_owned(), devices.join(","));
    // nvidia-smi counts by bus, CUDA by speed unless it is told.
    env.insert("CUDA_DEVICE_ORDER".to_owned(), "PCI_BUS_ID".to_owned());
    let words: Vec<String> = template
        .command
        .iter()
        .map(|word| fill_port(&expand(word, |name| env.get(name).cloned()), serving))
        .collect();
    let mut command = listen_here(words, given.ports);
    let defaults = [(template.port_flag, serving.to_string()), (template.host_flag, LOOPBACK.to_owned())];
    for (flag, value) in defaults {
        if let Some(flag) = flag
            && !command.iter().any(|word| word == flag || word.starts_with(&format!("{flag}=")))
        {
            command.extend([flag.to_owned(), value]);
        }
    }
    Filled { command, env }
}

/// `fieldRef`: what the downward API would say of this replica.
fn field(template: &Template, given: &Given<'_>, path: &str) -> String {
    let key = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']").map(str::to_owned);
    match path {
        "metadata.name" => given.replica.to_owned(),
        "metadata.namespace" => template.namespace.clone(),
        "status.podIP" | "status.podIPs" | "status.hostIP" | "status.hostIPs" => LOOPBACK.to_owned(),
        "spec.nodeName" => "localhost".to_owned(),
        "spec.serviceAccountName" => "default".to_owned(),
        _ => {
            let labels = key("metadata.labels['").and_then(|key| template.labels.get(&key).cloned());
            let annotations =
                || key("metadata.annotations['").and_then(|key| template.annotations.get(&key).cloned());
            labels.or_else(annotations).unwrap_or_default()
        }
    }
}

/// The same template, with probes and hooks that are commands asking at the replica's own ports:
/// `curl localhost:8000/health` in a pod means the pod's port.
pub(crate) fn execs_at(template: &Arc<Template>, ports: &BTreeMap<u16, u16>) -> Arc<Template> {
    let mut template = Arc::clone(template);
    let is_exec = |probe: &Option<Probe>| matches!(probe, Some(Probe { check: Check::Exec(_), .. }));
    let execs = [&template.startup, &template.readiness, &template.liveness].into_iter().any(is_exec);
    if !execs && !matches!(template.pre_stop, Some(Hook::Exec(_))) {
        return template;
    }
    let own = Arc::make_mut(&mut template);
    let rewrite = |words: &mut Vec<String>| {
        let words_here = std::mem::take(words).iter().map(|word| ask_here(word, ports)).collect();
        *words = listen_here(words_here, ports);
    };
    for probe in [&mut own.startup, &mut own.readiness, &mut own.liveness].into_iter().flatten() {
        if let Check::Exec(words) = &mut probe.check {
            rewrite(words);
        }
    }
    if let Some(Hook::Exec(words)) = &mut own.pre_stop {
        rewrite(words);
    }
    template
}

/// `localhost:8000` anywhere in a text, as the replica's own port.
fn ask_here(text: &str, ports: &BTreeMap<u16, u16>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((at, name)) = ["localhost:", "127.0.0.1:", "0.0.0.0:"]
        .iter()
        .filter_map(|name| Some((rest.find(name)?, name)))
        .min()
    {
        let digits_at = at + name.len();
        let digits = rest[digits_at..].bytes().take_while(u8::is_ascii_digit).count();
        let number = &rest[digits_at..digits_at + digits];
        out.push_str(&rest[..digits_at]);
        match number.parse().ok().and_then(|number: u16| ports.get(&number)) {
            Some(port) => out.push_str(&port.to_string()),
            None => out.push_str(number),
        }
        rest = &rest[digits_at + digits..];
    }
    out.push_str(rest);
    out
}

/// Rewrites what the words of a command listen on.
fn listen_here(words: Vec<String>, ports: &BTreeMap<u16, u16>) -> Vec<String> {
    let mapped = |text: &str| text.parse().ok().and_then(|number: u16| ports.get(&number)).copied();
    let mut out: Vec<String> = Vec::with_capacity(words.len());
    let mut flag: Option<String> = None;
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) if name.starts_with('-') => (Some(name.to_owned()), value.to_owned()),
            _ => (None, word.clone()),
        };
        let of_flag = name.as_deref().or(flag.as_deref()).unwrap_or_default();
        let new = if is_port_flag(of_flag) {
            mapped(&value).map(|port| port.to_string())
        } else if is_host_flag(of_flag) && ANY.contains(&value.as_str()) {
            Some(LOOPBACK.to_owned())
        } else {
            address(&value, &mapped)
        };
        flag = (word.starts_with('-') && name.is_none()).then(|| word.clone());
        out.push(match (new, name) {
            (None, _) => word,
            (Some(new), None) => new,
            (Some(new), Some(name)) => format!("{name}={new}"),
        });
    }
    out
}

fn is_port_flag(flag: &str) -> bool {
    let name = flag.trim_start_matches('-');
    flag.starts_with('-') && (name == "p" || name.contains("port"))
}

fn is_host_flag(flag: &str) -> bool {
    let name = flag.trim_start_matches('-');
    flag.starts_with('-') && (name.ends_with("host") || name == "hostname")
}

/// `0.0.0.0:8000` as an address of ours.
fn address(text: &str, mapped: &impl Fn(&str) -> Option<u16>) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let here = host.is_empty() || ANY.contains(&host) || matches!(host, "127.0.0.1" | "localhost" | "[::1]");
    here.then(|| mapped(port)).flatten().map(|port| format!("{LOOPBACK}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::template;
    use crate::unit::{Port, Variable};

    fn filled(words: &[&str], change: impl FnOnce(&mut Template)) -> Filled {
        let mut template = template(words);
        template.serving = 8000;
        template.ports = vec![Port { name: None, number: 8000 }, Port { name: None, number: 9090 }];
        change(&mut template);
        let ports = BTreeMap::from([(8000, 41_000), (9090, 41_001)]);
        fill(&template, &Given { replica: "chat-3", ports: &ports, gpus: &[1, 3] })
    }

    #[test]
    fn every_place_that_says_where_to_listen_gets_the_replicas_port() {
        let words = [
            "serve",
            "--port",
            "8000",
            "--http-port=8000",
            "-p",
            "8000",
            "--metrics-port",
            "9090",
            "--bind",
            "0.0.0.0:8000",
            "--listen=:9090",
            "--host",
            "0.0.0.0",
            "--host=::",
            "$PORT",
            "$(PORT)",
        ];
        let command = filled(&words, |_| {}).command;
        let expected = [
            "serve",
            "--port",
            "41000",
            "--http-port=41000",
            "-p",
            "41000",
            "--metrics-port",
            "41001",
            "--bind",
            "127.0.0.1:41000",
            "--listen=127.0.0.1:41001",
            "--host",
            "127.0.0.1",
            "--host=127.0.0.1",
            "41000",
            "41000",
        ];
        assert_eq!(command, expected);
    }

    #[test]
    fn a_probe_that_is_a_command_asks_at_the_replicas_port() {
        let mut template = template(&["run"]);
        let words = ["sh", "-c", "curl -f http://localhost:8000/ready && nc 127.0.0.1:80001"];
        template.liveness = Some(Probe::new(Check::Exec(words.map(str::to_owned).to_vec())));
        template.pre_stop = Some(Hook::Exec(["stop", "--port", "8000"].map(str::to_owned).to_vec()));
        let template = execs_at(&Arc::new(template), &BTreeMap::from([(8000, 41_000)]));
        let Some(Probe { check: Check::Exec(words), .. }) = &template.liveness else {
            panic!("{template:?}")
        };
        assert_eq!(words[2], "curl -f http://localhost:41000/ready && nc 127.0.0.1:80001");
        let Some(Hook::Exec(words)) = &template.pre_stop else { panic!("{template:?}") };
        assert_eq!(words[2], "41000");
    }

    #[test]
    fn numbers_that_are_no_port_stay() {
        let words =
            ["serve", "--max-model-len", "8000", "--port", "8001", "example.com:8000", "8000", "a=8000"];
        assert_eq!(filled(&words, |_| {}).command, words);
    }

    #[test]
    fn an_engine_that_was_told_no_port_is_told_one() {
        let with = |words: &[&str]| filled(words, |template| template.port_flag = Some("--port")).command;
        assert_eq!(with(&["llama-server"]), ["llama-server", "--port", "41000"]);
        assert_eq!(with(&["llama-server", "--port=8000"]), ["llama-server", "--port=41000"]);
    }

    #[test]
    fn variables_refer_to_earlier_ones_and_to_the_replica() {
        let variable = |name: &str, value: Value| Variable { name: name.to_owned(), value };
        let text = |text: &str| Value::Text(text.to_owned());
        let filled = filled(&["run", "$(WHO)", "$(LATER)"], |template| {
            template.labels.insert("app".to_owned(), "chat".to_owned());
            template.env = vec![
                variable("NAME", Value::Field("metadata.name".to_owned())),
                variable("APP", Value::Field("metadata.labels['app']".to_owned())),
                variable("IP", Value::Field("status.podIP".to_owned())),
                variable("WHO", text("$(APP)/$(NAME) $(LATER)")),
                variable("LATER", Value::Taken("$(NAME)".to_owned())),
                variable("HTTP_PORT", text("8000")),
                variable("LENGTH", text("8000")),
            ];
        });
        assert_eq!(filled.command, ["run", "chat/chat-3 $(LATER)", "$(NAME)"]);
        let of = |name: &str| filled.env[name].as_str();
        assert_eq!((of("IP"), of("HTTP_PORT"), of("LENGTH")), ("127.0.0.1", "41000", "8000"));
        assert_eq!((of("PORT"), of("CUDA_VISIBLE_DEVICES")), ("41000", "1,3"));
    }
}
