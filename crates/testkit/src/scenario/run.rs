//! Running a scenario and, if asked, writing down what it gave.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tidegate_decide::{Decided, Session};
use tidegate_manifest::{Severity, Source, load, lower};

use super::Failure;
use super::table::{Part, Timeline, parts, seconds, ticks};

/// Columns of what policy `slo` is told: an object of its own in an observation.
const WORK: &str = "work.";

const OWN_COLUMNS: &[&str] = &["spec", "ready", "starting", "status"];

/// What a scenario went through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Ticks decided.
    pub ticks: usize,
    /// Expectations that held.
    pub expectations: usize,
    /// Rules that were seen, with how often.
    pub rules: BTreeMap<&'static str, usize>,
}

/// Runs every timeline of a scenario.
///
/// # Errors
/// Everything that does not hold, or the first thing that cannot be run.
pub fn check(name: &str, text: &str) -> Result<Outcome, Vec<Failure>> {
    let mut outcome = Outcome::default();
    let mut failures = Vec::new();
    let mut session = None;
    for part in parts(text) {
        match part {
            Part::Manifest(yaml) => session = Some(open(name, &yaml).map_err(|failure| vec![failure])?),
            Part::Timeline(timeline) => {
                let Some(session) = &mut session else {
                    let line = timeline.rows.first().map_or(1, |row| row.0);
                    return Err(vec![Failure { line, message: "a timeline before any manifest".into() }]);
                };
                run(session, &timeline, &mut outcome, &mut failures).map_err(|failure| vec![failure])?;
            }
        }
    }
    if outcome.expectations == 0 && failures.is_empty() {
        failures.push(Failure { line: 1, message: "the scenario expects nothing".into() });
    }
    if failures.is_empty() { Ok(outcome) } else { Err(failures) }
}

fn open(name: &str, yaml: &str) -> Result<Session, Failure> {
    let manifests = load(&[Source::new(name, yaml)]);
    let lowered = lower(&manifests);
    let mut errors = manifests.findings.iter().chain(&lowered.findings);
    if let Some(finding) = errors.find(|finding| finding.severity == Severity::Error) {
        let line = finding.line as usize;
        let message =
            format!("the manifest is refused (its line {line}): {}; {}", finding.message, finding.help);
        return Err(Failure { line, message });
    }
    Session::new(lowered.targets).map_err(|error| Failure { line: 1, message: error.to_string() })
}

fn run(
    session: &mut Session,
    timeline: &Timeline,
    outcome: &mut Outcome,
    failures: &mut Vec<Failure>,
) -> Result<(), Failure> {
    let mut standing: BTreeMap<&str, Value> = BTreeMap::new();
    for (line, cells) in &timeline.rows {
        if cells.len() != timeline.columns.len() {
            let message = format!("{} cells under {} columns", cells.len(), timeline.columns.len());
            return Err(Failure { line: *line, message });
        }
        let row: Vec<(&str, &str)> =
            timeline.columns.iter().map(String::as_str).zip(cells.iter().map(String::as_str)).collect();
        for t in ticks(&cells[0], *line)? {
            let observation = observation(t, &row, &mut standing, *line)?;
            let decided = session
                .line(&observation.to_string(), None)
                .map_err(|error| Failure { line: *line, message: error.to_string() })?;
            outcome.ticks += 1;
            *outcome.rules.entry(decided.decision.rule.name()).or_default() += 1;
            for step in &decided.decision.steps {
                *outcome.rules.entry(step.rule.name()).or_default() += 1;
            }
            expect(t, &row, &decided, *line, outcome, failures);
        }
    }
    Ok(())
}

fn observation<'a>(
    t: f64,
    row: &[(&'a str, &str)],
    standing: &mut BTreeMap<&'a str, Value>,
    line: usize,
) -> Result<Value, Failure> {
    let fail = |message: String| Failure { line, message };
    let mut replicas = Map::new();
    let mut observation = json!({ "t": t });
    for &(column, cell) in row.iter().skip(1) {
        if column.starts_with('→') {
            continue;
        }
        if OWN_COLUMNS.contains(&column) {
            if !cell.is_empty() {
                let count =
                    cell.parse::<u32>().map_err(|_| fail(format!("{column}: {cell:?} is no count")))?;
                replicas.insert(column.to_owned(), count.into());
            }
        } else if matches!(column, "created" | "last_active") {
            if !cell.is_empty() {
                let at = seconds(cell).ok_or_else(|| fail(format!("{column}: {cell:?} is no time")))?;
                observation[column] = at.into();
            }
        } else if column.starts_with(WORK) {
            continue;
        } else if column == "target" {
            observation["target"] = cell.into();
        } else if !cell.is_empty() {
            standing.insert(
                column,
                reading(cell).ok_or_else(|| fail(format!("{column}: {cell:?} is no reading")))?,
            );
        }
    }
    for (column, cell) in row.iter().filter(|(_, cell)| !cell.is_empty()) {
        if let Some(field) = column.strip_prefix(WORK) {
            let value = cell.parse::<f64>().map_err(|_| fail(format!("{column}: {cell:?} is no number")))?;
            let whole = value.fract() == 0.0 && field != "over_s" && field != "itl_s";
            observation["work"][field] = if whole { json!(value as u64) } else { json!(value) };
        }
    }
    let read = standing.iter().filter(|(_, value)| *value != "(none)");
    observation["signals"] =
        read.map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>().into();
    observation["replicas"] = replicas.into();
    Ok(observation)
}

fn reading(cell: &str) -> Option<Value> {
    if let Ok(value) = cell.parse::<f64>() {
        return Some(value.into());
    }
    if let Some(text) = cell.strip_prefix("error") {
        return Some(json!({ "error": text.trim_start_matches(':').trim() }));
    }
    if let Some(age) = cell.strip_prefix("stale ") {
        return Some(json!({ "value": 0, "stale_s": seconds(age)? }));
    }
    if let Some(list) = cell.strip_prefix('[') {
        return serde_json::from_str(&format!("[{list}")).ok();
    }
    match cell.split_once(' ') {
        Some((value, activity @ ("active" | "inactive"))) => {
            Some(json!({ "value": value.parse::<f64>().ok()?, "active": activity == "active" }))
        }
        _ => match cell {
            "absent" => Some(Value::Null),
            "(none)" => Some(cell.into()),
            _ => None,
        },
    }
}

fn expect(
    t: f64,
    row: &[(&str, &str)],
    decided: &Decided,
    line: usize,
    outcome: &mut Outcome,
    failures: &mut Vec<Failure>,
) {
    let decision = &decided.decision;
    for &(column, cell) in row {
        let Some(what) = column.strip_prefix('→').map(str::trim) else { continue };
        if cell.is_empty() || cell == "…" {
            continue;
        }
        let holds = match what {
            "replicas" => decision.replicas.to_string() == cell,
            "rule" => decision.rule.name() == cell,
            "because" => decision.steps.iter().any(|step| step.because.to_string().contains(cell)),
            "create" => decided.create_jobs.unwrap_or(0).to_string() == cell,
            _ => false,
        };
        if holds {
            outcome.expectations += 1;
        } else {
            failures.push(Failure {
                line,
                message: format!("at {t} s: {what} should be {cell}\n{}", shown(decided)),
            });
        }
    }
}

fn shown(decided: &Decided) -> String {
    let decision = &decided.decision;
    let mut text = format!("    decided {} by {}", decision.replicas, decision.rule);
    for step in &decision.steps {
        text.push_str(&format!("\n    {} → {}  {}: {}", step.from, step.to, step.rule, step.because));
    }
    text
}
