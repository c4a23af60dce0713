//! What is told of a query, as tables: queries people use, and queries meant to hurt.

use tidegate_metrics::promql::{Aggregation, AtZero, Error, MatchOp, Query, Shape, parse};

fn query(text: &str) -> Query {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

const TGI_MEAN: &str = r#"sum(tgi_request_queue_size{pod=~"llama3-inference-service-.*"})
/ count(tgi_request_queue_size{pod=~"llama3-inference-service-.*"})"#;
const HOME_MADE_RATE: &str =
    "rate(llm_inference_requests_total{\n  model=\"llama-13b\",\n  status=\"success\"\n}[2m])";
const GPU_MEMORY: &str = "avg(nvidia_gpu_memory_used_bytes / nvidia_gpu_memory_total_bytes * 100)";
const VLLM_WAITING: &str = r#"sum(vllm:num_requests_waiting{deployment="vllm-llama-8b"})"#;
const VLLM_KV: &str = r#"avg(vllm:gpu_cache_usage_perc{deployment="vllm-llama-8b"})"#;

#[test]
fn the_shape_says_how_many_series_can_come_back() {
    use Shape::{AtMostOne, Many, Matrix, Scalar, String};
    let cases = [
        (TGI_MEAN, AtMostOne),
        (HOME_MADE_RATE, Many),
        (GPU_MEMORY, AtMostOne),
        (VLLM_WAITING, AtMostOne),
        (VLLM_KV, AtMostOne),
        ("1", Scalar),
        ("1 + 2 * 3", Scalar),
        ("time()", Scalar),
        ("scalar(sum(a))", Scalar),
        ("-scalar(a)", Scalar),
        ("\"text\"", String),
        ("a[5m]", Matrix),
        ("a[5m:1m]", Matrix),
        ("a", Many),
        ("{__name__=\"a\"}", Many),
        ("a{pod=\"x\"}", Many),
        ("rate(a[2m])", Many),
        ("sum(rate(a[2m]))", AtMostOne),
        ("sum(rate(a[2m])) by (x)", Many),
        ("sum by (x) (a)", Many),
        ("sum by () (a)", AtMostOne),
        ("sum without (x) (a)", Many),
        ("sum by (model_name) (a{model_name=\"m\"})", AtMostOne),
        ("sum by (model_name, pod) (a{model_name=\"m\"})", Many),
        ("sum by (model_name) (a{model_name=~\"m\"})", Many),
        ("sum(sum by (x) (a))", AtMostOne),
        ("max by (y) (sum by (x) (a))", AtMostOne),
        ("sum without (x) (sum by (x) (a))", AtMostOne),
        ("sum without (x) (sum by (x, y) (a))", Many),
        ("vector(1)", AtMostOne),
        ("hour()", AtMostOne),
        ("absent(a)", AtMostOne),
        ("absent_over_time(a[5m])", AtMostOne),
        ("topk(1, a)", AtMostOne),
        ("topk(2, a)", Many),
        ("topk(1, a) by (x)", Many),
        ("bottomk(3, sum(a))", AtMostOne),
        ("count_values(\"v\", a)", Many),
        ("quantile(0.9, a)", AtMostOne),
        ("histogram_quantile(0.9, sum by (le) (rate(a_bucket[5m])))", AtMostOne),
        ("histogram_quantile(0.9, sum by (le, model) (rate(a_bucket[5m])))", Many),
        ("histogram_quantile(0.9, sum by (le, model) (rate(a_bucket{model=\"m\"}[5m])))", AtMostOne),
        ("histogram_quantile(0.9, rate(a_bucket[5m]))", Many),
        ("sum(a) / sum(b)", AtMostOne),
        ("sum(a) / scalar(sum(b))", AtMostOne),
        ("sum(a) * 100", AtMostOne),
        ("100 - sum(a)", AtMostOne),
        ("a / b", Many),
        ("a / on () b", AtMostOne),
        ("a / on (pod) b", Many),
        ("a / on (pod) group_left () b", Many),
        ("sum(a) * on () group_left () b", AtMostOne),
        ("a * on () group_left () sum(b)", Many),
        ("sum by (x) (a) / sum by (x) (b)", Many),
        ("sum(a) > 5", AtMostOne),
        ("a > 5", Many),
        ("5 < sum(a)", AtMostOne),
        ("sum(a) > bool 5", AtMostOne),
        ("sum(a) or vector(0)", AtMostOne),
        ("(sum(a)) or on () vector(0)", AtMostOne),
        ("a or vector(0)", Many),
        ("topk(1, a) or vector(0)", Many),
        ("topk(1, a) or on () vector(0)", AtMostOne),
        ("sum(a) or sum(b)", AtMostOne),
        ("sum(a) and sum(b)", AtMostOne),
        ("a unless b", Many),
        ("sum(a) unless b", AtMostOne),
    ];
    for (text, shape) in cases {
        assert_eq!(query(text).shape(), shape, "{text}");
    }
}

#[test]
fn a_function_keeps_the_shape_of_what_it_is_given() {
    use Shape::{AtMostOne, Many};
    let cases = [
        ("max_over_time(sum(a)[5m:])", AtMostOne),
        ("max_over_time(sum by (x) (a)[5m:])", Many),
        ("label_replace(sum(a), \"x\", \"y\", \"\", \"\")", AtMostOne),
        ("label_replace(a, \"x\", \"y\", \"\", \"\")", Many),
        ("clamp_min(sum(a), 1)", AtMostOne),
        ("ceil(sum(a) / 10)", AtMostOne),
        ("sort_desc(sum by (x) (a))", Many),
        ("sum(a @ 1609746000)", AtMostOne),
    ];
    for (text, shape) in cases {
        assert_eq!(query(text).shape(), shape, "{text}");
    }
}

#[test]
fn the_aggregation_tells_a_total_from_a_mean() {
    use Aggregation::{Constant, Extreme, Mean, PerSeries, Ratio, Statistic, Total, Unknown};
    let cases = [
        (TGI_MEAN, Mean),
        (HOME_MADE_RATE, PerSeries),
        (GPU_MEMORY, Mean),
        (VLLM_WAITING, Total),
        (VLLM_KV, Mean),
        ("sum(a)", Total),
        ("((sum(a)))", Total),
        ("sum by (x) (a)", Total),
        ("count(a)", Total),
        ("sum(a) + sum(b)", Total),
        ("sum(a) * 2", Total),
        ("2 * sum(a) / 3", Total),
        ("sum(a) or vector(0)", Total),
        ("clamp_max(sum(a), 10)", Total),
        ("ceil(sum(rate(a[1m])))", Total),
        ("scalar(sum(a))", Total),
        ("max_over_time(sum(a)[5m:])", Total),
        ("max(sum(a))", Total),
        ("avg(sum(a))", Total),
        ("sum(a) > 5", Total),
        ("5 < sum(a)", Total),
        ("sum(a) and sum(b)", Total),
        ("avg(a) * count(a)", Total),
        ("-sum(a)", Total),
        ("avg(a)", Mean),
        ("avg by (x) (a)", Mean),
        ("avg(a) * 100", Mean),
        ("avg(sum by (pod) (a))", Mean),
        ("sum(a) / count(b)", Mean),
        ("sum(a) / scalar(count(a))", Mean),
        ("sum(a) / sum(up{job=\"vllm\"})", Mean),
        ("sum(a) / (count(up == 1) or vector(1))", Mean),
        ("sum(a) / max(kube_deployment_status_replicas{deployment=\"x\"})", Mean),
        ("sum(a) / clamp_min(count(a), 1)", Mean),
        ("max(a)", Extreme),
        ("min(a)", Extreme),
        ("quantile(0.9, a)", Extreme),
        ("topk(1, a)", Extreme),
        ("max(sum by (pod) (a))", Extreme),
        ("histogram_quantile(0.95, sum by (le) (rate(a_bucket[5m])))", Statistic),
        ("sum(rate(a_sum[5m])) / sum(rate(a_count[5m]))", Statistic),
        ("stddev(a)", Statistic),
        ("sum(rate(errors[5m])) / sum(rate(requests[5m]))", Ratio),
        ("a / b", Ratio),
        ("sum(a) / sum(b) * 100", Ratio),
        ("a", PerSeries),
        ("rate(a[1m])", PerSeries),
        ("label_replace(a, \"x\", \"y\", \"\", \"\")", PerSeries),
        ("1", Constant),
        ("vector(1)", Constant),
        ("time() - 5", Constant),
        ("absent(a)", Constant),
        ("sum(a) > bool 5", Unknown),
        ("sum(a) + avg(b)", Unknown),
        ("1 / sum(a)", Unknown),
        ("max(a) / count(a)", Unknown),
        ("exp(sum(a))", Unknown),
    ];
    for (text, aggregation) in cases {
        assert_eq!(query(text).aggregation(), aggregation, "{text}");
    }
}

#[test]
fn a_query_over_the_replicas_own_metrics_is_empty_at_zero() {
    // text, empty at zero, guarded, only seen from replicas
    let cases = [
        (TGI_MEAN, true, false, true),
        (VLLM_WAITING, true, false, true),
        (VLLM_KV, true, false, true),
        (HOME_MADE_RATE, false, false, false),
        (GPU_MEMORY, false, false, false),
        ("sum(vllm:num_requests_waiting) or vector(0)", false, true, true),
        ("sum(vllm:num_requests_waiting) or on () vector(0)", false, true, true),
        ("(sum(vllm:num_requests_waiting) or vector(0)) + sum(vllm:num_requests_running)", true, false, true),
        (
            "(sum(vllm:num_requests_waiting) or vector(0)) + (sum(vllm:num_requests_running) or vector(0))",
            false,
            true,
            true,
        ),
        ("sum(vllm:num_requests_waiting or vector(0))", false, true, true),
        ("absent(vllm:num_requests_waiting)", false, true, true),
        ("absent(vllm:num_requests_waiting) unless vector(1)", true, false, true),
        ("scalar(sum(vllm:num_requests_waiting))", false, true, true),
        ("sum(vllm:num_requests_waiting) or sum(vllm:num_requests_running)", true, false, true),
        ("sum(vllm:num_requests_waiting) and vector(1)", true, false, true),
        ("count(vllm:num_requests_waiting)", true, false, true),
        ("sum(vllm_num_requests_waiting)", true, false, true),
        ("sum({__name__=\"vllm:num_requests_waiting\"})", true, false, true),
        ("sum(sglang:no_such_metric)", true, false, true),
        ("sum(dynamo_frontend_queued_requests)", false, false, false),
        ("sum(dynamo_frontend_no_such_metric)", false, false, false),
        ("sum(dynamo_component_inflight_requests)", true, false, true),
        ("sum(rate(vllm:num_incoming_requests_total[1m]))", false, false, false),
        ("avg(DCGM_FI_DEV_GPU_UTIL)", false, false, false),
        ("avg(DCGM_FI_DEV_GPU_UTIL{pod=~\"vllm.*\"})", true, false, true),
        ("avg(DCGM_FI_DEV_GPU_UTIL{exported_pod=~\"vllm.*\"})", true, false, true),
        ("sum(vllm:num_requests_waiting) / sum(up)", false, false, false),
        ("sum({job=\"vllm\"})", false, false, false),
        ("vector(1)", false, false, false),
        ("1", false, false, false),
    ];
    for (text, empty, guarded, replicas_only) in cases {
        let query = query(text);
        let told = (query.empty_at_zero_replicas(), query.guarded(), query.only_seen_from_replicas());
        assert_eq!(told, (empty, guarded, replicas_only), "{text}");
    }
}

#[test]
fn the_value_a_guard_gives_is_computed() {
    let cases = [
        ("sum(a)", AtZero::Nothing),
        ("sum(a) or vector(0)", AtZero::Value(Some(0.0))),
        ("sum(a) or vector(1)", AtZero::Value(Some(1.0))),
        ("(sum(a) or vector(2)) * 3 - 1", AtZero::Value(Some(5.0))),
        ("-(sum(a) or vector(2))", AtZero::Value(Some(-2.0))),
        ("(sum(a) or vector(0)) / (sum(b) or vector(0))", AtZero::Value(None)),
        ("absent(a)", AtZero::Value(Some(1.0))),
        ("absent(a) * 5", AtZero::Value(Some(5.0))),
        ("sum(a) or vector(time())", AtZero::Value(None)),
        ("scalar(a)", AtZero::Value(None)),
        ("vector(Inf)", AtZero::Value(None)),
    ];
    for (text, value) in cases {
        assert_eq!(query(text).at_zero(), value, "{text}");
    }
}

#[test]
fn the_range_of_a_value_follows_from_the_tables() {
    let cases = [
        ("avg(vllm:kv_cache_usage_perc)", Some((0.0, Some(1.0)))),
        (VLLM_KV, Some((0.0, Some(1.0)))),
        ("max(vllm_kv_cache_usage_perc) * 100", Some((0.0, Some(100.0)))),
        ("100 * avg(vllm:kv_cache_usage_perc)", Some((0.0, Some(100.0)))),
        ("1 - avg(vllm:kv_cache_usage_perc)", Some((0.0, Some(1.0)))),
        ("avg(avg_over_time(vllm:kv_cache_usage_perc[5m]))", Some((0.0, Some(1.0)))),
        ("quantile(0.9, sglang:token_usage)", Some((0.0, Some(1.0)))),
        ("sum(vllm:kv_cache_usage_perc)", Some((0.0, None))),
        ("sum(vllm:kv_cache_usage_perc) / count(vllm:kv_cache_usage_perc)", Some((0.0, Some(1.0)))),
        ("sum(vllm:kv_cache_usage_perc) / count(vllm:num_requests_waiting)", Some((0.0, None))),
        ("avg(vllm:kv_cache_usage_perc) or vector(0)", Some((0.0, Some(1.0)))),
        ("avg(vllm:kv_cache_usage_perc) or vector(3)", Some((0.0, Some(3.0)))),
        ("avg(DCGM_FI_DEV_GPU_UTIL)", Some((0.0, Some(100.0)))),
        ("avg(DCGM_FI_DEV_GPU_UTIL) / 100", Some((0.0, Some(1.0)))),
        ("sum(vllm:num_requests_waiting)", Some((0.0, None))),
        ("avg(vllm:num_requests_waiting)", Some((0.0, None))),
        ("sum(vllm:num_requests_running)", Some((0.0, None))),
        ("clamp_max(sum(vllm:num_requests_waiting), 10)", Some((0.0, Some(10.0)))),
        ("clamp(sum(a), 1, 10)", Some((1.0, Some(10.0)))),
        ("rate(a[5m])", Some((0.0, None))),
        ("sum(a) > bool 3", Some((0.0, Some(1.0)))),
        ("avg(vllm:kv_cache_usage_perc) > 0.5", Some((0.0, Some(1.0)))),
        (
            "histogram_quantile(0.9, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket[5m])))",
            Some((0.0, None)),
        ),
        ("5", Some((5.0, Some(5.0)))),
        ("count(a)", Some((1.0, None))),
        ("-avg(vllm:kv_cache_usage_perc)", Some((-1.0, Some(-0.0)))),
        ("a", None),
        (TGI_MEAN, None),
        (GPU_MEMORY, None),
        ("avg(vllm:num_requests_running)", None),
        ("delta(vllm:kv_cache_usage_perc[5m])", None),
        ("sum(vllm:num_requests_waiting) - sum(vllm:num_requests_running)", None),
    ];
    for (text, range) in cases {
        assert_eq!(query(text).value_range(), range, "{text}");
    }
}

#[test]
fn a_mean_of_running_requests_is_capped_by_the_slots() {
    let cases = [
        ("avg(llamacpp:requests_processing)", true),
        ("max(vllm:num_requests_running)", true),
        ("sum(vllm:num_requests_running) / count(vllm:num_requests_running)", true),
        ("avg(vllm:num_requests_running) * 2 or vector(0)", true),
        ("ceil(avg(sglang:num_running_reqs))", true),
        ("vllm:num_requests_running", true),
        ("sum(llamacpp:requests_processing)", false),
        ("avg(vllm:num_requests_running) + avg(vllm:num_requests_waiting)", false),
        ("clamp_max(avg(vllm:num_requests_running), 5)", false),
        ("avg(llamacpp:requests_deferred)", false),
        ("avg(vllm:num_requests_running) or sum(a)", false),
    ];
    for (text, capped) in cases {
        assert_eq!(query(text).capped_by_slots(), capped, "{text}");
    }
}

#[test]
fn selectors_come_with_matchers_windows_and_places() {
    assert!(parse("a @ 5 [1h]").is_err(), "a window belongs before `@`");
    let text = r#"sum by (vllm) (rate(a:b{x="1", y!~"é.*"}[2m] offset 1m))
        / on (x) max_over_time(c{job=~"j"}[1h] @ 5) or {d="e"}"#;
    let query = query(text);
    let [first, second, third] = query.selectors() else { panic!("three selectors in {text}") };
    let place = |span: &Option<std::ops::Range<usize>>| span.clone().map(|span| &text[span]);

    assert_eq!(first.metric.as_deref(), Some("a:b"));
    assert_eq!(place(&first.span), Some("a:b"));
    assert_eq!(
        (first.window_s, first.function.as_deref(), first.offset_s, first.at),
        (Some(120.0), Some("rate"), 60.0, false)
    );
    let matchers: Vec<_> =
        first.matchers.iter().map(|m| (m.label.as_str(), m.op, m.value.as_str(), place(&m.span))).collect();
    assert_eq!(matchers, [("x", MatchOp::Equal, "1", Some("x")), ("y", MatchOp::NotRegex, "é.*", Some("y"))]);
    assert!(first.pins("x") && !first.pins("y"));

    assert_eq!(
        (second.window_s, second.function.as_deref(), second.at),
        (Some(3600.0), Some("max_over_time"), true)
    );
    assert_eq!(place(&second.span), Some("c"));
    assert_eq!((third.metric.as_deref(), place(&third.span)), (None, Some("{")));
    assert_eq!(query.metric_names(), ["a:b", "c"]);
}

#[test]
fn a_name_repeated_in_labels_and_functions_is_found_where_it_is_a_metric() {
    let text = "sum by (rate, a) (rate) + count(a) - a{a=\"a\"}";
    let query = query(text);
    let starts: Vec<_> = query.selectors().iter().map(|s| s.span.clone().unwrap().start).collect();
    assert_eq!(starts, [18, 32, 37]);
    assert_eq!(query.selectors()[2].matchers[0].span.clone().unwrap().start, 39);
}

#[test]
fn a_name_inside_the_braces_is_the_metric() {
    let query = query("{__name__=\"vllm:num_requests_waiting\", pod=\"x\"}");
    assert_eq!(query.metric_names(), ["vllm:num_requests_waiting"]);
    assert_eq!(query.selectors()[0].matchers.len(), 1);
}

#[test]
fn windows_are_listed_with_their_function_and_selector() {
    let query = query("sum(rate(a[2m])) + max_over_time(sum(increase(b[30s]))[10m:1m]) + deriv(c[1h])");
    let uses: Vec<_> = query
        .rate_windows()
        .iter()
        .map(|u| (u.function.as_str(), u.window_s, u.selector, u.subquery))
        .collect();
    assert_eq!(
        uses,
        [
            ("rate", 120.0, 0, false),
            ("increase", 30.0, 1, false),
            ("max_over_time", 600.0, 1, true),
            ("deriv", 3600.0, 2, false)
        ]
    );
    assert_eq!(query.selectors()[1].function.as_deref(), Some("increase"));
}

#[test]
fn what_is_not_promql_is_refused_with_its_place() {
    let cases = [
        ("", None),
        ("   # only a comment", None),
        ("sum(a", Some(3)),
        ("sum(a))", Some(6)),
        ("a{b=\"c}", Some(4)),
        ("a{b=\"c\"", Some(1)),
        ("a[5m", Some(1)),
        ("(a]", Some(2)),
        ("a[1e300]", Some(2)),
        ("a offset 1e300", Some(9)),
        ("a offset -inf", Some(10)),
        ("a offset nan", Some(9)),
        ("a[5m:1e300]", Some(5)),
        ("sum(a) by", None),
        ("a{b=c}", None),
        ("a{b=~\"(\"}", None),
        ("rate(a)", None),
        ("nonsense(a)", None),
        ("a or 1", None),
        ("sum(a) sum(b)", None),
        ("{}", None),
        ("a ? b", None),
        ("日本語", None),
        ("a\u{0}", None),
    ];
    for (text, position) in cases {
        let error = parse(text).expect_err(text);
        assert_eq!(error.position(), position, "{text}: {error}");
        let message = error.to_string();
        assert!(!message.contains('\n') && message.len() < 200, "{message}");
    }
}

#[test]
fn unicode_in_strings_and_comments_does_not_shift_places() {
    let text = "# größe\nsum(vllm:x{model_name=\"größe ☺\"}) / sum(y)";
    let query = query(text);
    let places: Vec<_> = query.selectors().iter().map(|s| &text[s.span.clone().unwrap()]).collect();
    assert_eq!(places, ["vllm:x", "y"]);
}

#[test]
fn a_query_beyond_the_limits_is_refused_before_it_is_parsed() {
    let long = format!("sum({})", "a".repeat(20 * 1024));
    assert!(matches!(parse(&long), Err(Error::TooLong { .. })));
    for open in ["(", "[", "{", "sum(", "a[", "-(", "\"(\"("] {
        assert!(parse(&open.repeat(10_000 / open.len())).is_err(), "{open}");
    }
    let deep = |n: usize| format!("{}a{}", "(".repeat(n), ")".repeat(n));
    assert!(parse(&deep(64)).is_ok());
    assert_eq!(parse(&deep(65)).unwrap_err(), Error::TooDeep { at: 64 });
    assert!(matches!(parse(&deep(5_000)), Err(Error::TooDeep { .. })));
    // Brackets in strings neither count nor hide others.
    assert!(parse(&format!("a{{b=~\"{}\"}}", "[(]".repeat(200))).is_ok());
    let hidden = format!("{}a{}", "count_values(\"))))\", (".repeat(100), "))".repeat(100));
    assert!(matches!(parse(&hidden), Err(Error::TooDeep { .. })));

    for chain in ["a + ", "a or ", "-", "1 ^ ", "a AND "] {
        assert!(
            matches!(parse(&format!("{}a", chain.repeat(2_000))), Err(Error::TooManyOperators { .. })),
            "{chain}"
        );
    }
    assert!(matches!(parse(&format!("a{}", "[5m:]".repeat(2_000))), Err(Error::TooManyOperators { .. })));
    let regexes = format!("a{{{}}}", r#"b=~"x","#.repeat(33));
    assert!(matches!(parse(&regexes), Err(Error::TooManyRegexes { .. })));
}

#[test]
fn the_largest_query_allowed_is_told_about_on_a_small_stack() {
    let chain = format!("{}{}", "(".repeat(60), "a + ".repeat(250));
    let text = format!("{chain}a{}", ")".repeat(60));
    let unary = format!("{}a", "-".repeat(256));
    // Whoever looks at an argument twice takes 2^63 looks here.
    let calls = format!("{}a{}", "abs(".repeat(63), ")".repeat(63));
    for text in [text, unary, calls] {
        let query = query(&text);
        assert_eq!(query.shape(), Shape::Many);
        assert_ne!(query.aggregation(), Aggregation::Total);
        assert_eq!(query.at_zero(), AtZero::Nothing);
        assert_eq!(query.value_range().is_some(), text.starts_with("abs"));
        drop(query.clone());
    }
}

/// Small and the same everywhere; only its spread matters.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

#[test]
fn no_soup_of_tokens_makes_it_panic() {
    let words = [
        "a",
        "sum",
        "by",
        "(",
        ")",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        "5m",
        "1e300",
        ":",
        "offset",
        "-",
        "+",
        "/",
        "or",
        "and",
        "unless",
        "@",
        "1",
        "\"x\"",
        "'",
        "`",
        "\\",
        "=",
        "=~",
        "!~",
        ",",
        "rate(a[5m])",
        "sum(a)",
        "vector(0)",
        "on",
        "group_left",
        "bool",
        ">",
        "#",
        "\n",
        "é",
        "inf",
        "nan",
        "0x",
        "..",
        "start",
        "fill",
        "count_values",
        "histogram_quantile",
        "absent",
        "topk",
        "x=\"1\"",
        "0755",
        "1y",
    ];
    for seed in 0..20_000_u64 {
        let mut state = seed;
        let length = 1 + next(&mut state) % 12;
        let text: Vec<&str> = (0..length).map(|_| words[next(&mut state) % words.len()]).collect();
        let glue = if seed % 3 == 0 { "" } else { " " };
        if let Ok(query) = parse(&text.join(glue)) {
            let _ = (
                query.shape(),
                query.aggregation(),
                query.value_range(),
                query.at_zero(),
                query.empty_at_zero_replicas(),
            );
        }
    }
}
