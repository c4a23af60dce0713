//! What policies cost on traces, beside what nobody can beat: attainment, GPU hours, changes of the count, wasted
//! starts, the score.
//!
//! ```sh
//! cargo bench --bench slo -- --trace azure_conv.csv --profile h100-llama-3.1-8b --start-s 60,180,300
//! cargo bench --bench slo -- --trace m-small/ --profile h100-llama-3.1-70b-tp4 --from-s 345600 --for-s 172800 \
//!     --tune-from-s 0 --tune-for-s 21600 --tokens 40 --tokens-max 16384
//! ```
//!
//! The trace is scaled so that the best fixed count is `--fleet` (16), and the factor is printed; `--scale-from` says
//! where to begin the search, `--scale` gives it.
//! `--tokens` multiplies every length: a trace thinned to a fortieth with forty times the tokens is as much work in a
//! fortieth of the events. KEDA runs with the setting that `tidegate tune`'s search finds best on `--tune-from-s`,
//! `--tune-for-s` (the same stretch where these are not given), once for each start. Without arguments: the demo trace.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod arguments;
mod source;

use std::time::Instant;

use arguments::Arguments;
use source::Source;
use tidegate_core::time::Span;
use tidegate_manifest::{Manifests, Target, load, lower};
use tidegate_sim::Profile;
use tidegate_sim::cold_start::ColdStart;
use tidegate_sim::fleet::{self, Outcome, Setup};
use tidegate_sim::policy::{Choice, Fixed, Keda, Policy};
use tidegate_sim::score::{self, Bounds};
use tidegate_sim::tune::{Setting, Tried, best};

pub(crate) type Failure = Box<dyn std::error::Error>;

/// The share of requests that is to be in time.
const ATTAINMENT: f64 = 0.95;
/// How often the clairvoyant oracles may change their count; the best of these is theirs.
const WINDOWS: [Span; 3] = [Span::from_secs(10), Span::from_secs(60), Span::from_secs(300)];
/// Halvings of the factor: 2^-5 of an octave.
const HALVINGS: u32 = 5;

/// Searches around the best setting: each moves by a quarter of an octave, so two octaves beyond the grid.
const ROUNDS_MAX: u32 = 8;

const MANIFEST: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat}
spec:
  scaleTargetRef: {name: chat}
  minReplicaCount: 1
  maxReplicaCount: 64
  triggers:
  - type: prometheus
    metadata:
      serverAddress: http://prometheus:9090
      query: sum(vllm:num_requests_running) + sum(vllm:num_requests_waiting)
      threshold: '32'
";

fn main() -> Result<(), Failure> {
    let arguments = Arguments::read(std::env::args().skip(1))?;
    let mut setup = Setup::new(Profile::named(&arguments.profile)?);
    setup.slo_ttft = Span::try_from_secs_f64(arguments.slo_ttft_s).ok_or("the objective is out of range")?;
    setup.max = 64;
    let began = Instant::now();
    let mut source = Source::of(&arguments, arguments.stretch());
    source.factor = match arguments.scale {
        Some(factor) => factor,
        None => factor_for(&setup, &source, arguments.fleet, arguments.scale_from)?,
    };
    println!(
        "{} × {:.4} (tokens × {}), {}, objective {} for {} %",
        arguments.trace_name(),
        source.factor,
        arguments.tokens,
        arguments.profile,
        setup.slo_ttft,
        ATTAINMENT * 100.0
    );
    let starts: Vec<ColdStart> = arguments.starts_s.iter().map(|s| setup.start.scaled_to(*s)).collect();
    let open = || source.open(1);
    let bounds = score::bounds_at(&setup, &open, ATTAINMENT, &WINDOWS, &starts, &mut |_| {})?;
    println!("start  policy              in time  (least)  GPU hours  changes  wasted   score    / O3");
    for ((start_s, start), bounds) in arguments.starts_s.iter().zip(&starts).zip(&bounds) {
        let fixed = bounds.fixed.replicas_max.unwrap_or(1);
        print_bounds(*start_s, bounds);
        // As many as the fixed count at first, so that no policy pays for the beginning.
        let setup = Setup { start: *start, initial: fixed.min(setup.max), ..setup.clone() };
        compare(&arguments, &setup, &source, *start_s, bounds)?;
    }
    println!("{:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn print_bounds(start_s: f64, bounds: &Bounds) {
    let all = [("o1", bounds.o1), ("o2", bounds.o2), ("o3", bounds.o3), ("best fixed", bounds.fixed)];
    for (name, bound) in all {
        let name = match (name, bound.replicas_max) {
            ("best fixed", Some(count)) => format!("best fixed:{count}"),
            _ => name.to_owned(),
        };
        let share = bound.slo_attainment.map_or(String::new(), |share| format!("{:.2} %", share * 100.0));
        let (ratio, score) = (bound.gpu_hours / bounds.o3.gpu_hours, bounds.score(bound.gpu_hours));
        println!(
            "{start_s:>5}  {name:<18}  {share:>7}           {:>9.2}                   {:>5.3}  {ratio:>5.3}",
            bound.gpu_hours,
            score.unwrap_or(f64::NAN)
        );
    }
}

/// Plays every policy with every seed, and prints a row of each.
fn compare(
    arguments: &Arguments,
    setup: &Setup,
    source: &Source,
    start_s: f64,
    bounds: &Bounds,
) -> Result<(), Failure> {
    let (manifests, target) = rules()?;
    for choice in &arguments.policies {
        let mut name = choice.to_string();
        let tuned = if *choice == Choice::Keda {
            let setting = tuned(arguments, setup, source, &manifests, &target)?;
            name = format!("keda {:.0}/{}", 32.0 * setting.threshold, setting.down_window);
            setting.applied(&target)
        } else {
            target.clone()
        };
        let mut outcomes = Vec::new();
        for seed in 1..=arguments.seeds {
            let setup = Setup { seed, ..setup.clone() };
            let mut policy = match choice {
                // The work alone: the trigger that KEDA needs is not its to read.
                Choice::Slo => choice.policy(&setup, None)?,
                _ => choice.policy(&setup, Some((&tuned, &manifests)))?,
            };
            outcomes.push(play(&setup, source, &mut *policy)?);
        }
        row(&name, start_s, &outcomes, bounds);
    }
    Ok(())
}

fn row(name: &str, start_s: f64, outcomes: &[Outcome], bounds: &Bounds) {
    let mean = |of: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>() / outcomes.len() as f64;
    let least = outcomes.iter().map(|outcome| outcome.slo_attainment).fold(1.0, f64::min);
    let hours = mean(&|outcome| outcome.gpu_hours);
    println!(
        "{start_s:>5}  {name:<18}  {:>5.2} %  {:>5.2} %  {hours:>9.2}  {:>7.0}  {:>6.0}   {:>5.3}  {:>5.3}",
        mean(&|outcome| outcome.slo_attainment) * 100.0,
        least * 100.0,
        mean(&|outcome| outcome.scale_actions as f64),
        mean(&|outcome| outcome.starts_wasted as f64),
        bounds.score(hours).unwrap_or(f64::NAN),
        hours / bounds.o3.gpu_hours
    );
}

fn rules() -> Result<(Manifests, Target), Failure> {
    let manifests = load(&[tidegate_manifest::Source::new("chat.yaml", MANIFEST)]);
    let target = lower(&manifests).targets.into_iter().next().ok_or("the manifest has no target")?;
    Ok((manifests, target))
}

fn play(setup: &Setup, source: &Source, policy: &mut dyn Policy) -> Result<Outcome, Failure> {
    let outcome = fleet::run(setup, source.open(setup.seed)?, policy, &mut |_| {})?;
    assert!(outcome.little.holds(), "Little's law: {:?}", outcome.little);
    Ok(outcome)
}

/// The setting that `tidegate tune` would choose: its grid, and once around the best.
fn tuned(
    arguments: &Arguments,
    setup: &Setup,
    source: &Source,
    manifests: &Manifests,
    target: &Target,
) -> Result<Setting, Failure> {
    let source = source.with_stretch(arguments.tune_stretch());
    let try_all = |settings: Vec<Setting>| -> Result<Vec<Tried>, Failure> {
        let tried = settings.into_iter().map(|setting| {
            let mut policy = Keda::stack(&setting.applied(target), manifests, 0)?;
            let outcome = play(setup, &source, &mut policy)?;
            Ok(Tried { setting, slo_attainment: outcome.slo_attainment, gpu_hours: outcome.gpu_hours })
        });
        tried.collect()
    };
    let mut tried = try_all(Setting::grid())?;
    let mut found = best(&tried, ATTAINMENT).ok_or("no setting was tried")?.setting;
    // The best may lie beyond the grid: on from there, until nothing around it is better.
    for _ in 0..ROUNDS_MAX {
        tried.extend(try_all(found.around())?);
        let next = best(&tried, ATTAINMENT).map_or(found, |tried| tried.setting);
        if next == found {
            break;
        }
        found = next;
    }
    Ok(found)
}

/// The greatest factor at which so many fixed replicas hold the objective: then one less does not. Looked for from `from` on,
/// for a trace of a thousand requests a second is not played whole for nothing.
fn factor_for(setup: &Setup, source: &Source, replicas: u32, from: f64) -> Result<f64, Failure> {
    let holds = |factor: f64| -> Result<bool, Failure> {
        let source = source.with_factor(factor);
        let setup = Setup { initial: replicas, ..setup.clone() };
        Ok(play(&setup, &source, &mut Fixed::new(replicas))?.slo_attainment >= ATTAINMENT)
    };
    let (mut low, mut high) = (from, from);
    if holds(from)? {
        while holds(high * 2.0)? {
            high *= 2.0;
        }
        (low, high) = (high, high * 2.0);
    } else {
        while !holds(low / 2.0)? {
            low /= 2.0;
        }
        (low, high) = (low / 2.0, low);
    }
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if holds(middle)? { low = middle } else { high = middle }
    }
    Ok(low)
}
