//! A machine whose clock goes wrong while its operator runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::json;
use tidegate_core::time::Span;
use tidegate_signals::Clock;

use super::rig::{Operator, Prometheus, Setup, decisions, deployment, scaled_object, until};
use super::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_wrong_is_found_within_a_minute_of_it_and_set_right() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(3.0).await);
    server.put("deployments", deployment("llama", 1));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({})));
    let (ahead, unix) = (Arc::new(AtomicI64::new(0)), Clock::unix());
    let shown = Arc::clone(&ahead);
    let clock = Clock::new(move || unix.now() + Span::from_secs(shown.load(Ordering::SeqCst)));
    let setup = Setup { clock: Some(clock), ..Setup::default() };
    let operator = Operator::at(server.addr, "operator", setup).await;
    until("it leads", || operator.told.leads()).await;
    decisions(&operator, 2).await;
    ahead.store(100, Ordering::SeqCst);
    until("it is found", || operator.told.says("s ahead of the API server's clock: it goes slower")).await;
    decisions(&operator, 3).await;
    prometheus.set(Some(8.0));
    until("it goes on", || server.replicas("llama") == 2).await;
    operator.stop().await;
}
