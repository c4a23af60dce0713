//! From the first byte of a request at zero to the count that is written: gateway, its word to the operator, decision,
//! write.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Outcome;
use super::program::{Program, kubeconfig, pause, spread};
use super::world::World;

/// Objects that are woken, each once.
const WAKES: u32 = 40;

/// The bar, in milliseconds.
const BAR_MS: f64 = 50.0;

pub(super) fn measure(program: &Path) -> Outcome<()> {
    let mut world = World::start()?;
    world.tell(&format!("sleep {WAKES}"))?;
    let directory = tempfile::tempdir()?;
    let config = kubeconfig(&world.server, directory.path())?;
    let listening = ["--demand-addr", "127.0.0.1:0", "--demand-host", "127.0.0.1"];
    let operator = Program::operator(program, &config, &listening)?;
    operator.decided(WAKES, 60)?;
    let authority = world.tell("authority")?["data"]["ca.crt"].as_str().ok_or("no authority")?.to_owned();
    let (ca, token) = (directory.path().join("ca.crt"), directory.path().join("token"));
    fs::write(&ca, authority)?;
    fs::write(&token, "bench")?;
    let mut command = Command::new(program);
    command.args(["gateway", "--gateway-addr", "127.0.0.1:0", "--operator", &operator.addr]);
    command.arg("--operator-ca").arg(&ca).arg("--operator-token").arg(&token);
    command.arg("--kubeconfig").arg(&config);
    let gateway = Program::start(command, true)?;
    gateway.until("tidegate_gateway_operators_told", 1.0, 60)?;
    operator.until("tidegate_gateways", 1.0, 60)?;
    let mut waits = Vec::new();
    let mut held = Vec::new();
    for number in 0..WAKES {
        // At another moment between two ticks each time.
        pause(300 + 137 * u64::from(number) % 1000);
        let mut client = TcpStream::connect(&gateway.addr)?;
        client.set_nodelay(true)?;
        world.ask(&format!("woken {number}"))?;
        // The world is at its wait before the request comes.
        pause(20);
        let body = format!(
            r#"{{"model":"model-{number:05}","max_tokens":1,"messages":[{{"role":"user","content":"up"}}]}}"#
        );
        let sent = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        write!(
            client,
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            gateway.addr,
            body.len()
        )?;
        // It is held: nobody will answer it here.
        held.push(client);
        let woken = world.read()?;
        waits.push((woken["unix_s"].as_f64().ok_or_else(|| woken.to_string())? - sent) * 1000.0);
    }
    let (median, most) = spread(waits);
    let verdict = if median <= BAR_MS { "held" } else { "missed" };
    println!(
        "first byte of a request at zero → spec.replicas written, {WAKES} requests at any moment between two ticks: \
         median {median:.1} ms, most {most:.1} ms; the bar of {BAR_MS:.0} ms is {verdict}"
    );
    Ok(())
}
