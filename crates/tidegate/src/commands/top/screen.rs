//! What `tidegate top` draws.

use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::symbols::bar;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};
use tidegate_dashboard::decision::DecisionView;
use tidegate_dashboard::model::{Fleet, TargetState, TargetView};

use super::View;

/// What stands where nothing was measured.
const NOTHING: &str = "–";

const HEADINGS: [&str; 10] =
    ["target", "state", "replicas", "wait", "run", "demand", "TTFT p95", "ITL p95", "tok/s", "cost/h"];

/// The whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let targets = view.fleet.targets.len() as u16;
    let gpus = if view.fleet.gpus.is_empty() { 0 } else { 2 };
    // Decisions keep a third of the screen, however many targets there are.
    let table = (targets + 2).min(frame.area().height * 2 / 3);
    let [head, strip, body, changes, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(gpus),
        Constraint::Length(table),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(summary(&view.fleet)), head);
    frame.render_widget(Paragraph::new(devices(&view.fleet)), strip);
    rows(frame, view, body);
    decisions(frame, view, changes);
    let help = match &view.lost {
        Some(lost) => Line::from(lost.as_str()).red(),
        None => Line::from(" q quit   ↑↓ one target's decisions").dim(),
    };
    frame.render_widget(help, foot);
}

fn summary(fleet: &Fleet) -> Line<'static> {
    let sum = |of: fn(&TargetView) -> u32| fleet.targets.iter().map(of).sum::<u32>();
    let mut spans = vec![" tidegate ".bold().reversed(), format!(" {} ", fleet.version).dim()];
    let mut say = |label: &str, value: String| {
        spans.push(Span::from(format!("  {label} ")).dim());
        spans.push(Span::from(value).bold());
    };
    say("replicas", format!("{} of {}", sum(|target| target.ready), sum(|target| target.wanted)));
    say("in flight", sum(|target| target.in_flight).to_string());
    say("waiting", sum(|target| target.waiting).to_string());
    if let Some(cost) = fleet.cost_per_hour {
        say("cost/h", format!("${cost:.2}"));
    }
    if let Some(addr) = &fleet.gateway_addr {
        say("gateway", addr.clone());
    }
    Line::from(spans)
}

/// One mark a device: which target holds it, by its place in the table.
fn devices(fleet: &Fleet) -> Line<'static> {
    let mut spans = vec![Span::from(" GPUs ").dim()];
    for gpu in &fleet.gpus {
        let place = fleet.targets.iter().position(|target| Some(&target.name) == gpu.target.as_ref());
        spans.push(match (place, &gpu.holder) {
            (Some(place), _) => {
                Span::styled(format!("▐{}▌", gpu.index), Style::new().fg(colour(place)).reversed())
            }
            (None, Some(_)) => Span::from(format!("▐{}▌", gpu.index)).reversed(),
            _ => Span::from(format!("[{}]", gpu.index)).dim(),
        });
        spans.push(Span::from(" "));
    }
    Line::from(spans)
}

fn colour(place: usize) -> Color {
    const COLOURS: [Color; 6] =
        [Color::Cyan, Color::Blue, Color::Yellow, Color::Magenta, Color::Green, Color::LightRed];
    COLOURS[place % COLOURS.len()]
}

fn rows(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let rows = view.fleet.targets.iter().enumerate().map(|(place, target)| {
        let line = view.demand.get(&target.name).map(|line| blocks(line.iter().copied())).unwrap_or_default();
        let mut texts = texts(target);
        texts[5] = line;
        let cells = texts.into_iter().enumerate().map(|(column, text)| {
            Cell::from(text).style(match column {
                0 | 5 => Style::new().fg(colour(place)),
                1 => state_style(target.state()),
                _ => Style::new(),
            })
        });
        let row = Row::new(cells);
        if view.chosen == Some(place) { row.style(Modifier::REVERSED) } else { row }
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(5),
        Constraint::Length(5),
        Constraint::Length(super::LINE_S as u16 / 2),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(8),
    ];
    frame.render_widget(Table::new(rows, widths).header(Row::new(HEADINGS).dim()).column_spacing(1), area);
}

fn state_style(state: TargetState) -> Style {
    match state {
        TargetState::Ready => Style::new().fg(Color::Green),
        TargetState::Starting | TargetState::Scaling => Style::new().fg(Color::Yellow),
        TargetState::Draining => Style::new().fg(Color::Blue),
        TargetState::Trouble => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        TargetState::Zero => Style::new().add_modifier(Modifier::DIM),
    }
}

/// A line of blocks: each the greater of two seconds, the highest one full.
fn blocks(values: impl ExactSizeIterator<Item = u64>) -> String {
    let values: Vec<u64> = values.collect();
    // From the right, so that a new second moves the line by one, not by two every other time.
    let pairs: Vec<u64> = values.rchunks(2).map(|pair| pair.iter().copied().max().unwrap_or(0)).collect();
    let top = pairs.iter().copied().max().unwrap_or(0);
    let levels = [
        " ",
        bar::ONE_EIGHTH,
        bar::ONE_QUARTER,
        bar::THREE_EIGHTHS,
        bar::HALF,
        bar::FIVE_EIGHTHS,
        bar::THREE_QUARTERS,
        bar::SEVEN_EIGHTHS,
        bar::FULL,
    ];
    // 0 is empty, anything else at least the lowest block: one request is not none.
    let level = |value: u64| if top == 0 { 0 } else { (value * 8).div_ceil(top) as usize };
    pairs.iter().rev().map(|value| levels[level(*value).min(8)]).collect()
}

/// The columns of [`HEADINGS`].
fn texts(target: &TargetView) -> [String; 10] {
    let seconds = |value: Option<f64>| match value {
        None => NOTHING.to_owned(),
        Some(value) if value < 0.0995 => format!("{:.0} ms", value * 1e3),
        Some(value) => format!("{value:.2} s"),
    };
    let cost = target.cost_per_hour().map_or_else(|| NOTHING.to_owned(), |cost| format!("${cost:.2}"));
    [
        target.name.clone(),
        target.state().name().to_owned(),
        format!("{}/{} ({}–{})", target.ready, target.wanted, target.min, target.max),
        target.waiting.to_string(),
        target.in_flight.to_string(),
        (target.waiting + target.in_flight).to_string(),
        seconds(target.ttft_s.map(|quantiles| quantiles.p95)),
        seconds(target.itl_s.map(|quantiles| quantiles.p95)),
        target.tokens_per_s.map_or_else(|| NOTHING.to_owned(), |rate| format!("{rate:.0}")),
        cost,
    ]
}

fn decisions(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let chosen = view.chosen.and_then(|place| view.fleet.targets.get(place));
    let title = chosen.map_or_else(|| " decisions ".to_owned(), |target| format!(" {} ", target.name));
    let mut lines: Vec<Line<'_>> = Vec::new();
    for target in view.fleet.targets.iter().filter(|target| chosen.is_none_or(|one| one.name == target.name))
    {
        if let Some(trouble) = &target.trouble {
            lines.push(Line::from(format!(" {}: {trouble}", target.name)).red());
        }
    }
    if let Some(latest) = chosen.and_then(|target| target.latest.as_ref()) {
        lines.push(Line::from(format!(" now {}: {}", latest.to, latest.text)).bold());
    }
    for (target, decision) in changes(&view.fleet, chosen).into_iter().take(usize::from(area.height)) {
        lines.push(change(&view.fleet, target, decision));
    }
    if lines.is_empty() {
        lines.push(Line::from(" nothing was decided to change yet").dim());
    }
    let block = Block::new().borders(Borders::TOP).title(title).border_style(Modifier::DIM);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// Changes, newest first, of one target or of all.
fn changes<'a>(fleet: &'a Fleet, chosen: Option<&TargetView>) -> Vec<(&'a TargetView, &'a DecisionView)> {
    let of = fleet.targets.iter().filter(|target| chosen.is_none_or(|one| one.name == target.name));
    let mut all: Vec<_> =
        of.flat_map(|target| target.decisions.iter().map(move |one| (target, one))).collect();
    all.sort_by(|(_, a), (_, b)| b.at_unix_s.total_cmp(&a.at_unix_s));
    all
}

fn change<'a>(fleet: &Fleet, target: &'a TargetView, decision: &'a DecisionView) -> Line<'a> {
    let age = (fleet.at_unix_s - decision.at_unix_s).max(0.0) as u64;
    let age = match age {
        0..60 => format!("{age} s"),
        60..3600 => format!("{} min", age / 60),
        _ => format!("{} h", age / 3600),
    };
    let arrow = Span::from(format!(" {:>2} → {:<2} ", decision.from, decision.to)).bold();
    Line::from(vec![
        Span::from(format!("{age:>7} ")).dim(),
        if decision.to > decision.from { arrow.green() } else { arrow.blue() },
        Span::from(format!("{}  ", target.name)),
        Span::from(decision.text.as_str()).dim(),
        Span::from(format!("  {}", decision.rule)).dim().italic(),
    ])
}

/// The fleet once, for a pipe.
pub(super) fn plain(fleet: &Fleet) -> String {
    let mut table: Vec<[String; 10]> = vec![HEADINGS.map(str::to_owned)];
    table.extend(fleet.targets.iter().map(texts));
    let mut widths = [0; 10];
    for row in &table {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let mut out = String::new();
    for row in &table {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(text, width)| format!("{text:<width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    for target in &fleet.targets {
        if let Some(trouble) = &target.trouble {
            let _ = writeln!(out, "{}: {trouble}", target.name);
        }
    }
    let held = fleet.gpus.iter().filter(|gpu| gpu.holder.is_some()).count();
    if !fleet.gpus.is_empty() {
        let _ = writeln!(out, "GPUs: {held} of {} held", fleet.gpus.len());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use tidegate_dashboard::model::{GpuView, Quantiles};

    fn view() -> View {
        let chat = TargetView {
            name: "a/chat".to_owned(),
            max: 4,
            wanted: 2,
            ready: 2,
            waiting: 1,
            in_flight: 7,
            ttft_s: Some(Quantiles { p50: 0.1, p95: 0.42, p99: 0.9 }),
            decisions: vec![DecisionView {
                at_unix_s: 940.0,
                from: 1,
                to: 2,
                rule: "signal".to_owned(),
                text: "s0: 12 in all / 8 a replica".to_owned(),
                ..DecisionView::default()
            }],
            ..TargetView::default()
        };
        let broken = TargetView {
            name: "a/broken".to_owned(),
            wanted: 1,
            trouble: Some("command not found: vllm".to_owned()),
            ..TargetView::default()
        };
        let gpu = |index| GpuView { index, ..GpuView::default() };
        let mut view = View::default();
        view.take(Fleet {
            at_unix_s: 1000.0,
            version: "0.1.0".to_owned(),
            gpus: vec![
                GpuView { target: Some("a/chat".to_owned()), holder: Some("x".to_owned()), ..gpu(0) },
                gpu(1),
            ],
            targets: vec![chat, broken],
            ..Fleet::default()
        });
        view
    }

    fn drawn(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_shows_targets_devices_trouble_and_the_last_change() {
        let text = drawn(&view(), 120, 24);
        for piece in [
            "a/chat",
            "2/2 (0–4)",
            "0.42 s",
            "ready",
            "trouble",
            "▐0▌ [1]",
            "command not found: vllm",
            "1 →",
            "1 min",
        ] {
            assert!(text.contains(piece), "{piece} in\n{text}");
        }
    }

    #[test]
    fn a_chosen_target_shows_only_its_own_changes() {
        let mut view = view();
        view.choose(false);
        let text = drawn(&view, 120, 24);
        assert!(text.contains("command not found") && !text.contains("s0: 12 in all"), "{text}");
    }

    #[test]
    fn a_tiny_terminal_is_drawn_without_a_panic() {
        for (width, height) in [(1, 1), (10, 3), (40, 5), (500, 2)] {
            drawn(&view(), width, height);
        }
    }

    #[test]
    fn one_request_is_seen_beside_a_thousand() {
        assert_eq!(blocks([0, 0, 1, 1, 1000, 1000].into_iter()), " ▁█");
        assert_eq!(blocks([0, 0].into_iter()), " ");
    }

    #[test]
    fn a_pipe_gets_a_table() {
        let text = plain(&view().fleet);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("target    state"), "{text}");
        assert!(lines[1].starts_with("a/chat    ready    2/2 (0–4)"), "{text}");
        assert_eq!(lines[3], "a/broken: command not found: vllm");
        assert_eq!(lines[4], "GPUs: 1 of 2 held");
    }
}
