//! Scenarios of a whole fleet: Markdown that runs.
//!
//! A ```` ```yaml ```` block is the manifest, a ```` ```json ```` block the world it runs in ([`World`]), and the table
//! says what is wanted:
//!
//! ```text
//! | from | until | what      | at least | at most |
//! |------|-------|-----------|----------|---------|
//! | 0s   | 5m    | asked for | 1        | 2       |
//! |      |       | in time   | 95 %     |         |
//! ```
//!
//! `asked for`, `ready`, `waiting` and `at engines` must lie between the two numbers all of that time, by the bins of
//! [`crate::fleet::Timeline`]. `in time`, `unfinished`, `changes`, `wasted starts`, `losses`, `GPU hours`,
//! `TTFT p95` (in seconds) and `most replicas` are of the whole run.

use serde::Deserialize;
use tidegate_core::time::Span;
use tidegate_manifest::{Severity, Source, load, lower};
use tidegate_report::chart::Chart;

use crate::fleet::{self, Bin, Fleet, Outcome, Setup};
use crate::plot;
use crate::policy::Choice;
use crate::profile::Profile;
use crate::trace::Synth;
use crate::trace::plan::time_s;

/// Why a scenario fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Failure {
    /// Line in the file, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// The world of a scenario; what is left out is as `tidegate simulate` has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct World {
    /// What is played: a shape as after `--trace synth:`.
    pub trace: String,
    /// The policy's name.
    pub policy: String,
    /// The engine's.
    pub profile: String,
    /// How long a start takes.
    pub start_s: f64,
    /// The objective: the first token within this time.
    pub slo_ttft_s: f64,
    /// Replicas ready at the beginning; the manifest's minimum unless said.
    pub initial: Option<u32>,
    /// Chance.
    pub seed: u64,
    /// Nodes and faults.
    pub fleet: Fleet,
}

impl Default for World {
    fn default() -> Self {
        World {
            trace: String::new(),
            policy: "live".to_owned(),
            profile: "l40s-llama-3.1-8b".to_owned(),
            start_s: 60.0,
            slo_ttft_s: 2.0,
            initial: None,
            seed: 1,
            fleet: Fleet::default(),
        }
    }
}

/// A scenario that ran.
#[derive(Clone, Debug)]
pub struct Played {
    /// Its heading.
    pub title: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Expectations that were held against it.
    pub checked: usize,
    /// Those that do not hold.
    pub failures: Vec<Failure>,
}

impl Played {
    /// The plot for the documentation: demand, and replicas with every change.
    #[must_use]
    pub fn chart(&self) -> Chart {
        plot::whole(&self.outcome, &self.title)
    }
}

/// Whether a text is a scenario of this kind.
#[must_use]
pub fn is_one(text: &str) -> bool {
    text.lines().any(|line| line.trim() == "```json")
}

/// Runs a scenario and holds its table against what came of it.
///
/// # Errors
/// What cannot be run: a manifest that is refused, a world with unknown settings, no table.
pub fn run(name: &str, text: &str) -> Result<Played, Failure> {
    let (manifest, _) = block(text, "yaml").ok_or_else(|| failure(1, "no manifest: a ```yaml block"))?;
    let (world, at) = block(text, "json").ok_or_else(|| failure(1, "no world: a ```json block"))?;
    let world: World = serde_json::from_str(&world).map_err(|error| failure(at, error.to_string()))?;
    let outcome = play(name, &manifest, &world).map_err(|message| failure(at, message))?;
    let title = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or(name).to_owned();
    let mut played = Played { title, outcome, checked: 0, failures: Vec::new() };
    for (line, cells) in rows(text) {
        played.checked += 1;
        if let Err(message) = check(&cells, &played.outcome) {
            played.failures.push(Failure { line, message });
        }
    }
    if played.checked == 0 { Err(failure(1, "the scenario expects nothing")) } else { Ok(played) }
}

fn failure(line: usize, message: impl Into<String>) -> Failure {
    Failure { line, message: message.into() }
}

fn play(name: &str, manifest: &str, world: &World) -> Result<Outcome, String> {
    let manifests = load(&[Source::new(name, manifest)]);
    let lowered = lower(&manifests);
    let mut findings = manifests.findings.iter().chain(&lowered.findings);
    if let Some(finding) = findings.find(|finding| finding.severity == Severity::Error) {
        return Err(format!("the manifest is refused (its line {}): {}", finding.line, finding.message));
    }
    let target = lowered.targets.first().ok_or("the manifest scales nothing")?;
    let text = |error: &dyn std::error::Error| error.to_string();
    let mut setup = Setup::new(Profile::named(&world.profile).map_err(|error| text(&error))?);
    setup.max = target.spec.max;
    setup.initial = world.initial.unwrap_or(target.spec.min);
    setup.start = setup.start.scaled_to(world.start_s);
    setup.slo_ttft = Span::try_from_secs_f64(world.slo_ttft_s).ok_or("slo_ttft_s is out of range")?;
    setup.seed = world.seed;
    setup.fleet = world.fleet.clone();
    let choice = Choice::parse(&world.policy).map_err(|error| text(&error))?;
    let mut policy = choice.policy(&setup, Some((target, &manifests))).map_err(|error| text(&error))?;
    let requests = Synth::parse(&world.trace, world.seed).map_err(|error| text(&error))?;
    let outcome = fleet::run(&setup, requests, &mut *policy, &mut |_| {}).map_err(|error| text(&error))?;
    if outcome.little.holds() { Ok(outcome) } else { Err("the run broke Little's law".to_owned()) }
}

/// The first block of a language, and the line it begins at.
fn block(text: &str, language: &str) -> Option<(String, usize)> {
    let fence = format!("```{language}");
    let start = text.lines().position(|line| line.trim() == fence)?;
    let inside = text.lines().skip(start + 1).take_while(|line| line.trim() != "```");
    Some((inside.map(|line| format!("{line}\n")).collect(), start + 1))
}

/// Cells of the rows of each table whose first column is `from`, with their lines.
fn rows(text: &str) -> Vec<(usize, Vec<String>)> {
    let (mut rows, mut inside) = (Vec::new(), false);
    for (line, number) in text.lines().zip(1..) {
        let Some(inner) = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            inside = false;
            continue;
        };
        let cells: Vec<String> = inner.split('|').map(|cell| cell.trim().to_owned()).collect();
        let first = cells.first().map_or("", String::as_str);
        if first == "from" {
            inside = true;
        } else if inside && !first.starts_with("--") {
            rows.push((number, cells));
        }
    }
    rows
}

fn check(cells: &[String], outcome: &Outcome) -> Result<(), String> {
    let [from, until, what, least, most] = cells else {
        return Err("a row is | from | until | what | at least | at most |".to_owned());
    };
    if least.is_empty() && most.is_empty() {
        return Err(format!("nothing is wanted of {what}"));
    }
    let bound = |text: &str, open: f64| {
        if text.is_empty() { Ok(open) } else { number(text).ok_or(format!("\"{text}\" is no number")) }
    };
    let (least, most) = (bound(least, f64::NEG_INFINITY)?, bound(most, f64::INFINITY)?);
    let held = |value: f64, when: &str| {
        if (least..=most).contains(&value) { Ok(()) } else { Err(format!("{what} is {value}{when}")) }
    };
    if from.is_empty() && until.is_empty() {
        return held(of_run(what, outcome)?, "");
    }
    let time = |text: &str| time_s(text).ok_or(format!("\"{text}\" is no time"));
    let (from_s, until_s) = (time(from)?, time(until)?);
    let level = level(what)?;
    let bin_s = outcome.timeline.bin_s as f64;
    let mut seen = 0;
    for (bin, at_s) in outcome.timeline.bins.iter().zip((0..).map(|place| f64::from(place) * bin_s)) {
        if at_s >= from_s && at_s + bin_s <= until_s {
            seen += 1;
            held(f64::from(level(bin)), &format!(" at {at_s} s"))?;
        }
    }
    if seen == 0 { Err("the run is over before that".to_owned()) } else { Ok(()) }
}

fn number(text: &str) -> Option<f64> {
    match text.strip_suffix('%') {
        Some(share) => share.trim().parse().ok().map(|share: f64| share / 100.0),
        None => text.parse().ok(),
    }
}

fn level(what: &str) -> Result<fn(&Bin) -> u32, String> {
    Ok(match what {
        "asked for" => |bin| bin.wanted,
        "ready" => |bin| bin.ready,
        "waiting" => |bin| bin.waiting,
        "at engines" => |bin| bin.in_flight,
        _ => return Err(format!("\"{what}\" is nothing that has a value at each time")),
    })
}

fn of_run(what: &str, outcome: &Outcome) -> Result<f64, String> {
    Ok(match what {
        "in time" => outcome.slo_attainment,
        "unfinished" => outcome.unfinished as f64,
        "changes" => outcome.scale_actions as f64,
        "wasted starts" => outcome.starts_wasted as f64,
        "losses" => outcome.losses as f64,
        "GPU hours" => outcome.gpu_hours,
        "TTFT p95" => outcome.ttft_s.p95,
        "most replicas" => f64::from(outcome.replicas_max),
        _ => return Err(format!("\"{what}\" is nothing that a whole run has")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rows: &str) -> String {
        format!(
            "# Two requests a second\n\n```yaml\napiVersion: keda.sh/v1alpha1\nkind: ScaledObject\n\
             metadata: {{name: chat}}\nspec:\n  scaleTargetRef: {{name: chat}}\n  minReplicaCount: 1\n  triggers:\n\
             \x20 - {{type: cron, metadata: {{timezone: UTC, start: 0 0 * * *, end: 59 23 * * *, desiredReplicas: '2'}}}}\n\
             ```\n\n```json\n{{\"trace\": \"steady,rate=2,for=2m,prompt=100,output=20\", \"start_s\": 5}}\n```\n\n\
             | from | until | what | at least | at most |\n|---|---|---|---|---|\n{rows}"
        )
    }

    #[test]
    fn what_is_wanted_is_held_against_the_run() {
        let text = text("| 10s | 1m | ready | 2 | 2 |\n| | | in time | 90 % | |\n| | | unfinished | | 0 |\n");
        assert!(is_one(&text));
        let played = run("test.md", &text).unwrap();
        assert_eq!((played.checked, played.failures.as_slice()), (3, &[][..]));
        assert_eq!(played.title, "Two requests a second");
        assert!(played.chart().svg().contains("</svg>"));
    }

    #[test]
    fn what_does_not_hold_is_told_with_its_line() {
        let text = text(
            "| 10s | 1m | ready | 3 | |\n| 1h | 2h | ready | 1 | |\n| | | speed | 1 | |\n| | | in time | | |\n",
        );
        let played = run("test.md", &text).unwrap();
        let said: Vec<String> = played.failures.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(said[0].starts_with("line 20: ready is 2 at 10 s"), "{said:?}");
        assert!(said[1].contains("over before"), "{said:?}");
        assert!(said[2].contains("speed"), "{said:?}");
    }

    #[test]
    fn a_scenario_without_a_world_or_a_table_is_refused() {
        assert!(run("test.md", "# Nothing\n").unwrap_err().message.contains("yaml"));
        assert!(run("test.md", &text("")).unwrap_err().message.contains("expects nothing"));
        let unknown = text("| | | in time | 0 | |\n").replace("start_s", "starts_s");
        assert!(run("test.md", &unknown).unwrap_err().message.contains("starts_s"));
    }
}
