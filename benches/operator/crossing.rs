//! From a value that crosses its threshold to the count that is written.

use std::path::Path;

use super::Outcome;
use super::program::{Program, kubeconfig, pause, spread};
use super::world::World;

/// Objects that cross, each once: at most four pods are added in 15 s, so that a second time would wait for that.
const CROSSINGS: u32 = 40;

/// The bar, in milliseconds: a tick of a second, and 200 ms for asking and writing.
const BAR_MS: f64 = 1200.0;

pub(super) fn measure(program: &Path) -> Outcome<()> {
    let mut world = World::start()?;
    world.tell(&format!("fill {CROSSINGS} {CROSSINGS}"))?;
    let directory = tempfile::tempdir()?;
    let operator = Program::operator(program, &kubeconfig(&world.server, directory.path())?, &[])?;
    operator.decided(CROSSINGS, 60)?;
    let mut waits = Vec::new();
    for number in 0..CROSSINGS {
        // At another moment between two ticks each time.
        pause(137 * u64::from(number) % 1000);
        let crossed = world.tell(&format!("cross {number}"))?;
        waits.push(crossed["ms"].as_f64().ok_or_else(|| crossed.to_string())?);
    }
    let (median, most) = spread(waits);
    let verdict = if most <= BAR_MS { "held" } else { "missed" };
    println!(
        "a value crosses its threshold → spec.replicas written, {CROSSINGS} crossings at any moment between two \
         ticks: median {median:.0} ms, most {most:.0} ms; the bar of {BAR_MS:.0} ms is {verdict}"
    );
    Ok(())
}
