//! A gateway with one target `m`, and its demand to wait for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::route::{Demand, EndpointId, Limits};
use tidegate_core::time::Span;
use tidegate_gateway::{Config, Gateway, TargetConfig, TargetView};
use tokio::sync::watch;

use crate::engine::Engine;

pub(crate) struct Setup {
    pub(crate) gateway: Gateway,
    demand: watch::Receiver<(Demand, Vec<Demand>)>,
}

pub(crate) fn limits() -> Limits {
    Limits {
        hold_count_max: 1000,
        hold_bytes_max: 64 << 20,
        wait_no_replica: Span::from_secs(60),
        wait_busy: Span::from_secs(60),
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
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect("demand never came").unwrap();
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
