//! What came of a run, as data and as text.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use tidegate_report::number::{count, seconds, share};
use tidegate_report::page::Fact;
use tidegate_report::table::{Align, Table};

pub use crate::times::Percentiles;

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Too many were in flight: it never left.
    NotSent,
    /// No connection came about.
    NotConnected,
    /// Not done within its time.
    TimedOut,
    /// A status that is no success.
    Status(u16),
    /// The connection ended before the answer did.
    Cut,
    /// An error in the place of an answer: an SSE error event, or an error in a body of status 200.
    ErrorEvent,
    /// An end that is not the client's own (`abort`), or no `finish_reason`, or no `[DONE]`.
    StreamBroken,
    /// Something that is no answer of a chat.
    BadAnswer,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::NotSent => f.write_str("not sent"),
            Kind::NotConnected => f.write_str("not connected"),
            Kind::TimedOut => f.write_str("timed out"),
            Kind::Status(code) => write!(f, "status {code}"),
            Kind::Cut => f.write_str("connection cut"),
            Kind::ErrorEvent => f.write_str("error event"),
            Kind::StreamBroken => f.write_str("stream broken"),
            Kind::BadAnswer => f.write_str("bad answer"),
        }
    }
}

/// Answers that were good by the objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Goodput {
    /// The bound on the time to the first token.
    pub slo_ttft_s: Option<f64>,
    /// The bound on the mean time between tokens.
    pub slo_itl_s: Option<f64>,
    /// Answers within the bounds.
    pub good: u64,
    /// Their share of all requests that ended, failed ones included.
    pub share: Option<f64>,
    /// Good answers a second.
    pub rps: f64,
}

/// Tokens, and whether their counts agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// In prompts, as `usage` says.
    pub prompt: u64,
    /// In answers: as `usage` says, and without it one for each chunk with a token.
    pub output: u64,
    /// Answers with `usage`: their counts are exact.
    pub with_usage: u64,
    /// Whole streams without it: their counts are by chunks.
    pub without_usage: u64,
    /// Streams whose chunks were not as many as the tokens in `usage`. Not wrong in itself: an engine may
    /// put several tokens in a chunk.
    pub counted_differs: u64,
    /// Answers that ended with `length` at another length than was asked for: tokens were lost, or came
    /// twice.
    pub asked_differs: u64,
}

/// Requests that waited for a replica to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ColdStarts {
    /// How many said so (`x-tidegate-cold-start: true`).
    pub requests: u64,
    /// Their time to the first token; to the end, where the answer was no stream.
    pub ttft_s: Percentiles,
    /// The wait the server expected for them (`x-tidegate-expected-wait-s`).
    pub expected_wait_s: Percentiles,
}

/// Requests of one model or priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Group {
    /// All that ended.
    pub requests: u64,
    /// Answered whole.
    pub ok: u64,
    /// Failed.
    pub failed: u64,
    /// Time to the first token.
    pub ttft_s: Percentiles,
    /// Time to the end.
    pub e2e_s: Percentiles,
}

/// A stretch of the time line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bin {
    /// Its start, in seconds from the run's.
    pub at_s: u64,
    /// Its length in seconds.
    pub seconds: u64,
    /// Requests due in it.
    pub due: u64,
    /// Answers that ended in it.
    pub ok: u64,
    /// Failures in it.
    pub failed: u64,
    /// The most in flight at one moment of it.
    pub in_flight_max: usize,
    /// The median time to the first token of those sent in it.
    pub ttft_p50_s: Option<f64>,
    /// The same, 95th percentile.
    pub ttft_p95_s: Option<f64>,
}

/// Cumulative distributions, for the charts: `[(seconds, share)]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Curves {
    pub(crate) ttft: Vec<(f64, f64)>,
    pub(crate) itl: Vec<(f64, f64)>,
    pub(crate) e2e: Vec<(f64, f64)>,
}

/// What came of a run. Times are those of whole answers, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Where requests went.
    pub url: String,
    /// How long the run took, the last answers included.
    pub seconds: f64,
    /// Whether it was ended before its time.
    pub interrupted: bool,
    /// Requests that ended: `ok` + `failed`.
    pub requests: u64,
    /// Answered whole.
    pub ok: u64,
    /// Failed, by any of `errors`.
    pub failed: u64,
    /// Given up in flight, because the run was ended.
    pub unfinished: u64,
    /// Whole streams with at least one token.
    pub streams: u64,
    /// The most in flight at one moment.
    pub in_flight_max: usize,
    /// Requests due a second.
    pub offered_rps: f64,
    /// Whole answers a second.
    pub ok_rps: f64,
    /// Failures by kind.
    pub errors: BTreeMap<String, u64>,
    /// The first failure of each kind, in words.
    pub examples: BTreeMap<String, String>,
    /// From sending to the first token; a comment or a role is no token.
    pub ttft_s: Percentiles,
    /// Between two chunks with tokens.
    pub itl_s: Percentiles,
    /// The mean time of a token after the first, one figure a stream.
    pub tpot_s: Percentiles,
    /// From sending to the end.
    pub e2e_s: Percentiles,
    /// As `ttft_s`, from when the request was due: what a late sender would otherwise hide.
    pub ttft_intended_s: Percentiles,
    /// As `e2e_s`, from when the request was due.
    pub e2e_intended_s: Percentiles,
    /// How late requests left: this program's own fault.
    pub send_lag_s: Percentiles,
    /// Answers within the objective.
    pub goodput: Goodput,
    /// Tokens, and whether their counts agree.
    pub tokens: Tokens,
    /// Requests that waited for a start.
    pub cold_starts: ColdStarts,
    /// By model.
    pub models: BTreeMap<String, Group>,
    /// By priority, where any was sent.
    pub priorities: BTreeMap<String, Group>,
    /// Second by second, or more coarsely for long runs.
    pub timeline: Vec<Bin>,
    #[serde(skip)]
    pub(crate) curves: Curves,
}

impl Report {
    /// The figures in a line or two, then times, failures, models.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for fact in self.facts() {
            let parts =
                if fact.note.is_empty() { fact.value } else { format!("{} ({})", fact.value, fact.note) };
            text.push_str(&format!("{:<12} {parts}\n", fact.name));
        }
        for table in
            [Some(self.times_table()), self.errors_table(), self.groups_table()].into_iter().flatten()
        {
            text.push('\n');
            text.push_str(&table.text());
        }
        text
    }

    /// The figures a reader looks for first.
    pub(crate) fn facts(&self) -> Vec<Fact> {
        let mut facts = vec![
            Fact::new("requests", self.requests).noted(format!("in {}", seconds(self.seconds))),
            Fact::new("ok", self.ok),
            Fact::new("failed", self.failed),
        ];
        if self.interrupted {
            facts.push(Fact::new("unfinished", self.unfinished).noted("the run was ended early"));
        }
        facts.extend(self.goodput_fact());
        facts.push(
            Fact::new("answered", format!("{}/s", count(self.ok_rps)))
                .noted(format!("{}/s were due", count(self.offered_rps))),
        );
        facts.push(Fact::new("in flight", self.in_flight_max).noted("at the most"));
        facts.push(self.tokens_fact());
        let cold = &self.cold_starts;
        if cold.requests > 0 {
            let half = |times: &Percentiles| times.p50.map_or_else(|| "–".to_owned(), seconds);
            facts.push(Fact::new("cold starts", cold.requests).noted(format!(
                "requests waited; TTFT p50 {}, expected wait p50 {}",
                half(&cold.ttft_s),
                half(&cold.expected_wait_s)
            )));
        }
        facts
    }

    fn goodput_fact(&self) -> Option<Fact> {
        let good = &self.goodput;
        let bound = |name: &str, bound: Option<f64>| bound.map(|it| format!("{name} ≤ {}", seconds(it)));
        let bounds: Vec<_> =
            [bound("TTFT", good.slo_ttft_s), bound("ITL", good.slo_itl_s)].into_iter().flatten().collect();
        let share = good.share.map_or_else(|| "–".to_owned(), share);
        let note = format!("{}/s with {}", count(good.rps), bounds.join(", "));
        (!bounds.is_empty()).then(|| Fact::new("goodput", share).noted(note))
    }

    fn tokens_fact(&self) -> Fact {
        let tokens = &self.tokens;
        let mut note = format!("in answers; {} in prompts", tokens.prompt);
        if tokens.without_usage > 0 {
            note.push_str(&format!("; {} streams without usage, counted by chunks", tokens.without_usage));
        }
        if tokens.asked_differs > 0 {
            note.push_str(&format!("; {} answers not of the length asked for", tokens.asked_differs));
        }
        Fact::new("tokens", tokens.output).noted(note)
    }

    /// Percentiles of each time.
    pub(crate) fn times_table(&self) -> Table {
        let right = |name| (name, Align::Right);
        let mut table = Table::new(&[
            ("", Align::Left),
            right("count"),
            right("p50"),
            right("p90"),
            right("p95"),
            right("p99"),
            right("max"),
        ]);
        let rows = [
            ("TTFT", &self.ttft_s),
            ("ITL", &self.itl_s),
            ("time per token", &self.tpot_s),
            ("end to end", &self.e2e_s),
            ("TTFT since due", &self.ttft_intended_s),
            ("end to end since due", &self.e2e_intended_s),
            ("sent late by", &self.send_lag_s),
        ];
        for (name, times) in rows {
            let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), seconds);
            let figures = [times.p50, times.p90, times.p95, times.p99, times.max].map(cell);
            table.row([name.to_owned(), times.count.to_string()].into_iter().chain(figures));
        }
        table
    }

    /// Failures by kind with an example of each; `None` without one.
    pub(crate) fn errors_table(&self) -> Option<Table> {
        let mut table = Table::new(&[
            ("failed", Align::Left),
            ("count", Align::Right),
            ("the first of them", Align::Left),
        ]);
        for (kind, count) in &self.errors {
            let example = self.examples.get(kind).cloned().unwrap_or_default();
            table.row([kind.clone(), count.to_string(), example]);
        }
        (!table.is_empty()).then_some(table)
    }

    /// Models and priorities; `None` for one model without priorities.
    pub(crate) fn groups_table(&self) -> Option<Table> {
        let right = |name| (name, Align::Right);
        let mut table = Table::new(&[
            ("of which", Align::Left),
            right("requests"),
            right("failed"),
            right("TTFT p50"),
            right("TTFT p95"),
            right("end to end p50"),
        ]);
        let models = self.models.iter().filter(|_| self.models.len() > 1);
        for (name, group) in models.chain(&self.priorities) {
            let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), seconds);
            table.row([
                name.clone(),
                group.requests.to_string(),
                group.failed.to_string(),
                cell(group.ttft_s.p50),
                cell(group.ttft_s.p95),
                cell(group.e2e_s.p50),
            ]);
        }
        (!table.is_empty()).then_some(table)
    }
}
