//! KEDA's own cases of what its admission webhook lets in, as data, run through load and lower; and the
//! rules for authentication objects, for which upstream's cases are not in the table.

mod keda;

use std::collections::BTreeSet;

use keda::{Admitted, Case, admit, cases, run_all, scaled_object};
use serde_json::{Value as Json, json};
use tidegate_core::scale::spec::{Keda, Kind, Spec};

const TABLE: &str = include_str!("../../../conformance/keda/bounds_cases.json");

/// Kinds that have no counterpart here, and why.
const NOT_OURS: [(&str, &str); 1] = [(
    "has_paused_annotation",
    "KEDA asks whether to look at its Paused condition; here only the values count",
)];

/// What the webhook warns of and admission here does not, and why.
const NOT_TOLD: [(&str, &str); 2] = [
    (
        "polling-interval-not-relevant",
        "the value means something here: failures are counted once an interval",
    ),
    ("cooldown-period-not-relevant", "a value without effect does no harm"),
];

/// Cases whose result here is not KEDA's: id, and why.
const DIFFERENT: [(&str, &str); 1] = [(
    "bounds-076",
    "beside a formula a trigger without a name makes every pass fail in KEDA: told at admission",
)];

/// What is said for each of the table's reasons: one of the phrases must be in an error.
const SAID: [(&str, &[&str]); 12] = [
    ("min-above-max", &["is above maxReplicaCount"]),
    ("idle-not-below-min", &["must be less than minReplicaCount"]),
    ("incorrect-replicas", &["is above maxReplicaCount", "must be less than minReplicaCount"]),
    ("only-resource-triggers", &["needs a trigger other than cpu and memory"]),
    ("negative-value", &["is negative"]),
    ("incorrect-fallback", &["is negative", "needs a trigger other than cpu and memory"]),
    ("duplicate-trigger-name", &["defined multiple times"]),
    ("cached-metrics-unsupported", &["\"useCachedMetrics\" is not supported"]),
    ("no-triggers", &["no triggers defined"]),
    ("scale-to-zero-requirements-not-met", &["cannot scale to zero"]),
    ("name-too-long", &["the name has 64 characters"]),
    ("scaling-modifiers-fallback", &["scalingModifiers needs a formula"]),
];

fn phrases(reason: &str) -> &'static [&'static str] {
    match reason {
        "hpa-name-too-long" => &["as KEDA names its autoscaler"],
        "incorrect-triggers" => phrases("no-triggers"),
        _ => SAID.iter().find(|(known, _)| *known == reason).map_or(&[], |(_, phrases)| phrases),
    }
}

/// Valid as expected, and if not, for the reason expected.
fn agrees(admitted: &Admitted, expected: &Json) -> Result<(), String> {
    let valid = admitted.errors().is_empty();
    let said = admitted.sentences();
    if valid != (expected["valid"] == true) {
        return Err(format!("valid is {valid}: {said}"));
    }
    if valid != (admitted.lowered.targets.len() == 1) {
        return Err(format!("{} targets", admitted.lowered.targets.len()));
    }
    let one = expected["reason"].as_str().into_iter();
    let several = expected["reasons"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let reasons: Vec<&str> = one.chain(several).collect();
    let right = reasons.iter().flat_map(|reason| phrases(reason)).any(|phrase| said.contains(phrase));
    if valid || right { Ok(()) } else { Err(format!("refused for another reason than {reasons:?}: {said}")) }
}

fn rules(spec: &Spec) -> &Keda {
    match &spec.kind {
        Kind::ScaledObject(keda) => keda,
        other => panic!("not a ScaledObject: {other:?}"),
    }
}

/// The spec of the one target there must be.
fn spec(admitted: &Admitted) -> Result<&Spec, String> {
    let target = admitted.lowered.targets.first();
    target.map(|target| &target.spec).ok_or_else(|| format!("refused: {}", admitted.sentences()))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: T, expected: T) -> Result<(), String> {
    if ours == expected { Ok(()) } else { Err(format!("{what} is {ours:?}, expected {expected:?}")) }
}

fn hpa_bounds(case: &Case) -> Result<(), String> {
    let admitted = admit(&scaled_object(&case.input));
    let spec = spec(&admitted)?;
    let expected = |key: &str| case.expected[key].as_u64();
    // Here the minimum stays 0 in the spec: activation ends where the autoscaler's part begins, at 1.
    same("min", Some(u64::from(spec.min.max(1))), expected("hpaMinReplicas"))?;
    same("max", Some(u64::from(spec.max)), expected("hpaMaxReplicas"))
}

/// The fallback's own check: what else is wrong with the object is no matter of these cases.
fn fallback_valid(case: &Case) -> Result<(), String> {
    let admitted = admit(&scaled_object(&case.input));
    let root = &admitted.manifests.documents.first().ok_or("no document")?.root;
    let fields = ["failureThreshold", "replicas", "behavior"];
    let mut paths = vec![vec!["spec".into(), "fallback".into()]];
    paths.extend(fields.map(|field| vec!["spec".into(), "fallback".into(), field.into()]));
    let marks: Vec<_> =
        paths.iter().filter(|path| root.at(path).is_some()).map(|path| root.mark_of(path)).collect();
    let here = |line: u32, column: u32| marks.iter().any(|mark| (mark.line, mark.column) == (line, column));
    let found: Vec<&str> = admitted
        .errors()
        .into_iter()
        .filter(|finding| here(finding.line, finding.column))
        .map(|finding| finding.message.as_str())
        .collect();
    same("valid", found.is_empty(), case.expected["valid"] == true)?;
    let reason = case.expected["reason"].as_str().unwrap_or_default();
    let right = phrases(reason).iter().any(|phrase| found.iter().any(|message| message.contains(phrase)));
    if found.is_empty() || right { Ok(()) } else { Err(format!("not {reason}: {found:?}")) }
}

fn paused(case: &Case) -> Result<(), String> {
    let admitted = admit(&scaled_object(&case.input));
    let pause = rules(spec(&admitted)?).pause;
    same("paused", Some(pause.all || pause.at.is_some()), case.expected["paused"].as_bool())
}

fn paused_replica_count(case: &Case) -> Result<(), String> {
    let admitted = admit(&scaled_object(&case.input));
    if case.expected["error"] == true {
        return same("refused", admitted.sentences().contains("paused-replicas"), true);
    }
    let at = rules(spec(&admitted)?).pause.at;
    same("replicas", at.map(u64::from), case.expected["replicas"].as_u64())
}

/// Half of a formula and its target is refused as a whole, so the other half is filled in.
fn using_modifiers(case: &Case) -> Result<(), String> {
    let mut modifiers = case.input["scalingModifiers"].clone();
    if modifiers["formula"].is_string() {
        modifiers["target"] = json!("1");
    } else if modifiers["target"].is_string() {
        modifiers["formula"] = json!("x * 2");
    }
    let admitted = admit(&scaled_object(&json!({"modifiers": modifiers})));
    same("using", Some(rules(spec(&admitted)?).modifiers.is_some()), case.expected["using"].as_bool())
}

/// A minimum of 1, so that cpu alone is not refused for scaling to zero.
fn triggers_valid(case: &Case) -> Result<(), String> {
    let mut input = case.input.clone();
    input["minReplicaCount"] = json!(1);
    agrees(&admit(&scaled_object(&input)), &case.expected)?;
    if input["triggers"] == json!([]) {
        let job = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": {"name": "case"},
            "spec": {
                "jobTargetRef": {"template": {"spec": {
                    "containers": [{"name": "w", "image": "w"}], "restartPolicy": "Never",
                }}},
                "triggers": [],
            },
        });
        agrees(&admit(&job), &case.expected)?;
    }
    Ok(())
}

fn run(case: &Case) -> Result<(), String> {
    let ours = match case.kind.as_str() {
        "replica_bounds" | "webhook" => agrees(&admit(&scaled_object(&case.input)), &case.expected),
        "hpa_bounds" => hpa_bounds(case),
        "fallback_valid" => fallback_valid(case),
        "paused" => paused(case),
        "paused_replica_count" => paused_replica_count(case),
        "using_modifiers" => using_modifiers(case),
        "triggers_valid" => triggers_valid(case),
        other => Err(format!("no runner for cases of kind {other}")),
    };
    keda::as_listed(&DIFFERENT, case, ours)
}

#[test]
fn what_kedas_webhook_lets_in_is_let_in_and_nothing_else() {
    let table = cases(TABLE);
    assert_eq!(table.len(), 102);
    let ours: Vec<Case> =
        table.into_iter().filter(|case| NOT_OURS.iter().all(|(kind, _)| *kind != case.kind)).collect();
    run_all(&ours, run);
}

#[test]
fn what_is_left_out_and_what_differs_is_in_the_table() {
    let table = cases(TABLE);
    let kinds: BTreeSet<&str> = table.iter().map(|case| case.kind.as_str()).collect();
    assert!(NOT_OURS.iter().all(|(kind, _)| kinds.contains(kind)), "{kinds:?}");
    let ids: BTreeSet<&str> = table.iter().map(|case| case.id.as_str()).collect();
    assert!(DIFFERENT.iter().all(|(id, _)| ids.contains(id)));
    let lists =
        table.iter().flat_map(|case| ["includes", "excludes"].map(|key| &case.expected["warnings"][key]));
    let warned: BTreeSet<&str> =
        lists.filter_map(Json::as_array).flatten().filter_map(Json::as_str).collect();
    assert_eq!(warned, NOT_TOLD.iter().map(|(warning, _)| *warning).collect());
}

fn authentication(kind: &str, spec: &str) -> Vec<(u32, String)> {
    let text = format!("apiVersion: keda.sh/v1alpha1\nkind: {kind}\nmetadata: {{name: a}}\nspec:\n{spec}");
    let source = tidegate_manifest::Source::new("a.yaml", text);
    let manifests = tidegate_manifest::load(&[source]);
    assert!(manifests.findings.is_empty(), "{:?}", manifests.findings);
    let lowered = tidegate_manifest::lower(&manifests);
    assert!(lowered.targets.is_empty());
    assert!(lowered.findings.iter().all(|finding| finding.code == "TG007"), "{:?}", lowered.findings);
    lowered.findings.into_iter().map(|finding| (finding.line, finding.message)).collect()
}

#[test]
fn an_authentication_that_keda_refuses_is_refused_at_its_field() {
    let refused = [
        ("  podIdentity:\n    provider: azure-workload\n    identityId: ''\n", 7, "identityId is empty"),
        (
            "  podIdentity:\n    provider: azure-workload\n    identityAuthorityHost: https://login\n",
            7,
            "without identityTenantId",
        ),
        (
            "  podIdentity:\n    provider: aws\n    identityOwner: workload\n    roleArn: arn:aws:iam::1:role/r\n",
            8,
            "identityOwner workload",
        ),
        ("  podIdentity:\n    provider: aws\n    externalID: e\n", 7, "without roleArn"),
        ("  oauth2:\n    clientId: ''\n    tokenUrl: https://login/token\n", 6, "clientId is empty"),
        ("  oauth2:\n    clientId: c\n    tokenUrl: ''\n", 7, "not an http or https URL"),
        ("  oauth2:\n    clientId: c\n    tokenUrl: ldap://login/token\n", 7, "not an http or https URL"),
        ("  oauth2:\n    clientId: c\n    tokenUrl: https:///token\n", 7, "not an http or https URL"),
        ("  filePath: ../other.json\n", 5, "leaves the directory"),
        ("  filePath: a/../../other.json\n", 5, "leaves the directory"),
        ("  filePath: /etc/passwd\n", 5, "leaves the directory"),
    ];
    for (spec, line, said) in refused {
        let found = authentication("ClusterTriggerAuthentication", spec);
        assert!(
            matches!(&found[..], [(at, message)] if *at == line && message.contains(said)),
            "{spec}: {found:?}"
        );
    }
    let found = authentication("TriggerAuthentication", "  filePath: creds.json\n");
    assert!(found[0].1.contains("only for a ClusterTriggerAuthentication"), "{found:?}");
}

#[test]
fn a_token_endpoint_is_checked_beside_any_pod_identity() {
    for provider in ["none", "gcp", "aws", "aws-eks", "azure-workload"] {
        let spec = format!(
            "  podIdentity:\n    provider: {provider}\n  oauth2:\n    clientId: c\n    tokenUrl: login/token\n"
        );
        assert_eq!(authentication("TriggerAuthentication", &spec).len(), 1, "{provider}");
    }
}

#[test]
fn an_authentication_that_keda_takes_is_taken() {
    let taken = [
        "  podIdentity:\n    provider: azure-workload\n    identityId: i\n    identityAuthorityHost: https://l\n    identityTenantId: t\n",
        "  podIdentity:\n    provider: aws\n    roleArn: arn:aws:iam::1:role/r\n    externalID: e\n    identityOwner: keda\n",
        "  podIdentity:\n    provider: aws\n    identityOwner: workload\n",
        "  oauth2:\n    clientId: c\n    tokenUrl: HTTPS://login.example.com/token?tenant=1\n",
        // Two sources for one parameter: the later one wins.
        "  secretTargetRef:\n  - {parameter: password, name: redis, key: password}\n  env:\n  - {parameter: password, name: PASSWORD}\n",
    ];
    for spec in taken {
        assert_eq!(authentication("TriggerAuthentication", spec), [], "{spec}");
    }
    assert_eq!(authentication("ClusterTriggerAuthentication", "  filePath: team/creds..v2.json\n"), []);
}
