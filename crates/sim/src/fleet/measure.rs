//! Counting while the run goes on.

use hdrhistogram::Histogram;
use tidegate_core::time::{Span, Time};

use super::outcome::{CHANGES_MAX, Change, Distribution, Little, Outcome, Refusals};
use super::setup::Setup;
use super::timeline::{Levels, Timeline};

/// A histogram of microseconds up to a week, to a thousandth: 20 KiB × 8 bytes. None could be made only if
/// its bounds were wrong.
#[derive(Debug)]
struct Times(Option<Histogram<u64>>);

impl Times {
    fn new() -> Times {
        Times(Histogram::new_with_bounds(1, 604_800_000_000, 3).ok())
    }

    fn add(&mut self, span: Span) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(span.as_micros().max(1).unsigned_abs());
        }
    }

    fn distribution(&self) -> Distribution {
        let Some(histogram) = self.0.as_ref().filter(|histogram| !histogram.is_empty()) else {
            return Distribution::default();
        };
        let at = |share: f64| histogram.value_at_quantile(share) as f64 / 1e6;
        Distribution {
            count: histogram.len(),
            mean: histogram.mean() / 1e6,
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            max: histogram.max() as f64 / 1e6,
        }
    }

    /// Value and share up to it, at every two hundredth and finer at the end.
    fn cdf(&self) -> Vec<(f64, f64)> {
        let Some(histogram) = self.0.as_ref().filter(|histogram| !histogram.is_empty()) else {
            return Vec::new();
        };
        let shares = (0..=200).map(|part| f64::from(part) / 200.0);
        let mut shares: Vec<f64> = shares.chain([0.998, 0.999, 0.9995, 0.9999]).collect();
        shares.sort_by(f64::total_cmp);
        shares.into_iter().map(|share| (histogram.value_at_quantile(share) as f64 / 1e6, share)).collect()
    }
}

/// Why a request was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    HoldFull,
    WaitedTooLong,
    TooLong,
    Failed,
    AtTheEnd,
}

/// A request that was answered whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) arrived: Time,
    pub(super) first: Time,
    pub(super) ended: Time,
    pub(super) output_tokens: u32,
}

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Measures {
    slo_ttft: Span,
    slo_itl: Option<Span>,
    gpus: u32,
    ttft: Times,
    itl: Times,
    e2e: Times,
    pub(super) requests: u64,
    good: u64,
    lost: Refusals,
    /// Stretches in which replicas held GPUs and that ended after the last arrival so far.
    held: Vec<(Time, Time)>,
    held_us: i128,
    held_now: u32,
    pub(super) replicas_max: u32,
    pub(super) scale_actions: u64,
    pub(super) starts: u64,
    pub(super) starts_wasted: u64,
    pub(super) losses: u64,
    pub(super) preemptions: u64,
    pub(super) events: u64,
    pub(super) iterations: u64,
    area_us: i128,
    sojourn_us: i128,
    counted: (Time, u64),
    pub(super) timeline: Timeline,
    changes: Vec<Change>,
    pub(super) last_arrival: Time,
}

impl Measures {
    pub(super) fn new(setup: &Setup) -> Measures {
        Measures {
            slo_ttft: setup.slo_ttft,
            slo_itl: setup.slo_itl,
            gpus: setup.profile.gpus,
            ttft: Times::new(),
            itl: Times::new(),
            e2e: Times::new(),
            requests: 0,
            good: 0,
            lost: Refusals::default(),
            held: Vec::new(),
            held_us: 0,
            held_now: 0,
            replicas_max: 0,
            scale_actions: 0,
            starts: 0,
            starts_wasted: 0,
            losses: 0,
            preemptions: 0,
            events: 0,
            iterations: 0,
            area_us: 0,
            sojourn_us: 0,
            counted: (Time::ORIGIN, 0),
            timeline: Timeline::default(),
            changes: Vec::new(),
            last_arrival: Time::ORIGIN,
        }
    }

    /// How many requests there are from now on, by the route machine's count.
    pub(super) fn count(&mut self, now: Time, requests: u64) {
        let (since, count) = self.counted;
        self.area_us += i128::from(now.since(since).as_micros()) * i128::from(count);
        self.counted = (now, requests);
    }

    pub(super) fn arrived(&mut self, now: Time, work_s: f64) {
        self.requests += 1;
        self.last_arrival = now;
        self.timeline.arrived(now, work_s);
    }

    pub(super) fn first_token(&mut self, now: Time, arrived: Time) {
        let ttft = now.since(arrived);
        self.ttft.add(ttft);
        self.timeline.first_token(now, ttft);
    }

    pub(super) fn answered(&mut self, answered: &Answered) {
        let Answered { arrived, first, ended, output_tokens } = *answered;
        self.sojourn_us += i128::from(ended.since(arrived).as_micros());
        self.e2e.add(ended.since(arrived));
        let mut good = first.since(arrived) <= self.slo_ttft;
        if output_tokens > 1 {
            let itl = Span::from_micros(ended.since(first).as_micros() / i64::from(output_tokens - 1));
            self.itl.add(itl);
            good &= self.slo_itl.is_none_or(|most| itl <= most);
        }
        if good {
            self.good += 1;
        } else {
            self.timeline.missed(arrived);
        }
    }

    pub(super) fn lost(&mut self, now: Time, arrived: Time, why: Loss) {
        self.sojourn_us += i128::from(now.since(arrived).as_micros());
        self.timeline.missed(arrived);
        *match why {
            Loss::HoldFull => &mut self.lost.hold_full,
            Loss::WaitedTooLong => &mut self.lost.waited_too_long,
            Loss::TooLong => &mut self.lost.too_long,
            Loss::Failed => &mut self.lost.failed,
            Loss::AtTheEnd => &mut self.lost.at_the_end,
        } += 1;
    }

    /// A replica took its GPUs.
    pub(super) fn holds(&mut self) {
        self.held_now += 1;
        self.replicas_max = self.replicas_max.max(self.held_now);
    }

    /// A replica gave them back.
    ///
    /// Past the last arrival nothing is paid: every policy then only finishes. Whether a stretch is past it
    /// is known only when another request comes, so until then it is kept.
    pub(super) fn held(&mut self, from: Time, to: Time) {
        self.held_now -= 1;
        self.held.push((from, to));
        let last = self.last_arrival;
        let mut sum = 0;
        self.held.retain(|(from, to)| {
            let over = *to <= last;
            sum += if over { i128::from(to.since(*from).as_micros()) } else { 0 };
            !over
        });
        self.held_us += sum;
    }

    pub(super) fn change(&mut self, now: Time, from: u32, to: u32, because: String) {
        self.scale_actions += 1;
        if self.changes.len() < CHANGES_MAX {
            self.changes.push(Change { t_s: now.as_secs_f64(), from, to, because });
        }
    }

    pub(super) fn levels(&mut self, now: Time, levels: Levels) {
        self.timeline.levels(now, levels);
    }

    /// The outcome; every request is over and every replica has given back its GPUs.
    pub(super) fn outcome(mut self, policy: String, seed: u64, remarks: Vec<String>) -> Outcome {
        let last = self.last_arrival;
        for (from, to) in std::mem::take(&mut self.held) {
            self.held_us += i128::from(to.min(last).since(from).as_micros().max(0));
        }
        let span_s = last.as_secs_f64();
        let replica_s = self.held_us as f64 / 1e6;
        Outcome {
            policy,
            seed,
            requests: self.requests,
            unfinished: self.lost.total(),
            refused: self.lost,
            slo_attainment: self.good as f64 / self.requests.max(1) as f64,
            ttft_s: self.ttft.distribution(),
            itl_s: self.itl.distribution(),
            e2e_s: self.e2e.distribution(),
            gpu_hours: replica_s * f64::from(self.gpus) / 3_600.0,
            replicas_max: self.replicas_max,
            replicas_mean: if span_s > 0.0 { replica_s / span_s } else { 0.0 },
            scale_actions: self.scale_actions,
            starts: self.starts,
            starts_wasted: self.starts_wasted,
            losses: self.losses,
            preemptions: self.preemptions,
            events: self.events + self.iterations,
            iterations: self.iterations,
            span_s,
            little: Little { area_s: self.area_us as f64 / 1e6, sojourn_s: self.sojourn_us as f64 / 1e6 },
            remarks,
            ttft_cdf: self.ttft.cdf(),
            itl_cdf: self.itl.cdf(),
            timeline: self.timeline,
            changes: self.changes,
        }
    }
}
