//! The tables: medians over the rounds, and how ours stands to the bars.

use std::fmt::Write as _;

use serde::Serialize;

use crate::measure::{CHUNKS, Sample};

/// Resident memory of one proxy.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Memory {
    /// The target's name.
    pub(crate) target: String,
    /// After its first answers.
    pub(crate) idle_kib: u64,
    /// With streams open: how many, and the memory.
    pub(crate) open: Vec<(usize, u64)>,
    /// Streams that were wanted but did not open or did not stay.
    pub(crate) lost: usize,
    /// Why the first of them was lost.
    pub(crate) failure: Option<String>,
}

/// A target that was not measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LeftOut {
    /// The target's name.
    pub(crate) target: String,
    /// Why, and what would help.
    pub(crate) why: String,
}

/// Everything a run found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Name and version of each target, in the order of the tables; the first is the back end itself.
    pub(crate) targets: Vec<(String, String)>,
    /// Peers that were not measured.
    pub(crate) left_out: Vec<LeftOut>,
    /// Rounds and the length of one phase.
    pub(crate) rounds: usize,
    /// Length of one phase.
    pub(crate) seconds: f64,
    /// Every figure.
    pub(crate) samples: Vec<Sample>,
    /// Memory of every proxy.
    pub(crate) memory: Vec<Memory>,
}

/// The median; the mean of the middle two for an even count. `None` for nothing.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}

/// 12345.6 → "12,346".
fn thousands(value: Option<f64>) -> String {
    let Some(value) = value else { return "–".into() };
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn mib(kib: Option<u64>) -> Option<f64> {
    kib.map(|kib| kib as f64 / 1024.0)
}

/// A bar of the design: a figure, in the unit of its row.
#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// One row about a bar: ours, and the peer the bar was taken from, in this run.
struct Bar {
    what: &'static str,
    bar: Bound,
    ours: Option<f64>,
    peer: String,
    theirs: Option<f64>,
}

impl Bar {
    fn cells(&self) -> [String; 6] {
        let (sign, bar) = match self.bar {
            Bound::AtMost(bar) => ("≤", bar),
            Bound::AtLeast(bar) => ("≥", bar),
        };
        let good = |bar: f64| {
            self.ours.is_some_and(|ours| match self.bar {
                Bound::AtMost(_) => ours <= bar,
                Bound::AtLeast(_) => ours >= bar,
            })
        };
        let held = match (self.ours, good(bar), self.theirs.is_some_and(good)) {
            (None, ..) => "not measured",
            (_, true, _) => "yes",
            (_, false, true) => "beside",
            (_, false, false) => "no",
        };
        let digits = usize::from(bar < 100.0) + usize::from(bar < 5.0);
        let ratio = self.ours.zip(self.theirs).map(|(ours, theirs)| ours / theirs);
        [
            self.what.to_owned(),
            format!("{sign} {}", number(Some(bar), digits)),
            number(self.ours, digits),
            format!("{} {}", self.peer, number(self.theirs, digits)),
            number(ratio, 2),
            held.to_owned(),
        ]
    }
}

struct Table {
    text: String,
}

impl Table {
    fn new(title: &str, columns: &[&str]) -> Self {
        let rule = columns.iter().map(|_| "---|").collect::<String>();
        Self { text: format!("\n{title}\n\n| {} |\n|{rule}\n", columns.join(" | ")) }
    }

    fn row(&mut self, cells: &[String]) {
        self.text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
}

impl Report {
    fn figure(&self, target: &str, phase: &str, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let of_phase = self.samples.iter().filter(|sample| sample.target == target && sample.phase == phase);
        median(of_phase.filter_map(of).collect())
    }

    /// The median over the rounds of what the proxy added to the back end's own time in the same round.
    fn added_us(&self, target: &str, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        let round = |name: &str, round: usize| {
            let mut samples = self.samples.iter().filter(|sample| sample.phase == "json-1");
            samples.find(|sample| sample.target == name && sample.round == round).map(&of)
        };
        let each = (0..self.rounds).filter_map(|at| Some(round(target, at)? - round("direct", at)?));
        median(each.collect())
    }

    fn memory(&self, target: &str) -> Option<&Memory> {
        self.memory.iter().find(|memory| memory.target == target)
    }

    /// All tables as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# Gateway bench\n\n");
        let versions = self.targets.iter().skip(1).map(|(name, version)| format!("{name} {version}"));
        let _ = writeln!(text, "{}.", versions.collect::<Vec<_>>().join(", "));
        for left in &self.left_out {
            let _ = writeln!(text, "Left out: {}: {}.", left.target, left.why);
        }
        let _ = writeln!(
            text,
            "Medians of {} rounds of {} s a phase, targets interleaved; loopback; two workers each; \
             others kept {} cores busy.",
            self.rounds,
            self.seconds,
            number(median(self.samples.iter().map(|sample| sample.others_cores).collect()), 2),
        );
        for table in [self.small(), self.streams(), self.bodies(), self.memories(), self.bars()] {
            text.push_str(&table);
        }
        text.push_str(&self.failures());
        text
    }

    fn small(&self) -> String {
        let mut table = Table::new(
            "Small JSON: 1 KB in, 460 B out",
            &[
                "target",
                "CPU µs/request c=32",
                "c=128",
                "c=1 p50 µs",
                "added p50",
                "added p99",
                "c=32 req/s",
                "p50 / p99 ms",
                "c=128 req/s",
                "p50 / p99 ms",
            ],
        );
        for (name, _) in &self.targets {
            let of = |phase: &str, of: fn(&Sample) -> Option<f64>| self.figure(name, phase, of);
            let both = |phase: &str| {
                let (half, most) = (of(phase, |s| Some(s.p50_us / 1e3)), of(phase, |s| Some(s.p99_us / 1e3)));
                format!("{} / {}", number(half, 2), number(most, 1))
            };
            table.row(&[
                name.clone(),
                number(of("json-32", |s| s.cpu_us_per_answer), 1),
                number(of("json-128", |s| s.cpu_us_per_answer), 1),
                number(of("json-1", |s| Some(s.p50_us)), 0),
                number(self.added_us(name, |s| s.p50_us), 0),
                number(self.added_us(name, |s| s.p99_us), 0),
                thousands(of("json-32", |s| Some(s.answers_s))),
                both("json-32"),
                thousands(of("json-128", |s| Some(s.answers_s))),
                both("json-128"),
            ]);
        }
        table.text
    }

    fn streams(&self) -> String {
        let mut table = Table::new(
            &format!("SSE: {CHUNKS} chunks, in one burst, and 128 streams with a chunk each 10 ms"),
            &[
                "target",
                "CPU µs/chunk burst",
                "paced",
                "burst c=1 p50 ms",
                "burst c=32 streams/s",
                "paced first p50 ms",
                "paced gap p99 ms",
            ],
        );
        for (name, _) in &self.targets {
            let of = |phase: &str, of: fn(&Sample) -> Option<f64>| self.figure(name, phase, of);
            table.row(&[
                name.clone(),
                number(of("burst-32", |s| s.cpu_us_per_event), 2),
                number(of("paced-128", |s| s.cpu_us_per_event), 2),
                number(of("burst-1", |s| Some(s.p50_us / 1e3)), 2),
                thousands(of("burst-32", |s| Some(s.answers_s))),
                number(of("paced-128", |s| Some(s.first_p50_us / 1e3)), 2),
                number(of("paced-128", |s| Some(s.gap_p99_us / 1e3)), 1),
            ]);
        }
        table.text
    }

    fn bodies(&self) -> String {
        let columns = ["target", "CPU µs/request", "req/s", "p50 ms", "p99 ms"];
        let mut table = Table::new("Large bodies: 400 KB in, 460 B out, c=8", &columns);
        for (name, _) in &self.targets {
            let of = |of: fn(&Sample) -> Option<f64>| self.figure(name, "large-8", of);
            table.row(&[
                name.clone(),
                number(of(|s| s.cpu_us_per_answer), 0),
                thousands(of(|s| Some(s.answers_s))),
                number(of(|s| Some(s.p50_us / 1e3)), 2),
                number(of(|s| Some(s.p99_us / 1e3)), 1),
            ]);
        }
        table.text
    }

    fn memories(&self) -> String {
        let counts = self.memory.iter().map(|memory| memory.open.iter().map(|(wanted, _)| *wanted).max());
        let most = counts.flatten().max().unwrap_or(0);
        let columns = ["target", "idle MiB", "1,000 streams", "most streams", "KiB a stream", "lost"];
        let title = format!(
            "Memory: resident, a freshly started proxy, up to {} open streams",
            thousands(Some(most as f64))
        );
        let mut table = Table::new(&title, &columns);
        for memory in &self.memory {
            let most = memory.open.iter().max();
            let each = most
                .filter(|(streams, _)| *streams > 0)
                .map(|(streams, kib)| kib.saturating_sub(memory.idle_kib) as f64 / *streams as f64);
            let few = memory.open.first().map(|(_, kib)| *kib);
            table.row(&[
                memory.target.clone(),
                number(mib(Some(memory.idle_kib)), 1),
                number(mib(few), 1),
                format!(
                    "{} at {}",
                    number(mib(most.map(|(_, kib)| *kib)), 1),
                    thousands(most.map(|(streams, _)| *streams as f64))
                ),
                number(each, 1),
                memory.lost.to_string(),
            ]);
        }
        if self.memory.is_empty() { String::new() } else { table.text }
    }

    /// How ours stands: the bar, ours, and the peer the bar was taken from, in this run.
    fn bars(&self) -> String {
        let ours = "tidegate";
        if !self.targets.iter().any(|(name, _)| name == ours) {
            return String::new();
        }
        let cpu = |name: &str| self.figure(name, "json-32", |s| s.cpu_us_per_answer);
        let chunk = |name: &str| self.figure(name, "burst-32", |s| s.cpu_us_per_event);
        let added = |name: &str| self.added_us(name, |s| s.p50_us);
        let rate = |name: &str| self.figure(name, "json-32", |s| Some(s.answers_s));
        let burst = |name: &str| self.figure(name, "burst-1", |s| Some(s.p50_us / 1e3));
        let idle = |name: &str| mib(self.memory(name).map(|memory| memory.idle_kib));
        // What the limit on open files left out is added in proportion.
        let open = |name: &str| {
            let memory = self.memory(name)?;
            let (streams, kib) = *memory.open.iter().max().filter(|(streams, _)| *streams > 0)?;
            let each = kib.saturating_sub(memory.idle_kib) as f64 / streams as f64;
            Some((memory.idle_kib as f64 + each * 10_000.0) / 1024.0)
        };
        let bar =
            |what, bar, ours, peer: &str, theirs| Bar { what, bar, ours, peer: peer.to_owned(), theirs };
        let rows = [
            bar("CPU a small JSON request, µs", Bound::AtMost(22.0), cpu(ours), "nginx", cpu("nginx")),
            bar(
                "CPU an SSE chunk of a burst, µs",
                Bound::AtMost(1.7),
                chunk(ours),
                "haproxy",
                chunk("haproxy"),
            ),
            bar("added p50, one connection, µs", Bound::AtMost(40.0), added(ours), "nginx", added("nginx")),
            // A stall of Nagle with a delayed acknowledgement is 40 ms, a burst without one 0.5 ms.
            bar("burst of 64 chunks, p50, ms", Bound::AtMost(5.0), burst(ours), "haproxy", burst("haproxy")),
            bar("requests/s at 32 connections", Bound::AtLeast(40_000.0), rate(ours), "nginx", rate("nginx")),
            bar("idle, MiB", Bound::AtMost(30.0), idle(ours), "nginx", idle("nginx")),
            bar(
                "10,000 open streams (in proportion), MiB",
                Bound::AtMost(400.0),
                open(ours),
                "nginx",
                open("nginx"),
            ),
        ];
        let columns = ["bar", "", "tidegate", "peer in this run", "ratio", "held"];
        let mut table =
            Table::new("Bars of the design (\"beside\": only beside the peer in this run)", &columns);
        for row in rows {
            table.row(&row.cells());
        }
        table.text
    }

    /// One line for each target and phase with a failed exchange.
    fn failures(&self) -> String {
        let mut text = String::new();
        for memory in self.memory.iter().filter(|memory| memory.lost > 0) {
            let why = memory.failure.as_deref().unwrap_or("they had not begun when patience ended");
            let _ = writeln!(text, "\nLost: {}: {} streams; {why}", memory.target, memory.lost);
        }
        for sample in self.samples.iter().filter(|sample| sample.failed > 0) {
            let why = sample.failure.as_deref().unwrap_or("unknown");
            let (target, phase, round) = (&sample.target, sample.phase, sample.round);
            let _ = writeln!(
                text,
                "\nFailed: {target}, {phase}, round {round}: {} exchanges; {why}",
                sample.failed
            );
        }
        text
    }
}
