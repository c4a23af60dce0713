//! One workload as a unit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use tidegate_core::time::Span;
use tidegate_manifest::load::{Document, Manifests};
use tidegate_manifest::object::Object;
use tidegate_manifest::{Finding, duration, lower, path, quantity, serving};
use tidegate_metrics::dialect::Engine;

use super::command::{self, Program};
use super::environment::Sources;
use super::{Remarks, Surroundings, probes};
use crate::swap;
use crate::unit::{Check, Get, Port, Probe, Secret, Template, Unit, Value, Variable};

/// The port of a program of which nothing says where it listens: it is told `$PORT`.
const PORT_DEFAULT: u16 = 8000;

/// Makes one unit.
pub(super) struct Planner<'a> {
    pub(super) manifests: &'a Manifests,
    pub(super) surroundings: &'a Surroundings<'a>,
    pub(super) scaler: Option<(&'a Document, &'a lower::Target)>,
    pub(super) workload: &'a Document,
}

impl Planner<'_> {
    pub(super) fn unit(&self) -> (Option<Unit>, Vec<Finding>) {
        let mut remarks = Remarks::new(self.workload);
        let unit = self.plan(&mut remarks).filter(|_| !remarks.has_errors());
        (unit, remarks.findings)
    }

    fn plan(&self, remarks: &mut Remarks<'_>) -> Option<Unit> {
        let (_, pods) = self.workload.object.pod_template()?;
        let spec = pods.spec.as_ref()?;
        let container = serving::container(spec)?;
        tell_what_is_left_out(spec, container, remarks);
        let program = command::program(pods, container, self.surroundings, remarks)?;
        let sources = Sources {
            manifests: self.manifests,
            surroundings: self.surroundings,
            namespace: &self.workload.namespace,
        };
        let env = sources.variables(container, remarks);
        let template = self.template(pods, spec, container, &program, env, remarks);
        let models = self.models(pods, container, &program);
        let key = upstream_key(&program, &template.env);
        let annotation = |name: &str| self.annotation(pods, name);
        let length = |name: &str| annotation(name).and_then(|text| positive(duration::parse(&text).ok()?));
        Some(Unit {
            target: match self.scaler {
                Some((_, target)) => Arc::clone(&target.spec.target),
                None => format!("{}/{}", self.workload.namespace, self.workload.name).into(),
            },
            workload: self.workload.name.clone(),
            models,
            scaled: self.scaler.is_some(),
            replicas: self.replicas(),
            min_residence: positive(swap::MIN_RESIDENCE).unwrap_or_default(),
            preemptible: annotation("tidegate.dev/preemptible").as_deref() != Some("false"),
            gpu_price_per_hour: annotation("tidegate.dev/gpu-price-per-hour")
                .and_then(|text| text.parse().ok())
                .filter(|price: &f64| price.is_finite() && *price >= 0.0),
            hold_timeout: length("tidegate.dev/hold-timeout"),
            hold_max: annotation("tidegate.dev/hold-max").and_then(|text| text.parse().ok()),
            engine: program.engine,
            upstream_key: key,
            template: Arc::new(template),
        })
    }

    /// An annotation of the object that scales, of the pods, or of the workload.
    fn annotation(&self, pods: &PodTemplateSpec, name: &str) -> Option<String> {
        let of_pods = || pods.metadata.as_ref()?.annotations.as_ref()?.get(name).cloned();
        let scaler = self.scaler.and_then(|(scaler, _)| scaler.annotation(name));
        scaler.or_else(of_pods).or_else(|| self.workload.annotation(name))
    }

    fn replicas(&self) -> u32 {
        let count = match &self.workload.object {
            Object::Deployment(object) => object.spec.as_ref().and_then(|spec| spec.replicas),
            Object::StatefulSet(object) => object.spec.as_ref().and_then(|spec| spec.replicas),
            _ => None,
        };
        count.map_or(1, |count| u32::try_from(count).unwrap_or(0))
    }

    /// Names that requests may use. A program without a port and without a model answers nobody.
    fn models(&self, pods: &PodTemplateSpec, container: &Container, program: &Program) -> Vec<String> {
        if let Some(text) = self.annotation(pods, "tidegate.dev/model") {
            return serving::names(&text);
        }
        let named = serving::models(&program.words);
        let answers = program.engine.is_some() || container.ports.as_ref().is_some_and(|all| !all.is_empty());
        if named.is_empty() && answers { vec![self.workload.name.clone()] } else { named }
    }

    fn template(
        &self,
        pods: &PodTemplateSpec,
        spec: &PodSpec,
        container: &Container,
        program: &Program,
        env: Vec<Variable>,
        remarks: &mut Remarks<'_>,
    ) -> Template {
        let startup = probes::probe("startupProbe", container.startup_probe.as_ref(), container, remarks);
        let readiness =
            probes::probe("readinessProbe", container.readiness_probe.as_ref(), container, remarks);
        let liveness = probes::probe("livenessProbe", container.liveness_probe.as_ref(), container, remarks);
        let asked =
            probes::ports([&startup, &readiness, &liveness].into_iter().flatten().map(|one| &one.check));
        let says_port = !asked.is_empty() || container.ports.as_ref().is_some_and(|all| !all.is_empty());
        let (serving, ports) = ports(container, program, &asked);
        let readiness = readiness.or_else(|| {
            implied_readiness(program.engine, serving)
                .filter(|_| startup.is_none() && (says_port || program.engine.is_some()))
        });
        tell_of_ports_in_scripts(program, &ports, remarks);
        let metadata = pods.metadata.clone().unwrap_or_default();
        let grace_s = spec.termination_grace_period_seconds.unwrap_or(30);
        Template {
            namespace: self.workload.namespace.clone(),
            container: container.name.clone(),
            command: program.words.clone(),
            env,
            working_dir: working_dir(container, remarks),
            ports,
            serving,
            port_flag: program.port_flag,
            host_flag: program.host_flag,
            startup,
            readiness,
            liveness,
            pre_stop: probes::pre_stop(container, remarks),
            termination_grace: Duration::from_secs(u64::try_from(grace_s).unwrap_or(0)),
            gpus: serving::amount(container, serving::is_gpu)
                .map_or(0, |milli| u32::try_from(milli / 1000).unwrap_or(u32::MAX)),
            memory_limit_bytes: memory_limit(container),
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
        }
    }
}

fn positive(span: Span) -> Option<Duration> {
    u64::try_from(span.as_micros()).ok().map(Duration::from_micros)
}

fn tell_what_is_left_out(spec: &PodSpec, container: &Container, remarks: &mut Remarks<'_>) {
    let others = spec.containers.iter().filter(|other| other.name != container.name);
    for other in others.chain(spec.init_containers.iter().flatten()) {
        remarks.warning(
            "TU005",
            path!["spec", "template", "spec"],
            format!("container {} is not run; of a pod only {} is", other.name, container.name),
            "do on this machine what it would have done",
        );
    }
    for mount in container.volume_mounts.iter().flatten() {
        let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
        let holds_data = volume.is_some_and(|volume| {
            volume.config_map.is_some() || volume.secret.is_some() || volume.projected.is_some()
        });
        let at = path!["spec", "template", "spec", "volumes"];
        if holds_data {
            let message = format!("volume {} is not mounted at {}", mount.name, mount.mount_path);
            remarks.warning("TU005", at, message, "put its files there yourself, or use variables");
        } else if !mount.mount_path.starts_with("/dev/shm") {
            let message = format!(
                "volume {} is not mounted: the program sees this machine's own {}",
                mount.name, mount.mount_path
            );
            remarks.info(
                "TU005",
                at,
                message,
                "make that directory, or say another in tidegate.dev/local-command",
            );
        }
    }
}

/// The port that serves, and all that are known.
fn ports(container: &Container, program: &Program, asked: &[u16]) -> (u16, Vec<Port>) {
    let mut ports: Vec<Port> = Vec::new();
    for port in container.ports.iter().flatten() {
        if let Ok(number) = u16::try_from(port.container_port)
            && !ports.iter().any(|known| known.number == number)
        {
            ports.push(Port { name: port.name.clone(), number });
        }
    }
    let said = serving::argument(&program.words, &["--port", "-p"]).and_then(|text| text.parse().ok());
    let named = ports.iter().find(|port| port.name.as_deref().is_some_and(serving::is_serving_name));
    let serving = said
        .or(named.map(|port| port.number))
        .or(asked.first().copied())
        .or(ports.first().map(|port| port.number))
        .or(program.engine.and_then(command::default_port))
        .unwrap_or(PORT_DEFAULT);
    for number in asked.iter().copied().chain([serving]) {
        if !ports.iter().any(|known| known.number == number) {
            ports.push(Port { name: None, number });
        }
    }
    (serving, ports)
}

/// A port inside a shell's script cannot be rewritten: two replicas would want the same.
fn tell_of_ports_in_scripts(program: &Program, ports: &[Port], remarks: &mut Remarks<'_>) {
    let [shell, flag, script, ..] = program.words.as_slice() else { return };
    if !command::is_shell(shell) || !flag.starts_with('-') || script.contains("PORT") {
        return;
    }
    let says = |port: &&Port| {
        script.split(|c: char| !c.is_ascii_digit()).any(|word| word == port.number.to_string())
    };
    if let Some(port) = ports.iter().find(says) {
        remarks.warning(
            "TU006",
            path!["spec", "template", "spec", "containers"],
            format!("port {} inside a script is left as it is, and every replica has its own", port.number),
            "write $PORT in the script",
        );
    }
}

/// What is asked where the manifest asks nothing: an engine's own health, or whether the port is open.
fn implied_readiness(engine: Option<Engine>, serving: u16) -> Option<Probe> {
    let check = match engine {
        Some(engine) => {
            Check::Http(Get { port: serving, path: engine.health_path().to_owned(), headers: Vec::new() })
        }
        None => Check::Tcp { port: serving },
    };
    Some(Probe::new(check))
}

/// The container's directory, where this machine has it; an image's own is not here.
fn working_dir(container: &Container, remarks: &mut Remarks<'_>) -> Option<PathBuf> {
    let directory = PathBuf::from(container.working_dir.as_ref()?);
    if !directory.is_dir() {
        remarks.info(
            "TU006",
            path!["spec", "template", "spec", "containers"],
            format!("workingDir {} is not on this machine; ours is used", directory.display()),
            "make it, if the program needs it",
        );
        return None;
    }
    Some(directory)
}

fn memory_limit(container: &Container) -> Option<u64> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    let milli = quantity::parse(&limits.get("memory")?.0).ok()?;
    u64::try_from(milli.0 / 1000).ok().filter(|bytes| *bytes > 0)
}

/// The key an engine was told to ask for: `--api-key`, or its variable.
fn upstream_key(program: &Program, env: &[Variable]) -> Option<Secret> {
    let variable = |name: &str| {
        env.iter().rev().find(|one| one.name == name).and_then(|one| match &one.value {
            Value::Text(text) | Value::Taken(text) => Some(text.clone()),
            Value::Field(_) => None,
        })
    };
    let said = serving::argument(&program.words, &["--api-key"]);
    let said = said.map(|text| crate::words::expand(&text, variable));
    let name = serving::key_variable(program.engine);
    said.or_else(|| variable(name)).filter(|key| !key.is_empty()).map(Secret)
}
