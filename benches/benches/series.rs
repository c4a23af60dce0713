//! What the series store costs: bytes a sample, and a query over a thousand series.
//!
//! The store holds 1,000 series of 900 samples, 15 minutes of seconds, each second late or early by some
//! milliseconds as scrapes are: a third of them gauges at rest, a third counters of tokens, a third
//! floats that change each time. The query is the one of most fleets, `sum(rate(x[2m]))`, over counters.
//!
//! `cargo bench -p tidegate-benches --bench series`
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::hint::black_box;

use tidegate_metrics::eval::compile_any;
use tidegate_metrics::store::{Series, Store};

const SERIES: usize = 1_000;
const SAMPLES: i64 = 900;
const RUNS: usize = 31;
const BAR_MS: f64 = 2.0;
const START_MS: i64 = 1_700_000_000_000;

/// CPU time of this thread so far, in seconds: on a shared machine the clock says more of the others.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split_whitespace().next().and_then(|field| field.parse::<f64>().ok());
    nanoseconds.unwrap_or(f64::NAN) / 1e9
}

/// Late or early by up to 8 ms, the same in every run.
fn at_ms(series: usize, sample: i64) -> i64 {
    let mixed = (series as u64 * 7919 + sample as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
    START_MS + sample * 1000 + mixed as i64 - 8
}

fn filled(value: impl Fn(usize, i64) -> f64) -> Store {
    let mut store = Store::new();
    for series in 0..SERIES {
        let (pod, instance) =
            (format!("chat-{series}"), format!("10.0.{}.{}:8000", series / 250, series % 250));
        let labels = [
            ("__name__", "x"),
            ("pod", pod.as_str()),
            ("namespace", "llm"),
            ("deployment", "chat"),
            ("job", "chat"),
            ("instance", instance.as_str()),
            ("model_name", "llama-70b"),
            ("engine", "0"),
        ];
        for sample in 0..SAMPLES {
            store.push(&labels, at_ms(series, sample), value(series, sample));
        }
    }
    store
}

fn resting(series: usize, sample: i64) -> f64 {
    ((series as i64 + sample / 60) % 9) as f64
}

fn counted(series: usize, sample: i64) -> f64 {
    (sample * (40 + series as i64 % 200)) as f64
}

fn changing(series: usize, sample: i64) -> f64 {
    ((series as f64) + (sample as f64) / 7.0).sin()
}

fn figures(name: &str, store: &Store) {
    let samples: usize = store.all().map(Series::samples).sum();
    let bytes = store.bytes();
    println!("{name:<34} {:>10.2} {:>12.2} {samples:>10}", bytes as f64 / samples as f64, bytes as f64 / 1e6);
}

fn main() {
    println!("{SERIES} series of {SAMPLES} samples, a second apart give or take 8 ms");
    println!("{:<34} {:>10} {:>12} {:>10}", "", "B a sample", "MB in all", "samples");
    figures("gauges at rest", &filled(resting));
    figures("floats that change each time", &filled(changing));
    let begin = cpu_s();
    let counters = filled(counted);
    let pushed = (cpu_s() - begin) * 1e9 / (SERIES as f64 * SAMPLES as f64);
    figures("counters of tokens", &counters);
    figures(
        "a third of each",
        &filled(|series, sample| match series % 3 {
            0 => resting(series, sample),
            1 => counted(series, sample),
            _ => changing(series, sample),
        }),
    );
    println!("{pushed:.0} ns of CPU a sample written with its labels");

    let now_ms = START_MS + SAMPLES * 1000 - 300;
    let mut held = true;
    println!("queries over {SERIES} series; CPU time, median of {RUNS}");
    for text in [
        "sum(rate(x[2m]))",
        "sum(x)",
        "sum by (pod) (rate(x[2m]))",
        "topk(5, increase(x[10m]))",
        "max_over_time(sum(x)[5m:15s])",
    ] {
        let query = compile_any(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut runs: Vec<f64> = (0..RUNS)
            .map(|_| {
                let begin = cpu_s();
                let answer = query.evaluate(black_box(&counters), now_ms);
                black_box(answer.unwrap_or_else(|error| panic!("{text}: {error}")));
                (cpu_s() - begin) * 1e3
            })
            .collect();
        runs.sort_by(f64::total_cmp);
        println!("{text:<34} {:>10.2} ms", runs[RUNS / 2]);
        held &= text != "sum(rate(x[2m]))" || runs[RUNS / 2] <= BAR_MS;
    }
    println!("bar: {BAR_MS} ms for sum(rate(x[2m]))");
    println!("{}", if held { "held" } else { "MISSED" });
}
