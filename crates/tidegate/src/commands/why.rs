//! `tidegate why`: why a target has that many replicas, what limits it, what would change it.

mod past;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tidegate_dashboard::decision::DecisionView;
use tidegate_dashboard::model::Fleet;
use tidegate_dashboard::why::Why;

use super::admin::{Admin, AdminArgs, Answer};
use crate::args::TextOrJson;
use crate::output;

/// Prints one screen: why a target has that many replicas, what limits it, what would change it. Asks the
/// Tidegate that runs; where none answers, or its memory is too short, reads the journal.
#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// `namespace/name` of a ScaledObject, `namespace/scaledjob/name`, `namespace/hpa/name`; the name alone where it
    /// is the only one.
    #[arg(value_name = "TARGET")]
    target: String,
    /// At another time: `14:05`, `2026-03-01T14:05:30`, `10m` (ago), or Unix seconds.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Where the journal is; by default where `tidegate up` keeps it.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    format: TextOrJson,
}

pub(crate) fn run(args: &WhyArgs) -> Result<ExitCode> {
    let at = args.at.as_deref().map(|text| time(text, Timestamp::now(), &TimeZone::system())).transpose()?;
    let (why, aside) = answer(args, at)?;
    if let Some(aside) = aside {
        output::complain(&aside);
    }
    let text = match args.format {
        TextOrJson::Json => format!("{}\n", serde_json::to_string(&why)?),
        TextOrJson::Text => screen(&why, &TimeZone::system()),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The answer, and a remark on where it is from where that is not what was expected.
fn answer(args: &WhyArgs, at: Option<f64>) -> Result<(Why, Option<String>)> {
    let admin = Admin::new(&args.admin)?;
    let target = match full_name(&admin, &args.target) {
        Ok(target) => target,
        Err(nobody) => {
            let remark = format!("nobody answers at {}, so this is from the journal", admin.addr());
            let why = past::why(&state_dirs(args)?, &args.target, at)
                .with_context(|| format!("nobody answers at {} ({nobody:#})", admin.addr()))?;
            return Ok((why, at.is_none().then_some(remark)));
        }
    };
    let query = at.map(|at| format!("?at={at}")).unwrap_or_default();
    // On a cluster a ScaledJob is `namespace/scaledjob/name`: one name to the page, whatever is in it.
    let (namespace, name) = target.split_once('/').unwrap_or(("default", &target));
    match admin.get(&format!("/api/why/{namespace}/{}{query}", name.replace('/', "%2F"))) {
        Answer::Found(body) => {
            Ok((serde_json::from_slice(&body).context("no answer this version can read")?, None))
        }
        // Memory holds the last changes; the journal holds days.
        Answer::Refused(410, _) => Ok((past::why(&state_dirs(args)?, &target, at)?, None)),
        Answer::Refused(_, sentence) => bail!(sentence),
        Answer::Nobody(error) => Err(error.context(format!("{} stopped answering", admin.addr()))),
    }
}

/// `namespace/name`, which a bare name is looked up for. The error is that nobody answers.
fn full_name(admin: &Admin, asked: &str) -> Result<String> {
    match admin.get("/api/fleet") {
        Answer::Nobody(error) => Err(error),
        Answer::Found(body) if !asked.contains('/') => {
            let fleet: Fleet = serde_json::from_slice(&body).unwrap_or_default();
            let mut same = fleet.targets.iter().filter(|target| target.split_name().1 == asked);
            let found = same.next().filter(|_| same.next().is_none());
            Ok(found.map_or_else(|| format!("default/{asked}"), |target| target.name.clone()))
        }
        _ => Ok(asked.to_owned()),
    }
}

/// The one named, or both that `tidegate up` uses: with manifests, and for the demo.
fn state_dirs(args: &WhyArgs) -> Result<Vec<PathBuf>> {
    if let Some(directory) = &args.state_dir {
        return Ok(vec![directory.clone()]);
    }
    let home = crate::up::default_state_dir()?;
    Ok(vec![home.clone(), home.join("demo")])
}

/// A time as people write one, in Unix seconds.
fn time(text: &str, now: Timestamp, zone: &TimeZone) -> Result<f64> {
    let seconds = |stamp: Timestamp| stamp.as_microsecond() as f64 / 1e6;
    let text = text.trim();
    // Anything below is no Unix time of this century, and more likely an hour or a count.
    if let Ok(unix_s) = text.parse::<f64>() {
        if (1e9..1e11).contains(&unix_s) {
            return Ok(unix_s);
        }
        bail!("--at {text}: Unix seconds have ten digits; write 10m for ten minutes ago, or 14:05");
    }
    if let Ok(stamp) = text.parse::<Timestamp>() {
        return Ok(seconds(stamp));
    }
    if let Ok(local) = text.parse::<DateTime>() {
        return Ok(seconds(local.to_zoned(zone.clone())?.timestamp()));
    }
    if let Ok(clock) = text.parse::<jiff::civil::Time>() {
        let today = now.to_zoned(zone.clone()).date();
        let then = today.to_datetime(clock).to_zoned(zone.clone())?.timestamp();
        // 23:50 asked for at ten past midnight was yesterday.
        let yesterday = today.yesterday()?.to_datetime(clock).to_zoned(zone.clone())?.timestamp();
        return Ok(seconds(if then > now { yesterday } else { then }));
    }
    if let Ok(ago) = text.trim_start_matches('-').parse::<SignedDuration>() {
        return Ok(seconds(now.checked_sub(ago)?));
    }
    bail!("--at {text}: write 14:05, 2026-03-01T14:05:30, 10m (ago) or Unix seconds")
}

/// The whole screen.
fn screen(why: &Why, zone: &TimeZone) -> String {
    let mut text = String::new();
    let decision = &why.decision;
    let count = if decision.to == 1 { "1 replica".to_owned() } else { format!("{} replicas", decision.to) };
    let mut head = format!("{}: {count}", why.target);
    if let Some(counts) = why.replicas {
        head.push_str(" wanted");
        for (n, state) in [
            (counts.ready, "ready"),
            (counts.starting, "starting"),
            (counts.draining, "draining"),
            (counts.pending, "pending"),
        ] {
            if n > 0 {
                head.push_str(&format!(", {n} {state}"));
            }
        }
    }
    head.push_str(&format!(", at {}\n", clock(why.at_unix_s, zone)));
    text.push_str(&head);
    text.push_str(&format!("\n  {}\n", decision.text));
    if let Some(trouble) = &why.trouble {
        text.push_str(&format!("\ntrouble\n  {trouble}\n"));
    }
    if let Some(advice) = &why.advice {
        text.push_str(&format!("\nonly advice, nothing is written\n  {advice}\n"));
    }
    if let Some(changed) = &why.changed {
        let DecisionView { from, to, rule, text: because, .. } = changed;
        let when = clock(changed.at_unix_s, zone);
        text.push_str(&format!("\nsince {when}\n  {from} → {to} by {rule}: {because}\n"));
    }
    sentences(&mut text, "what limits it", &why.limits);
    sentences(&mut text, "what would change it", &why.levers);
    signals(&mut text, why);
    steps(&mut text, decision);
    text
}

/// Each signal, whether it can be trusted, and what it said.
fn signals(text: &mut String, why: &Why) {
    if why.signals.is_empty() {
        return;
    }
    let _ = writeln!(text, "\nsignals");
    let width = why.signals.iter().map(|signal| signal.name.len()).max().unwrap_or(0);
    for signal in &why.signals {
        let _ = writeln!(text, "  {:<width$}  {:<10} {}", signal.name, signal.state.name(), signal.text);
    }
}

fn sentences(text: &mut String, heading: &str, sentences: &[String]) {
    if !sentences.is_empty() {
        let _ = writeln!(text, "\n{heading}");
    }
    for sentence in sentences {
        let _ = writeln!(text, "  {sentence}");
    }
}

fn steps(text: &mut String, decision: &DecisionView) {
    let _ = writeln!(text, "\nevery rule that was asked");
    let width = decision.steps.iter().map(|step| step.rule.len()).max().unwrap_or(0);
    for step in &decision.steps {
        let change =
            if step.from == step.to { step.to.to_string() } else { format!("{} → {}", step.from, step.to) };
        let _ = writeln!(text, "  {:<width$}  {change:<8} {}", step.rule, step.because);
    }
}

/// Local time, with its date.
fn clock(unix_s: f64, zone: &TimeZone) -> String {
    let stamp = Timestamp::from_microsecond((unix_s * 1e6) as i64).unwrap_or_default();
    stamp.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_dashboard::decision::StepView;
    use tidegate_dashboard::model::{SignalState, SignalView};
    use tidegate_dashboard::why::Counts;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: Timestamp = "2026-03-01T00:10:00Z".parse().unwrap();
        let read = |text: &str| time(text, now, &TimeZone::UTC).map(|unix_s| clock(unix_s, &TimeZone::UTC));
        for (text, meant) in [
            ("2026-03-01T14:05:30Z", "2026-03-01 14:05:30"),
            ("2026-03-01T14:05:30", "2026-03-01 14:05:30"),
            ("2026-03-01 14:05", "2026-03-01 14:05:00"),
            ("00:05", "2026-03-01 00:05:00"),
            ("23:50", "2026-02-28 23:50:00"),
            ("10m", "2026-03-01 00:00:00"),
            ("-1h 5s", "2026-02-28 23:09:55"),
            ("1772323200", "2026-03-01 00:00:00"),
        ] {
            assert_eq!(read(text).ok().as_deref(), Some(meant), "{text}");
        }
        for bad in ["", "soon", "12", "NaN", "1e300", "25:00"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_screen_says_what_why_since_when_and_what_would_change_it() {
        let step = |rule: &str, from, to, because: &str| StepView {
            rule: rule.to_owned(),
            from,
            to,
            because: because.to_owned(),
        };
        let why = Why {
            target: "a/chat".to_owned(),
            at_unix_s: 1_772_323_200.0,
            from: "memory".to_owned(),
            decision: DecisionView {
                from: 2,
                to: 2,
                rule: "max".to_owned(),
                text: "the maximum is 2".to_owned(),
                steps: vec![
                    step("signal", 2, 3, "s0: 25 in all / 10 a replica"),
                    step("max", 3, 2, "the maximum is 2"),
                ],
                ..DecisionView::default()
            },
            limits: vec!["max: the maximum is 2".to_owned()],
            levers: vec!["more: a maximum above 2".to_owned()],
            trouble: Some("command not found: vllm".to_owned()),
            advice: Some("would scale from 1 to 2".to_owned()),
            replicas: Some(Counts { ready: 1, pending: 1, ..Counts::default() }),
            signals: vec![SignalView {
                name: "s0".to_owned(),
                state: SignalState::Stale,
                text: "25, 4 s old".to_owned(),
                ..SignalView::default()
            }],
            ..Why::default()
        };
        let expected = "\
a/chat: 2 replicas wanted, 1 ready, 1 pending, at 2026-03-01 00:00:00

  the maximum is 2

trouble
  command not found: vllm

only advice, nothing is written
  would scale from 1 to 2

what limits it
  max: the maximum is 2

what would change it
  more: a maximum above 2

signals
  s0  stale      25, 4 s old

every rule that was asked
  signal  2 → 3    s0: 25 in all / 10 a replica
  max     3 → 2    the maximum is 2
";
        assert_eq!(screen(&why, &TimeZone::UTC), expected);
    }
}
