//! A machine with one replica of a shell script, for tests that kill a whole Tidegate:
//! `machine STATE_DIR SUPERVISOR SCRIPT FILE` prints the replica's process number once FILE is there, and
//! stays.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tidegate_local::machine::{Config, Machine};
use tidegate_local::status::State;
use tidegate_local::traffic::NoTraffic;
use tidegate_local::unit::{Check, Probe, Template, Unit};

fn unit(script: &str, file: &str) -> Unit {
    Unit {
        target: "default/job".into(),
        workload: "job".to_owned(),
        models: Vec::new(),
        scaled: false,
        replicas: 1,
        min_residence: Duration::ZERO,
        preemptible: true,
        gpu_price_per_hour: None,
        hold_timeout: None,
        hold_max: None,
        engine: None,
        upstream_key: None,
        template: Arc::new(Template {
            namespace: "default".to_owned(),
            container: "job".to_owned(),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: Vec::new(),
            working_dir: None,
            ports: Vec::new(),
            serving: 8000,
            port_flag: None,
            host_flag: None,
            startup: None,
            readiness: Some(Probe::new(Check::Exec(["test", "-e", file].map(str::to_owned).to_vec()))),
            liveness: None,
            pre_stop: None,
            termination_grace: Duration::from_millis(300),
            gpus: 0,
            memory_limit_bytes: None,
            labels: [].into(),
            annotations: [].into(),
        }),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [state_dir, supervisor, script, file] = &arguments[..] else { return Err("four arguments".into()) };
    let mut config = Config::new(state_dir.into(), Arc::new(NoTraffic));
    config.supervisor = vec![supervisor.clone()];
    let (machine, mut status) = Machine::start(config).await?;
    machine.apply(vec![unit(script, file)]);
    let ready = |status: &Arc<tidegate_local::Status>| {
        let mut replicas = status.targets.iter().flat_map(|target| &target.replicas);
        replicas.any(|replica| replica.state == State::Ready)
    };
    let pid = status.wait_for(ready).await?.targets[0].replicas[0].pid.unwrap_or_default();
    writeln!(std::io::stdout(), "{pid}")?;
    std::future::pending::<()>().await;
    drop(machine);
    Ok(())
}
