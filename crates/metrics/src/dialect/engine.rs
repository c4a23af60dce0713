//! Which engine wrote a metric, or sits in an image, and how to reach it.
//!
//! Manifests rarely say which engine they run; the metric prefix and the image name do.

/// A program whose `/metrics` we know by heart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Engine {
    /// vLLM, V1 engine.
    Vllm,
    /// SGLang.
    Sglang,
    /// Hugging Face text-generation-inference.
    Tgi,
    /// TensorRT-LLM's own server, `trtllm-serve`.
    TensorRtLlm,
    /// Triton inference server, with or without the TensorRT-LLM backend.
    Triton,
    /// The llama.cpp server.
    LlamaCpp,
    /// LMDeploy's `api_server`.
    Lmdeploy,
    /// NVIDIA Dynamo: its frontend and its workers.
    Dynamo,
    /// NVIDIA's DCGM exporter: one a node, about GPUs rather than requests.
    Dcgm,
}

/// Prefixes on the wire. The second form is what paths that cannot carry a colon turn the first into.
const PREFIXES: &[(&str, Engine)] = &[
    ("vllm:", Engine::Vllm),
    ("vllm_", Engine::Vllm),
    ("sglang:", Engine::Sglang),
    ("sglang_", Engine::Sglang),
    ("tgi_", Engine::Tgi),
    ("trtllm_", Engine::TensorRtLlm),
    ("nv_trt_llm_", Engine::Triton),
    ("nv_inference_", Engine::Triton),
    ("llamacpp:", Engine::LlamaCpp),
    ("llamacpp_", Engine::LlamaCpp),
    ("lmdeploy:", Engine::Lmdeploy),
    ("lmdeploy_", Engine::Lmdeploy),
    ("dynamo_", Engine::Dynamo),
    ("DCGM_FI_", Engine::Dcgm),
];

/// Parts of an image's repository path, first match wins: a Dynamo image may carry vLLM's name, and
/// Triton's may carry TensorRT-LLM's.
const IMAGES: &[(&str, Engine)] = &[
    ("dynamo", Engine::Dynamo),
    ("dcgm-exporter", Engine::Dcgm),
    ("tritonserver", Engine::Triton),
    ("tensorrt-llm", Engine::TensorRtLlm),
    ("tensorrt_llm", Engine::TensorRtLlm),
    ("trtllm", Engine::TensorRtLlm),
    ("sglang", Engine::Sglang),
    ("text-generation-inference", Engine::Tgi),
    ("pytorch-tgi-inference", Engine::Tgi),
    ("llama.cpp", Engine::LlamaCpp),
    ("llama-cpp", Engine::LlamaCpp),
    ("llamacpp", Engine::LlamaCpp),
    ("lmdeploy", Engine::Lmdeploy),
    ("vllm", Engine::Vllm),
    ("llm-d-cuda", Engine::Vllm),
    ("llm-d-inference-sim", Engine::Vllm),
];

/// Companions that carry an engine's name and serve no model.
const NOT_ENGINES: &[&str] =
    &["router", "gateway", "operator", "controller", "scheduler", "epp", "lmcache", "dashboard"];

impl Engine {
    /// Every engine, in declaration order.
    pub const ALL: [Engine; 9] = [
        Engine::Vllm,
        Engine::Sglang,
        Engine::Tgi,
        Engine::TensorRtLlm,
        Engine::Triton,
        Engine::LlamaCpp,
        Engine::Lmdeploy,
        Engine::Dynamo,
        Engine::Dcgm,
    ];

    /// The name people use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Engine::Vllm => "vLLM",
            Engine::Sglang => "SGLang",
            Engine::Tgi => "TGI",
            Engine::TensorRtLlm => "TensorRT-LLM",
            Engine::Triton => "Triton",
            Engine::LlamaCpp => "llama.cpp",
            Engine::Lmdeploy => "LMDeploy",
            Engine::Dynamo => "Dynamo",
            Engine::Dcgm => "DCGM exporter",
        }
    }

    /// The engine whose prefix `name` carries.
    ///
    /// A name with a second colon (`vllm:num_requests_waiting:sum`) is a recording rule's, so
    /// nobody but its author can say what it is.
    #[must_use]
    pub fn of_metric(name: &str) -> Option<Engine> {
        if name.matches(':').count() > 1 {
            return None;
        }
        PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|&(_, engine)| engine)
    }

    /// The engine in a container image, judged by its repository path; registry host, tag and
    /// digest are ignored.
    #[must_use]
    pub fn of_image(image: &str) -> Option<Engine> {
        let path = repository_path(image).to_ascii_lowercase();
        let last = path.rsplit('/').next().unwrap_or(&path);
        if NOT_ENGINES.iter().any(|word| last.split(['-', '_', '.']).any(|part| part == *word)) {
            return None;
        }
        IMAGES.iter().find(|(part, _)| path.contains(part)).map(|&(_, engine)| engine)
    }

    /// The path that answers 200 once requests can be served. vLLM's refuses connections and
    /// llama.cpp's answers 503 until the model is loaded.
    #[must_use]
    pub const fn health_path(self) -> &'static str {
        match self {
            Engine::Triton => "/v2/health/ready",
            _ => "/health",
        }
    }

    /// Where the metrics are. `trtllm-serve` answers `/metrics` too, with JSON.
    #[must_use]
    pub const fn metrics_path(self) -> &'static str {
        match self {
            Engine::TensorRtLlm => "/prometheus/metrics",
            _ => "/metrics",
        }
    }

    /// The argument without which the engine serves no metrics at all.
    #[must_use]
    pub const fn metrics_flag(self) -> Option<&'static str> {
        match self {
            Engine::Sglang | Engine::Lmdeploy => Some("--enable-metrics"),
            Engine::LlamaCpp => Some("--metrics"),
            _ => None,
        }
    }
}

fn repository_path(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let (rest, last) = image.rsplit_once('/').unwrap_or(("", image));
    let name_end = last.find(':').unwrap_or(last.len());
    let untagged = &image[..image.len() - last.len() + name_end];
    match rest.split_once('/').map_or(rest, |(host, _)| host) {
        host if host.contains(['.', ':']) || host == "localhost" => {
            untagged[host.len()..].trim_start_matches('/')
        }
        _ => untagged,
    }
}
