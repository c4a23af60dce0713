//! Boards, alerts and runbooks speak of what the operator really exports, and of each other.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

/// The API server of the operator's own tests.
#[path = "../../../kube/tests/it/server.rs"]
#[expect(dead_code, reason = "its own tests use more of it")]
mod server;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use server::Server;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    let file = root().join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

struct Operator(Child, String);

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Operator {
    fn start(kubeconfig: &Path) -> Operator {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["operator", "--admin-addr", "127.0.0.1:0", "--kubeconfig"]).arg(kubeconfig);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().rsplit("//").next().unwrap().trim_end_matches('/').to_owned();
        Operator(child, addr)
    }

    fn metrics(&self) -> String {
        let mut socket = TcpStream::connect(&self.1).unwrap();
        write!(socket, "GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.1).unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    }
}

/// A cron trigger, so that no other server is needed: it has a value at once.
fn objects(server: &Server) {
    server.put(
        "deployments",
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "prod", "name": "llama"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "llama"}},
                     "template": {"spec": {"containers": [{"name": "main", "image": "x"}]}}},
            "status": {"replicas": 1, "readyReplicas": 1},
        }),
    );
    let always =
        json!({"timezone": "UTC", "start": "0 0 1 1 *", "end": "59 23 31 12 *", "desiredReplicas": "2"});
    server.put(
        "scaledobjects",
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"namespace": "prod", "name": "llama", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"scaleTargetRef": {"name": "llama"}, "triggers": [{"type": "cron", "metadata": always},
                     {"type": "cron", "name": "year", "metadata": always}]},
        }),
    );
}

/// The names of what a running operator exports.
async fn exported() -> (BTreeSet<String>, String) {
    let server = Server::start().await;
    objects(&server);
    let directory = tempfile::tempdir().unwrap();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", server.addr)}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "tidegate"}}],
    });
    let file = directory.path().join("kubeconfig");
    fs::write(&file, config.to_string()).unwrap();
    let operator = Operator::start(&file);
    let begin = Instant::now();
    loop {
        let text = operator.metrics();
        if text.contains("tidegate_signal_value{") && text.contains("keda_scaler_active{") {
            let series =
                text.lines().filter(|line| line.starts_with("tidegate_") || line.starts_with("keda_"));
            let names = series.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect();
            return (names, text);
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "never decided:\n{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// KEDA's metrics, and whether they are served; where not, why.
const KEDA: &[(&str, Result<(), &str>)] = &[
    ("keda_build_info", Ok(())),
    ("keda_scaler_active", Ok(())),
    ("keda_scaler_metrics_value", Ok(())),
    ("keda_scaler_metrics_latency_seconds", Ok(())),
    ("keda_scaler_detail_errors_total", Ok(())),
    ("keda_scaled_object_errors_total", Ok(())),
    ("keda_scaled_object_paused", Ok(())),
    ("keda_scaled_job_errors_total", Ok(())),
    ("keda_scaler_empty_upstream_responses_total", Ok(())),
    ("keda_internal_scale_loop_latency_seconds", Ok(())),
    ("keda_trigger_registered_total", Ok(())),
    ("keda_resource_registered_total", Ok(())),
    ("keda_scaler_http_requests_total", Err("one answer serves all who ask the same")),
    ("keda_scaler_http_request_duration_seconds", Err("the same; the latency is there")),
    ("keda_cloudeventsource_events_emitted_total", Err("no CloudEvents are sent")),
    ("keda_cloudeventsource_events_queued", Err("no CloudEvents are sent")),
    (
        "keda_internal_metricsservice_grpc_server_handled_total",
        Err("one process, no metrics server beside it"),
    ),
    (
        "keda_internal_metricsservice_grpc_client_handled_total",
        Err("one process, no metrics server beside it"),
    ),
    ("keda_webhook_scaled_object_validations_total", Ok(())),
    ("keda_webhook_scaled_object_validation_errors_total", Ok(())),
];

/// What KEDA's own board (config/grafana/keda-dashboard.json of kedacore/keda at 8b4f083c) asks for: a panel or a
/// variable, a metric, and the labels by which it is chosen or shown, as Prometheus has them where labels are not
/// honoured (`exported_namespace` is a metric's own `namespace`).
const BOARD: &[(&str, &str, &[&str])] = &[
    ("Scaler Total Errors", "keda_scaler_detail_errors_total", &[]),
    ("Scaler Errors", "keda_scaler_detail_errors_total", &["exported_namespace", "scaledObject", "scaler"]),
    ("Scaled Object Errors", "keda_scaled_object_errors_total", &["exported_namespace", "scaledObject"]),
    ("Scaler Metric Value", "keda_scaler_metrics_value", &["exported_namespace", "metric", "scaledObject"]),
    (
        "Current/max replicas",
        "kube_horizontalpodautoscaler_status_current_replicas",
        &["namespace", "horizontalpodautoscaler"],
    ),
    (
        "Current/max replicas",
        "kube_horizontalpodautoscaler_spec_max_replicas",
        &["namespace", "horizontalpodautoscaler"],
    ),
    (
        "Changes in replicas",
        "kube_horizontalpodautoscaler_status_current_replicas",
        &["namespace", "horizontalpodautoscaler"],
    ),
    ("$namespace", "keda_scaler_active", &["exported_namespace"]),
    ("$scaledObject", "keda_scaler_active", &["exported_namespace", "scaledObject"]),
    ("$scaler", "keda_scaler_active", &["exported_namespace", "scaler"]),
    ("$metric", "keda_scaler_active", &["exported_namespace", "metric"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn kedas_own_board_finds_every_metric_and_label_that_it_asks_for() {
    let (_, text) = exported().await;
    for (place, metric, labels) in BOARD {
        let series = text.lines().find(|line| line.starts_with(&format!("{metric}{{")));
        let series = series.unwrap_or_else(|| panic!("{place}: no {metric} in\n{text}"));
        for label in *labels {
            let label = if *label == "exported_namespace" { "namespace" } else { label };
            assert!(series.contains(&format!("{label}=\"")), "{place}: no {label} in {series}");
        }
    }
    let hpa = "{namespace=\"prod\",horizontalpodautoscaler=\"keda-hpa-llama\"}";
    for series in ["status_current_replicas", "spec_max_replicas"] {
        let line = format!("kube_horizontalpodautoscaler_{series}{hpa} ");
        assert!(text.contains(&line), "no {line} in\n{text}");
    }
    // The chart's ServiceMonitor honours labels, for the sake of `namespace`, and so makes the other one itself.
    let monitor = read("deploy/helm/tidegate/templates/monitoring.yaml");
    let rule = "sourceLabels: [__name__, namespace]\n          regex: keda_[a-z_]+;(.+)\n          targetLabel: exported_namespace";
    assert!(monitor.contains("honorLabels: true") && monitor.contains(rule), "{monitor}");
}

/// The names of metrics in a query.
fn named(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("tidegate_") || word.starts_with("keda_"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_boards_and_alerts_ask_for_is_what_the_operator_exports() {
    let (exported, text) = exported().await;
    for (name, served) in KEDA {
        let has = text.lines().any(|line| line.starts_with(&format!("# TYPE {name} ")));
        assert_eq!(has, served.is_ok(), "{name}: {served:?}");
    }
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE keda_")?.split(' ').next());
    let unknown: Vec<&str> = families
        .filter(|name| KEDA.iter().all(|(known, _)| known.strip_prefix("keda_") != Some(*name)))
        .collect();
    assert_eq!(unknown, [""; 0], "KEDA has no such metrics");
    for series in [
        "keda_scaler_active{namespace=\"prod\",metric=\"s0-cron-UTC-0011x-59233112x\",scaledObject=\"llama\",scaler=\"cronScaler\",\
         triggerIndex=\"0\",type=\"scaledobject\"} 1",
        "keda_scaler_active{namespace=\"prod\",metric=\"s1-cron-UTC-0011x-59233112x\",scaledObject=\"llama\",scaler=\"year\",\
         triggerIndex=\"1\",type=\"scaledobject\"} 1",
        "keda_scaler_detail_errors_total{namespace=\"prod\",metric=\"s1-cron-UTC-0011x-59233112x\",\
         scaledObject=\"llama\",scaler=\"year\",triggerIndex=\"1\",type=\"scaledobject\"} 0",
        "keda_trigger_registered_total{type=\"cron\"} 2",
        "keda_resource_registered_total{type=\"scaled_object\",namespace=\"prod\"} 1",
        "keda_scaled_object_errors_total{namespace=\"prod\",scaledObject=\"llama\"} 0",
    ] {
        assert!(text.contains(series), "no {series} in\n{text}");
    }
    let board: Value = serde_json::from_str(&read("deploy/grafana/tidegate.json")).unwrap();
    let mut asked = BTreeSet::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            asked.extend(named(target["expr"].as_str().unwrap()).map(str::to_owned));
        }
    }
    let variables = board["templating"]["list"].to_string();
    asked.extend(named(&variables).map(str::to_owned));
    assert!(asked.len() > 15, "{asked:?}");
    asked.extend(named(&read("deploy/alerts/tidegate.yaml")).map(str::to_owned));
    let missing: Vec<&String> = asked.difference(&exported).collect();
    assert!(missing.is_empty(), "asked for, and not exported: {missing:?}; exported: {exported:?}");
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    let alerts = read("deploy/alerts/tidegate.yaml");
    let lines = |key: &str| -> Vec<String> {
        let values = alerts.lines().filter_map(|line| line.trim().strip_prefix(key));
        values.map(|value| value.trim().to_owned()).collect()
    };
    let (names, books) = (lines("- alert:"), lines("runbook:"));
    assert_eq!(names.len(), books.len());
    let contents = read("docs/runbooks/README.md");
    for (name, book) in names.iter().zip(&books) {
        assert!(read(book).starts_with(&format!("# {name}\n")), "{book} is not about {name}");
        assert!(contents.contains(&format!("| {name} |")), "{name} is not in the contents");
    }
    let pages = fs::read_dir(root().join("docs/runbooks")).unwrap().count();
    assert_eq!(pages, names.len() + 1, "pages and their contents");
}

/// The chart's rules with these values; `None` where there is no Helm, which is told.
fn rules(values: &[&str]) -> Option<String> {
    let helm = root().join("target/tools/helm/helm");
    if !helm.is_file() {
        let told = "\n*** LEFT OUT: the chart's alerts, for want of Helm: cargo xtask setup ***\n";
        std::io::stderr().write_all(told.as_bytes()).unwrap();
        return None;
    }
    let mut command = Command::new(helm);
    command.args(["template", "t", "deploy/helm/tidegate", "--kube-version", "1.34.0"]);
    command.args(["--set", "prometheusRule.enabled=true"]);
    for value in values {
        command.args(["--set", value]);
    }
    let output = command.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_chart_puts_runbooks_where_its_values_say() {
    let pages = |text: &str, key: &str| -> Vec<String> {
        let values = text.lines().filter_map(|line| line.trim().strip_prefix(key));
        values.map(|value| value.trim().to_owned()).collect()
    };
    let of_file = pages(&read("deploy/alerts/tidegate.yaml"), "runbook:");
    let Some(text) = rules(&[]) else { return };
    assert_eq!(pages(&text, "runbook:"), of_file);
    let base = "https://example.com/tidegate/docs/runbooks";
    let text = rules(&[&format!("prometheusRule.runbookBaseUrl={base}/")]).unwrap();
    let urls = of_file.iter().map(|page| page.replace("docs/runbooks", base));
    assert_eq!(pages(&text, "runbook_url:"), urls.collect::<Vec<_>>());
    assert_eq!(pages(&text, "runbook:"), [""; 0]);
}

#[test]
fn alerts_fire_on_what_they_say_and_on_nothing_else() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new("promtool");
        let output = command.args(arguments).current_dir(root()).output();
        let output = output.unwrap_or_else(|error| panic!("promtool: {error}; apt-get install prometheus"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["check", "rules", "deploy/alerts/tidegate.yaml"]);
    run(&["test", "rules", "deploy/alerts/tests.yaml"]);
}
