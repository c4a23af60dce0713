//! Probes and hooks of a container.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler, Probe as Written};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tidegate_manifest::path;

use super::Remarks;
use crate::unit::{Check, Get, Hook, Probe};

/// A probe as it is written, with Kubernetes' defaults.
pub(super) fn probe(
    name: &str,
    written: Option<&Written>,
    container: &Container,
    remarks: &mut Remarks<'_>,
) -> Option<Probe> {
    let written = written?;
    let check = check(name, written, container, remarks)?;
    let seconds = |value: Option<i32>, default: u64| {
        Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
    };
    let count = |value: Option<i32>, default: u32| {
        value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
    };
    let at_least_one = Duration::from_secs(1);
    Some(Probe {
        check,
        initial_delay: seconds(written.initial_delay_seconds, 0),
        period: seconds(written.period_seconds, 10).max(at_least_one),
        timeout: seconds(written.timeout_seconds, 1).max(at_least_one),
        success_threshold: count(written.success_threshold, 1),
        failure_threshold: count(written.failure_threshold, 3),
    })
}

fn check(name: &str, written: &Written, container: &Container, remarks: &mut Remarks<'_>) -> Option<Check> {
    if let Some(exec) = &written.exec {
        return Some(Check::Exec(exec.command.clone().unwrap_or_default()));
    }
    if let Some(action) = &written.http_get {
        let port = port(name, &action.port, container, remarks)?;
        if action.scheme.as_deref() == Some("HTTPS") {
            remarks.info(
                "TU006",
                path!["spec", "template", "spec", "containers"],
                format!("{name} asks by HTTPS; here it only opens a connection"),
                "nothing to do, or use HTTP",
            );
            return Some(Check::Tcp { port });
        }
        return Some(Check::Http(get(action, port)));
    }
    if let Some(action) = &written.tcp_socket {
        return Some(Check::Tcp { port: port(name, &action.port, container, remarks)? });
    }
    let action = written.grpc.as_ref()?;
    remarks.info(
        "TU006",
        path!["spec", "template", "spec", "containers"],
        format!("{name} asks by gRPC; here it only opens a connection"),
        "nothing to do, or use HTTP",
    );
    Some(Check::Tcp { port: u16::try_from(action.port).ok()? })
}

fn get(action: &HTTPGetAction, port: u16) -> Get {
    let path = action.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let headers = action.http_headers.iter().flatten();
    Get { port, path, headers: headers.map(|one| (one.name.clone(), one.value.clone())).collect() }
}

/// A port by number, or by its name in the container.
fn port(name: &str, port: &IntOrString, container: &Container, remarks: &mut Remarks<'_>) -> Option<u16> {
    let found = match port {
        IntOrString::Int(number) => u16::try_from(*number).ok().filter(|number| *number > 0),
        IntOrString::String(text) => {
            let ports = container.ports.iter().flatten();
            let named = ports.clone().find(|port| port.name.as_deref() == Some(text));
            named.and_then(|port| u16::try_from(port.container_port).ok()).or_else(|| text.parse().ok())
        }
    };
    if found.is_none() {
        remarks.error(
            "TU004",
            path!["spec", "template", "spec", "containers"],
            format!("{name} asks at a port that container {} does not have", container.name),
            "name one of its ports, or give a number from 1 to 65535",
        );
    }
    found
}

/// The `preStop` hook.
pub(super) fn pre_stop(container: &Container, remarks: &mut Remarks<'_>) -> Option<Hook> {
    let hook: &LifecycleHandler = container.lifecycle.as_ref()?.pre_stop.as_ref()?;
    if let Some(exec) = &hook.exec {
        return Some(Hook::Exec(exec.command.clone().unwrap_or_default()));
    }
    if let Some(sleep) = &hook.sleep {
        return Some(Hook::Sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))));
    }
    let action = hook.http_get.as_ref()?;
    let port = port("preStop", &action.port, container, remarks)?;
    Some(Hook::Http(get(action, port)))
}

/// The ports that probes and hooks ask at.
pub(super) fn ports<'a>(checks: impl Iterator<Item = &'a Check>) -> Vec<u16> {
    let port = |check: &Check| match check {
        Check::Http(get) => Some(get.port),
        Check::Tcp { port } => Some(*port),
        Check::Exec(_) => None,
    };
    checks.filter_map(port).collect()
}
