//! Ten thousand objects on one operator.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Outcome;
use super::program::{Program, kubeconfig, pause};
use super::world::World;

/// The bars: seconds to the first decision of all, cores, MiB, and one tick in a hundred.
const BAR_START_S: f64 = 20.0;
const BAR_CORES: f64 = 1.0;
const BAR_MIB: f64 = 500.0;
const BAR_LATE: f64 = 0.01;

pub(super) fn measure(program: &Path, objects: u32, seconds: u32) -> Outcome<()> {
    // A hundred questions that many ask, as behind one Prometheus; then each its own.
    for queries in [100, objects] {
        one(program, objects, queries, seconds)?;
    }
    Ok(())
}

fn one(program: &Path, objects: u32, queries: u32, seconds: u32) -> Outcome<()> {
    let mut world = World::start()?;
    world.tell(&format!("fill {objects} {queries}"))?;
    let begin = Instant::now();
    let directory = tempfile::tempdir()?;
    let operator = Program::operator(program, &kubeconfig(&world.server, directory.path())?, &[])?;
    operator.decided(objects, 180)?;
    let start_s = begin.elapsed().as_secs_f64();
    // Each object is claimed and gets its status; then nothing is left to write.
    let mut written = world.tell("told")?["written"].clone();
    loop {
        pause(3000);
        let now = world.tell("told")?["written"].clone();
        if now == written || begin.elapsed() > Duration::from_secs(300) {
            break;
        }
        written = now;
    }
    let quiet_s = begin.elapsed().as_secs_f64();
    // The memory is written half a minute after the first time; beyond that nothing is new.
    while operator.metric("tidegate_writes_waiting")? > 0.0 || begin.elapsed() < Duration::from_secs(75) {
        pause(500);
    }
    let start_cpu_s = operator.cpu_s()?;
    let (cpu, others, ticks, late) = (
        operator.cpu_s()?,
        world.cpu_s()?,
        operator.metric("tidegate_ticks")?,
        operator.metric("tidegate_ticks_late")?,
    );
    let before = world.tell("told")?;
    let looked = Instant::now();
    while looked.elapsed() < Duration::from_secs(u64::from(seconds)) {
        pause(1000);
    }
    let elapsed = looked.elapsed().as_secs_f64();
    let cores = (operator.cpu_s()? - cpu) / elapsed;
    let others = (world.cpu_s()? - others) / elapsed;
    let after = world.tell("told")?;
    let ticks = operator.metric("tidegate_ticks")? - ticks;
    let late = operator.metric("tidegate_ticks_late")? - late;
    let (now_mib, most_mib) = operator.memory_mib()?;
    let writes = after["written"].as_u64().unwrap_or(0) - before["written"].as_u64().unwrap_or(0);
    let held = |holds: bool| if holds { "held" } else { "missed" };
    println!("{objects} ScaledObjects that ask {queries} questions each second:");
    println!(
        "  start → all decided {start_s:.1} s (bar {BAR_START_S:.0} s {}), all statuses written {quiet_s:.0} s",
        held(start_s <= BAR_START_S)
    );
    println!(
        "  {cores:.2} cores (bar {BAR_CORES:.0} {}), {now_mib:.0} MiB, at most {most_mib:.0} (bar {BAR_MIB:.0} {})",
        held(cores <= BAR_CORES),
        held(most_mib <= BAR_MIB)
    );
    println!("  (until then it took {start_cpu_s:.0} s of CPU; the stand-ins take {others:.2} cores)");
    println!(
        "  {ticks:.0} ticks in {elapsed:.0} s, {late:.0} later than 1 s (bar 1 % {}), {writes} writes but for the lease \
         (bar 0 {})",
        held(late <= ticks * BAR_LATE && ticks >= elapsed * 0.99 - 1.0),
        held(writes == 0)
    );
    Ok(())
}
