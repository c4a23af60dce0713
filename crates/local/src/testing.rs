//! Builders for the tests of this crate.

use std::time::Duration;

use crate::unit::{Port, Template};

/// A template with a command, one port and no probes.
pub(crate) fn template(command: &[&str]) -> Template {
    Template {
        namespace: "inference".to_owned(),
        container: "server".to_owned(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        env: Vec::new(),
        working_dir: None,
        ports: vec![Port { name: Some("http".to_owned()), number: 8000 }],
        serving: 8000,
        port_flag: None,
        host_flag: None,
        startup: None,
        readiness: None,
        liveness: None,
        pre_stop: None,
        termination_grace: Duration::from_secs(10),
        gpus: 0,
        memory_limit_bytes: None,
        labels: [].into(),
        annotations: [].into(),
    }
}
