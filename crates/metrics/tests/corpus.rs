//! The corpus of expositions: every page in `data/expositions` gives the signals in the file beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_metrics::exposition::Format;
use tidegate_metrics::gpu;
use tidegate_metrics::histogram::Histogram;
use tidegate_metrics::sample::{EngineSample, Reader, recognise};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/expositions")
}

#[expect(clippy::disallowed_methods, reason = "the corpus is a directory")]
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every golden file with its page, which stands beside it or, where it is a real one, a level up.
fn corpus() -> Vec<(String, String, String)> {
    let files = fs::read_dir(directory()).expect("the corpus is there");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("it can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "golden"));
    paths.sort();
    let one = |path: PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let beside = path.with_file_name(format!("{name}.txt"));
        let real = directory().join(format!("../{name}.txt"));
        let page = text(if beside.exists() { &beside } else { &real });
        (name, page, text(&path))
    };
    paths.into_iter().map(one).collect()
}

/// The signals of a page as a golden file has them.
fn signals(page: &str) -> String {
    let mut out = String::new();
    let gpus = gpu::read(page, Format::Text).expect("the page is sound");
    if !gpus.is_empty() {
        for ((uuid, slice), gpu) in &gpus {
            let slice =
                slice.as_ref().map_or("-".to_owned(), |slice| format!("{}/{}", slice.profile, slice.id));
            let or = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            let number = |value: Option<f64>| or(value.map(|value| value.to_string()));
            let _ = writeln!(
                out,
                "gpu {uuid} {slice} pod={} utilisation={} active={} used_mib={} free_mib={} xid={} idle={}",
                or(gpu.pod.clone()),
                number(gpu.utilisation),
                number(gpu.active),
                number(gpu.used_mib),
                number(gpu.free_mib),
                or(gpu.last_xid.map(|xid| xid.to_string())),
                or(gpu.is_idle().map(|idle| idle.to_string())),
            );
        }
        return out;
    }
    let engine = recognise(page, Format::Text).expect("the engine is recognised from the page");
    let _ = writeln!(out, "engine {}", engine.name());
    write_sample(&mut out, &Reader::new(engine).read(page, Format::Text).expect("it has signals"));
    out
}

fn write_sample(out: &mut String, sample: &EngineSample) {
    for (name, value) in [
        ("waiting", sample.waiting),
        ("running", sample.running),
        ("kv_use", sample.kv_use),
        ("kv_use_max", sample.kv_use_max),
        ("kv_capacity_tokens", sample.kv_capacity_tokens),
        ("prompt_tokens_total", sample.prompt_tokens_total),
        ("output_tokens_total", sample.output_tokens_total),
        ("finished_total", sample.finished_total),
        ("preempted_total", sample.preempted_total),
        ("prefix_hits_total", sample.prefix_hits_total),
        ("prefix_queries_total", sample.prefix_queries_total),
    ] {
        if let Some(value) = value {
            let _ = writeln!(out, "{name} {value}");
        }
    }
    let histogram = |out: &mut String, name: &str, histogram: &Option<Histogram>| {
        if let Some(histogram) = histogram {
            let _ = writeln!(out, "{name}_count {}\n{name}_sum {}", histogram.count(), histogram.sum());
        }
    };
    histogram(out, "ttft", &sample.ttft_s);
    histogram(out, "itl", &sample.itl_s);
    histogram(out, "queue", &sample.queue_s);
}

#[test]
fn every_page_of_the_corpus_gives_its_golden_signals() {
    let corpus = corpus();
    let unlike: Vec<String> = corpus
        .iter()
        .filter_map(|(name, page, golden)| {
            let found = signals(page);
            (found != *golden).then(|| format!("{name}: found\n{found}expected\n{golden}"))
        })
        .collect();
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
    assert!(corpus.len() >= 20, "{} pages", corpus.len());
}

#[test]
fn every_engine_has_a_page_and_every_written_page_says_its_source() {
    let corpus = corpus();
    for engine in ["vLLM", "SGLang", "TGI", "TensorRT-LLM", "Triton", "llama.cpp", "LMDeploy", "Dynamo"] {
        let line = format!("engine {engine}\n");
        assert!(corpus.iter().any(|(_, _, golden)| golden.starts_with(&line)), "no page of {engine}");
    }
    for file in fs::read_dir(directory()).expect("the corpus is there") {
        let path = file.expect("it can be read").path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            assert!(text(&path).starts_with("# Source: "), "{} does not say its source", path.display());
        }
    }
}
