//! What the runners of KEDA's cases share: a case's input as the object people would write, and what
//! becomes of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};
use tidegate_manifest::lower::Lowered;
use tidegate_manifest::{Finding, Manifests, Severity, Source, load, lower};

/// One case of a table.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) input: Json,
    pub(crate) expected: Json,
}

/// The cases of a table.
pub(crate) fn cases(table: &str) -> Vec<Case> {
    let table: Json = serde_json::from_str(table).expect("the table is JSON");
    let cases = table["cases"].as_array().expect("a list of cases");
    let text = |case: &Json, key: &str| case[key].as_str().expect("text").to_owned();
    let case = |case: &Json| Case {
        id: text(case, "id"),
        kind: text(case, "kind"),
        input: case["input"].clone(),
        expected: case["expected"].clone(),
    };
    cases.iter().map(case).collect()
}

/// What every trigger of a type must have. The tables leave it out: upstream's admission looks at it
/// later, when it builds the scaler.
fn metadata(type_: &str) -> Json {
    match type_ {
        "cron" => {
            json!({"timezone": "UTC", "start": "0 8 * * *", "end": "0 18 * * *", "desiredReplicas": "2"})
        }
        "cpu" | "memory" => json!({"value": "50"}),
        "kubernetes-workload" => json!({"podSelector": "app=a", "value": "2"}),
        "prometheus" => {
            json!({"serverAddress": "http://prometheus:9090", "query": "sum(q)", "threshold": "2"})
        }
        "kafka" => {
            json!({"bootstrapServers": "kafka:9092", "consumerGroup": "g", "topic": "t", "lagThreshold": "5"})
        }
        other => panic!("no metadata for triggers of type {other}"),
    }
}

/// A trigger from its type, name, metricType and useCachedMetrics. A type that is not read here is
/// written as another external one; cpu and memory get the metricType they must have.
fn trigger(given: &Json) -> Json {
    let type_ = match given["type"].as_str().expect("a type") {
        "couchdb" => "prometheus",
        other => other,
    };
    let mut trigger = json!({"type": type_, "metadata": metadata(type_)});
    for key in ["name", "metricType"] {
        if !given[key].is_null() {
            trigger[key] = given[key].clone();
        }
    }
    if matches!(type_, "cpu" | "memory") && given["metricType"].is_null() {
        trigger["metricType"] = json!("Utilization");
    }
    if given["useCachedMetrics"] == true {
        trigger["useCachedMetrics"] = json!(true);
    }
    trigger
}

/// The object without its nulls.
fn given(fields: Json) -> Json {
    match fields {
        Json::Object(fields) => {
            Json::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// The ScaledObject of an input; one named trigger where the input has none to say.
pub(crate) fn scaled_object(input: &Json) -> Json {
    let triggers: Vec<Json> = match input["triggers"].as_array() {
        Some(triggers) => triggers.iter().map(trigger).collect(),
        None => vec![trigger(&json!({"type": "prometheus", "name": "x"}))],
    };
    let modifiers = given(input["modifiers"].clone());
    let hpa = given(json!({"name": input["hpaName"]}));
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": given(json!({
            "name": input["name"].as_str().unwrap_or("case"),
            "annotations": input["annotations"],
        })),
        "spec": given(json!({
            "scaleTargetRef": {"name": "llm"},
            "minReplicaCount": input["minReplicaCount"],
            "maxReplicaCount": input["maxReplicaCount"],
            "idleReplicaCount": input["idleReplicaCount"],
            "pollingInterval": input["pollingInterval"],
            "cooldownPeriod": input["cooldownPeriod"],
            "advanced": given(json!({"horizontalPodAutoscalerConfig": hpa, "scalingModifiers": modifiers})),
            "triggers": triggers,
            "fallback": given(input["fallback"].clone()),
        })),
    })
}

/// What became of an object.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) manifests: Manifests,
    pub(crate) lowered: Lowered,
}

/// Reads and lowers one object.
pub(crate) fn admit(object: &Json) -> Admitted {
    let manifests =
        load(&[Source::new("case.json", serde_json::to_string_pretty(object).expect("writable"))]);
    let lowered = lower(&manifests);
    Admitted { manifests, lowered }
}

impl Admitted {
    /// Every error, of reading and of lowering.
    pub(crate) fn errors(&self) -> Vec<&Finding> {
        let all = self.manifests.findings.iter().chain(&self.lowered.findings);
        all.filter(|finding| finding.severity == Severity::Error).collect()
    }

    /// The errors' sentences.
    pub(crate) fn sentences(&self) -> String {
        self.errors().iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; ")
    }
}

/// Runs every case, prints how many of each kind ran, and fails with every wrong one at once.
#[expect(clippy::print_stdout, reason = "the counts are the proof that the table was run")]
pub(crate) fn run_all(cases: &[Case], run: impl Fn(&Case) -> Result<(), String>) {
    let mut ran: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in cases {
        *ran.entry(&case.kind).or_default() += 1;
        if let Err(why) = run(case) {
            wrong.push(format!("{} ({}): {why}\n  {}", case.id, case.kind, case.input));
        }
    }
    println!("{} cases {ran:?}, {} wrong", cases.len(), wrong.len());
    assert!(!cases.is_empty(), "no cases");
    assert!(wrong.is_empty(), "{} of {} cases are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// A case that is listed as different must be different, and every other must not.
pub(crate) fn as_listed(
    different: &[(&str, &str)],
    case: &Case,
    ours: Result<(), String>,
) -> Result<(), String> {
    match (different.iter().any(|(id, _)| *id == case.id), ours) {
        (false, ours) => ours,
        (true, Err(_)) => Ok(()),
        (true, Ok(())) => Err("as in KEDA, and listed as different".into()),
    }
}
