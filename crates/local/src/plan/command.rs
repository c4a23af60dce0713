//! The command of a container, where its image would have been.

use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
use tidegate_manifest::{path, serving};
use tidegate_metrics::dialect::Engine;

use super::{Remarks, Surroundings};

/// The annotation that says what to run here.
pub(super) const LOCAL_COMMAND: &str = "tidegate.dev/local-command";

/// A command and what we know of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) words: Vec<String>,
    pub(super) engine: Option<Engine>,
    /// Flags that are appended where they are missing: of the port, of the address.
    pub(super) port_flag: Option<&'static str>,
    pub(super) host_flag: Option<&'static str>,
}

/// What an image of an engine runs, and how that is told where to listen.
struct Entry {
    engine: Engine,
    /// What the image's own entry point is outside of it.
    command: &'static [&'static str],
    /// Words by which a command is known to be this engine.
    words: &'static [&'static str],
    /// The flag of its address, where it listens on all of them unless it is told.
    host_flag: Option<&'static str>,
    port: u16,
}

const ENTRIES: &[Entry] = &[
    Entry {
        engine: Engine::Vllm,
        command: &["vllm", "serve"],
        words: &["vllm", "vllm.entrypoints.openai.api_server"],
        host_flag: Some("--host"),
        port: 8000,
    },
    Entry {
        engine: Engine::Sglang,
        command: &["python3", "-m", "sglang.launch_server"],
        words: &["sglang", "sglang.launch_server"],
        host_flag: None,
        port: 30_000,
    },
    Entry {
        engine: Engine::Tgi,
        command: &["text-generation-launcher"],
        words: &["text-generation-launcher"],
        host_flag: Some("--hostname"),
        port: 80,
    },
    Entry {
        engine: Engine::LlamaCpp,
        command: &["llama-server"],
        words: &["llama-server"],
        host_flag: None,
        port: 8080,
    },
];

/// The port an engine listens on when it is told none.
pub(super) fn default_port(engine: Engine) -> Option<u16> {
    ENTRIES.iter().find(|entry| entry.engine == engine).map(|entry| entry.port)
}

/// The command of a container: the annotation, its own, or that of the engine in its image.
pub(super) fn program(
    template: &PodTemplateSpec,
    container: &Container,
    surroundings: &Surroundings<'_>,
    remarks: &mut Remarks<'_>,
) -> Option<Program> {
    let at = path!["spec", "template", "metadata", "annotations", LOCAL_COMMAND];
    let annotations = template.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
    let image = container.image.as_deref().and_then(Engine::of_image);
    let args = container.args.clone().unwrap_or_default();
    let words = if let Some(text) = annotations.and_then(|all| all.get(LOCAL_COMMAND)) {
        match shlex::split(text).filter(|words| !words.is_empty()) {
            Some(words) => words,
            None => {
                let message = format!("{LOCAL_COMMAND} cannot be split into words");
                remarks.error(
                    "TU004",
                    at,
                    message,
                    "close its quotes; it is split as a shell splits, without one",
                );
                return None;
            }
        }
    } else if let Some(command) = container.command.as_ref().filter(|command| !command.is_empty()) {
        [command.clone(), args].concat()
    } else {
        entry_point(container, args, surroundings, remarks)?
    };
    let engine = engine_of(&words).or(image);
    let entry = ENTRIES.iter().find(|entry| Some(entry.engine) == engine);
    // A shell's command line, or one that names the port itself, is left as it is.
    let shell = is_shell(&words[0]);
    let says =
        words.iter().any(|word| ["$PORT", "${PORT}", "$(PORT)"].iter().any(|name| word.contains(name)));
    let own = engine_of(&words).is_some() && !shell;
    Some(Program {
        port_flag: (own && !says).then_some("--port"),
        host_flag: entry.filter(|_| own && !is_stand_in(&words)).and_then(|entry| entry.host_flag),
        words,
        engine,
    })
}

/// The entry point of an engine's image, as a command of this machine.
fn entry_point(
    container: &Container,
    mut args: Vec<String>,
    surroundings: &Surroundings<'_>,
    remarks: &mut Remarks<'_>,
) -> Option<Vec<String>> {
    let image = container.image.as_deref().unwrap_or_default();
    let at = path!["spec", "template", "spec", "containers"];
    let entry = ENTRIES.iter().find(|entry| Some(entry.engine) == Engine::of_image(image));
    // llama.cpp has images of other programs as well.
    let entry = entry.filter(|entry| entry.engine != Engine::LlamaCpp || image.contains("server"));
    let help = "say what to run here in the pod template's annotation tidegate.dev/local-command";
    let Some(entry) = entry else {
        let message = format!(
            "container {} has no command, and the entry point of image {image:?} is not known here",
            container.name
        );
        remarks.error("TU002", at, message, help);
        return None;
    };
    if !(surroundings.on_path)(entry.command[0]) {
        let message = format!(
            "container {} would run {}, which is not on PATH",
            container.name,
            entry.command.join(" ")
        );
        remarks.error("TU002", at, message, &format!("install it, or {help}"));
        return None;
    }
    let mut words: Vec<String> = entry.command.iter().map(|word| (*word).to_owned()).collect();
    // Older images were told "serve" themselves.
    if entry.engine == Engine::Vllm && args.first().is_some_and(|word| word == "serve") {
        args.remove(0);
    }
    words.append(&mut args);
    Some(words)
}

/// Whether a program runs a script rather than being one.
pub(super) fn is_shell(program: &str) -> bool {
    matches!(base_name(program), "sh" | "bash" | "dash" | "zsh" | "env")
}

fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// Our own stand-in engine: `tidegate engine --dialect vllm`.
fn is_stand_in(words: &[String]) -> bool {
    words.get(1).is_some_and(|word| word == "engine")
}

/// The engine that a command runs.
fn engine_of(words: &[String]) -> Option<Engine> {
    if is_stand_in(words) {
        return match serving::argument(words, &["--dialect"]).as_deref() {
            None | Some("vllm") => Some(Engine::Vllm),
            Some("sglang") => Some(Engine::Sglang),
            Some("tgi") => Some(Engine::Tgi),
            Some("llamacpp") => Some(Engine::LlamaCpp),
            Some(_) => None,
        };
    }
    // The program, or what python runs with -m.
    let program = words.iter().take(3).map(|word| base_name(word));
    let mut known = program.filter_map(|word| ENTRIES.iter().find(|entry| entry.words.contains(&word)));
    known.next().map(|entry| entry.engine)
}
