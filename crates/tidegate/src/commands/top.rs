//! `tidegate top`: the fleet live in the terminal.

mod screen;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tidegate_dashboard::history::Sample;
use tidegate_dashboard::model::Fleet;

use super::admin::{Admin, AdminArgs, Answer};
use crate::args::TextOrJson;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(1);

/// Seconds of demand drawn behind each target.
const LINE_S: usize = 40;

/// Shows the fleet live: targets, replicas, demand, latency, GPUs and the last decisions. `q` quits, the
/// arrow keys choose a target. Where standard output is no terminal, prints the fleet once.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Print the fleet once, in this form, and end.
    #[arg(long, value_enum)]
    format: Option<TextOrJson>,
}

pub(crate) fn run(args: &TopArgs) -> Result<ExitCode> {
    let admin = Admin::new(&args.admin)?;
    let first = fleet(&admin).with_context(|| {
        format!(
            "cannot read the fleet at {} (is `tidegate up` running, with this --admin-addr?)",
            admin.addr()
        )
    })?;
    match args.format {
        Some(TextOrJson::Json) => {
            writeln!(io::stdout().lock(), "{}", serde_json::to_string(&first)?)?;
        }
        None if io::stdout().is_terminal() && io::stdin().is_terminal() => live(&admin, first)?,
        Some(TextOrJson::Text) | None => io::stdout().lock().write_all(screen::plain(&first).as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn fleet(admin: &Admin) -> Result<Fleet> {
    match admin.get("/api/fleet") {
        Answer::Found(body) => serde_json::from_slice(&body).context("no answer this version can read"),
        Answer::Refused(status, sentence) => bail!("{status}: {sentence}"),
        Answer::Nobody(error) => Err(error),
    }
}

/// What is on the screen.
#[derive(Debug, Default)]
struct View {
    fleet: Fleet,
    /// Waiting and in flight of each target in the last seconds, oldest first.
    demand: BTreeMap<String, VecDeque<u64>>,
    /// The target whose decisions are shown; all where it is `None`.
    chosen: Option<usize>,
    /// Why the numbers are old.
    lost: Option<String>,
}

impl View {
    fn take(&mut self, fleet: Fleet) {
        self.demand.retain(|name, _| fleet.targets.iter().any(|target| target.name == *name));
        for target in &fleet.targets {
            let line = self.demand.entry(target.name.clone()).or_default();
            line.push_back(u64::from(target.waiting) + u64::from(target.in_flight));
            let beyond = line.len().saturating_sub(LINE_S);
            line.drain(..beyond);
        }
        self.chosen = self.chosen.filter(|place| *place < fleet.targets.len());
        self.fleet = fleet;
        self.lost = None;
    }

    /// Down from the last and up from the first is all of them.
    fn choose(&mut self, down: bool) {
        let count = self.fleet.targets.len();
        self.chosen = match (self.chosen, down) {
            (None, true) => (count > 0).then_some(0),
            (None, false) => count.checked_sub(1),
            (Some(place), true) => Some(place + 1).filter(|next| *next < count),
            (Some(place), false) => place.checked_sub(1),
        };
    }
}

fn live(admin: &Admin, first: Fleet) -> Result<()> {
    let mut view = View::default();
    for target in &first.targets {
        view.demand.insert(target.name.clone(), past(admin, &target.name));
    }
    view.take(first);
    let mut terminal = ratatui::try_init().context("cannot use this terminal")?;
    let outcome = watch(admin, &mut view, &mut terminal);
    ratatui::try_restore().context("cannot give the terminal back")?;
    outcome
}

/// What the dashboard remembers, so that lines do not start empty.
fn past(admin: &Admin, target: &str) -> VecDeque<u64> {
    let Answer::Found(body) = admin.get(&format!("/api/targets/{target}/history?span_s={LINE_S}")) else {
        return VecDeque::new();
    };
    let samples: Vec<Sample> = serde_json::from_slice(&body).unwrap_or_default();
    samples.iter().map(|sample| u64::from(sample.waiting) + u64::from(sample.in_flight)).collect()
}

fn watch(admin: &Admin, view: &mut View, terminal: &mut DefaultTerminal) -> Result<()> {
    let mut asked = Instant::now();
    loop {
        terminal.draw(|frame| screen::draw(frame, view))?;
        if event::poll(EVERY.saturating_sub(asked.elapsed()))? {
            if quits(&event::read()?, view) {
                return Ok(());
            }
            continue;
        }
        asked = Instant::now();
        match fleet(admin) {
            Ok(fleet) => view.take(fleet),
            Err(error) => view.lost = Some(format!("{} does not answer: {error:#}", admin.addr())),
        }
    }
}

/// Takes a key; whether it ends the view.
fn quits(event: &Event, view: &mut View) -> bool {
    let Event::Key(key) = event else { return false };
    if key.kind == KeyEventKind::Release {
        return false;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return true,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::Down | KeyCode::Char('j') => view.choose(true),
        KeyCode::Up | KeyCode::Char('k') => view.choose(false),
        _ => {}
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_dashboard::model::TargetView;

    fn fleet_of(names: &[&str]) -> Fleet {
        let target =
            |name: &&str| TargetView { name: (*name).to_owned(), in_flight: 2, ..TargetView::default() };
        Fleet { targets: names.iter().map(target).collect(), ..Fleet::default() }
    }

    #[test]
    fn the_arrow_keys_go_through_the_targets_and_back_to_all() {
        let mut view = View::default();
        view.take(fleet_of(&["a/a", "a/b"]));
        let mut seen = Vec::new();
        for _ in 0..3 {
            view.choose(true);
            seen.push(view.chosen);
        }
        view.choose(false);
        seen.push(view.chosen);
        assert_eq!(seen, [Some(0), Some(1), None, Some(1)]);
    }

    #[test]
    fn lines_stay_short_and_go_with_their_target() {
        let mut view = View::default();
        (0..100).for_each(|_| view.take(fleet_of(&["a/a", "a/b"])));
        assert_eq!(view.demand["a/b"].len(), LINE_S);
        view.choose(false);
        view.take(fleet_of(&["a/a"]));
        assert_eq!((view.demand.len(), view.chosen), (1, None));
    }
}
