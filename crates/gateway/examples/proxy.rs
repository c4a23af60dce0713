//! The gateway in front of fixed replicas, for benches beside other proxies:
//! `proxy --listen 127.0.0.1:8080 --backend 127.0.0.1:9000 --model m [--workers N]`.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_core::route::Limits;
use tidegate_core::time::Span;
use tidegate_gateway::{Config, Gateway, TargetConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let (mut listen, mut backends, mut model, mut workers) = (None, Vec::new(), "m".to_owned(), 0);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--listen" => listen = Some(value.parse::<SocketAddr>()?),
            "--backend" => backends.push(value.parse::<SocketAddr>()?),
            "--model" => model = value,
            "--workers" => workers = value.parse()?,
            _ => return Err(format!("unknown argument {arg}").into()),
        }
    }
    let config = Config { workers, ..Config::new(listen.ok_or("--listen is missing")?) };
    let gateway = Gateway::start(config)?;
    gateway.set_targets(vec![TargetConfig {
        name: model.as_str().into(),
        models: vec![model.clone()],
        limits: Limits {
            hold_count_max: 100_000,
            hold_bytes_max: 1 << 30,
            wait_no_replica: Span::from_secs(600),
            wait_busy: Span::from_secs(600),
            // A bench measures the proxy and not the queue.
            slots: 100_000,
            tenant_count_max: u32::MAX,
        },
        upstream_key: None,
        ttft: None,
    }]);
    for (i, backend) in backends.into_iter().enumerate() {
        gateway.endpoint_ready(&model, backend, Arc::from(format!("{model}-{i}")))?;
    }
    writeln!(std::io::stdout(), "listening on {}", gateway.addr())?;
    loop {
        std::thread::park();
    }
}
