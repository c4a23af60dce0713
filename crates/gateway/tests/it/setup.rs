//! A gateway with one target `m`, and its demand to wait for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::route::{Demand, EndpointId, Limits};
use tidegate_core::time::Span;
use tidegate_gateway::{Config, Gateway, TargetConfig, TargetView, Times};
use tokio::sync::watch;

use crate::engine::Engine;

pub(crate) struct Setup {
    pub(crate) gateway: Gateway,
    demand: watch::Receiver<(Demand, Vec<Demand>)>,
}

/// Longer than anything here takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Limits that no machine is slow enough to meet: a test of one of them sets that one.
fn patient() -> Times {
    let long = 5 * PATIENCE;
    Times {
        header: long,
        idle: long,
        body_idle: long,
        connect: long,
        first_byte: long,
        chunk_idle: long,
        client_stall: long,
        grace: long,
        linger: long,
        linger_quiet: long,
        ..Times::default()
    }
}

pub(crate) fn limits() -> Limits {
    Limits {
        hold_count_max: 1000,
        hold_bytes_max: 64 << 20,
        wait_no_replica: Span::from_secs(600),
        wait_busy: Span::from_secs(600),
        slots: 64,
        tenant_count_max: 1000,
    }
}

pub(crate) fn target(limits: Limits) -> TargetConfig {
    TargetConfig {
        name: "m".into(),
        models: vec!["m".into(), "m-alias".into()],
        limits,
        upstream_key: None,
        ttft: None,
    }
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::with(|_| {}, limits())
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config), limits: Limits) -> Self {
        let (tell, demand) = watch::channel((Demand::default(), Vec::new()));
        let mut config = Config::new("127.0.0.1:0".parse().unwrap());
        config.workers = 2;
        config.times = patient();
        config.on_demand = Arc::new(move |name, demand| {
            assert_eq!(name, "m");
            tell.send_modify(|(last, all)| {
                *last = demand;
                all.push(demand);
            });
        });
        change(&mut config);
        let gateway = Gateway::start(config).unwrap();
        gateway.set_targets(vec![target(limits)]);
        Setup { gateway, demand }
    }

    pub(crate) async fn before(engines: &[&Engine]) -> Self {
        let setup = Self::new();
        for engine in engines {
            setup.ready(engine);
        }
        setup
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.gateway.addr()
    }

    pub(crate) fn ready(&self, engine: &Engine) -> EndpointId {
        self.gateway.endpoint_ready("m", engine.addr, format!("m-{}", engine.addr.port()).into()).unwrap()
    }

    /// Waits until the machine's demand is so.
    pub(crate) async fn demand(&self, is: impl Fn(&Demand) -> bool) {
        let mut demand = self.demand.clone();
        let reached = demand.wait_for(|(last, _)| is(last));
        tokio::time::timeout(PATIENCE, reached).await.expect("demand never came").unwrap();
    }

    /// Waits until it is told, or was, that demand is so: it may be over before anybody looks.
    pub(crate) async fn demand_once(&self, is: impl Fn(&Demand) -> bool) {
        let mut demand = self.demand.clone();
        let reached = demand.wait_for(|(_, all)| all.iter().any(&is));
        tokio::time::timeout(PATIENCE, reached).await.expect("demand never came").unwrap();
    }

    /// Every demand told so far.
    pub(crate) fn told(&self) -> Vec<Demand> {
        self.demand.borrow().1.clone()
    }

    pub(crate) fn view(&self) -> TargetView {
        self.gateway.view().remove(0)
    }

    /// The value of a line of the metrics.
    pub(crate) fn metric(&self, line: &str) -> f64 {
        let mut text = String::new();
        self.gateway.write_metrics(&mut text);
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        found.map_or(0.0, |v| v.parse().unwrap())
    }
}
