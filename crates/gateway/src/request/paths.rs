//! Which paths go to engines, which are answered here, and which nobody may ask for.

use http::Method;

use crate::sse::Dialect;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// An engine's: the body says which model's.
    Infer { dialect: Dialect, form: bool },
    /// The list of models.
    Models,
    /// One of them.
    Model(&'a str),
    /// Whether the process lives.
    Live,
    /// Whether it takes requests.
    Ready,
    /// Its metrics.
    Metrics,
    /// An engine's switchboard: not for clients.
    Forbidden,
    /// Known, but not with this method.
    Method(&'static str),
    /// Nothing we know.
    Unknown,
}

/// Paths by which engines are steered: to sleep, to other weights, to their end. A gateway that passed them
/// on would let any client take a model away from all others.
const FORBIDDEN: [&str; 26] = [
    "/sleep",
    "/wake_up",
    "/is_sleeping",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/load_lora_adapter",
    "/unload_lora_adapter",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/collective_rpc",
    "/start_profile",
    "/stop_profile",
    "/shutdown",
    "/slots",
    "/props",
    "/lora-adapters",
    "/flush_cache",
    "/update_weights_from_disk",
    "/update_weights_from_tensor",
    "/update_weights_from_distributed",
    "/release_memory_occupation",
    "/resume_memory_occupation",
    "/abort_request",
    "/set_internal_state",
    "/scale_elastic_ep",
    "/server_info",
];

/// Paths that go to engines, beside `/v1/chat/completions` and its like.
const PLAIN: [&str; 15] = [
    "/v1/embeddings",
    "/v1/rerank",
    "/v2/rerank",
    "/rerank",
    "/v1/score",
    "/score",
    "/v1/moderations",
    "/pooling",
    "/classify",
    "/tokenize",
    "/detokenize",
    "/completion",
    "/embedding",
    "/infill",
    "/v1/messages/count_tokens",
];

/// Tells what a request is for from its method and path.
pub(crate) fn route<'a>(method: &Method, path: &'a str) -> Route<'a> {
    let known = |route: Route<'a>, allowed: &'static str| {
        if method.as_str() == allowed || (allowed == "GET" && method == Method::HEAD) {
            route
        } else {
            Route::Method(allowed)
        }
    };
    match path {
        "/v1/chat/completions" | "/v1/completions" => infer(method, Dialect::OpenAi),
        "/v1/responses" => infer(method, Dialect::Responses),
        "/v1/messages" => infer(method, Dialect::Messages),
        "/v1/models" | "/models" => known(Route::Models, "GET"),
        "/health" | "/healthz" | "/livez" => known(Route::Live, "GET"),
        "/readyz" => known(Route::Ready, "GET"),
        "/metrics" => known(Route::Metrics, "GET"),
        _ if PLAIN.contains(&path) => infer(method, Dialect::Other),
        _ if is_forbidden(path) => Route::Forbidden,
        _ => match path.strip_prefix("/v1/models/") {
            Some(id) if !id.is_empty() => known(Route::Model(id), "GET"),
            Some(_) => Route::Unknown,
            None if is_media(path) => match infer(method, Dialect::Other) {
                Route::Infer { dialect, .. } => Route::Infer { dialect, form: true },
                other => other,
            },
            None => Route::Unknown,
        },
    }
}

fn infer(method: &Method, dialect: Dialect) -> Route<'static> {
    if method == Method::POST { Route::Infer { dialect, form: false } } else { Route::Method("POST") }
}

fn is_forbidden(path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    FORBIDDEN
        .iter()
        .any(|f| path.strip_prefix(f).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// `/v1/audio/…` and `/v1/images/…`, by plain names only: no dots, no escapes to climb out by.
fn is_media(path: &str) -> bool {
    ["/v1/audio/", "/v1/images/"].iter().filter_map(|prefix| path.strip_prefix(prefix)).any(|rest| {
        !rest.is_empty() && rest.len() <= 64 && rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_get_what_is_theirs_and_nothing_that_steers_them() {
        let post = |path| route(&Method::POST, path);
        assert_eq!(post("/v1/chat/completions"), Route::Infer { dialect: Dialect::OpenAi, form: false });
        assert_eq!(post("/v1/audio/transcriptions"), Route::Infer { dialect: Dialect::Other, form: true });
        for path in
            ["/sleep", "/sleep/", "/wake_up", "/v1/load_lora_adapter", "/slots/0", "/props", "/shutdown"]
        {
            assert_eq!(post(path), Route::Forbidden, "{path}");
        }
        for path in ["/v1/audio/../../sleep", "/v1/audio/%2e%2e", "//sleep", "/", "/v1/models/", "/v1/files"]
        {
            assert_eq!(post(path), Route::Unknown, "{path}");
        }
    }

    #[test]
    fn a_known_path_with_another_method_says_which_it_takes() {
        assert_eq!(route(&Method::GET, "/v1/chat/completions"), Route::Method("POST"));
        assert_eq!(route(&Method::POST, "/v1/models"), Route::Method("GET"));
        assert_eq!(route(&Method::GET, "/v1/models/a/b"), Route::Model("a/b"));
        assert_eq!(route(&Method::HEAD, "/health"), Route::Live);
    }
}
