use std::collections::BTreeMap;

use tidegate_core::scale::spec::{Activation, Series};

use super::*;
use crate::trigger::tests::{Case, average, case, in_auth, no_identity};
use crate::trigger::{AuthMode, FaultKind, IdentityOwner, KeyPlace, OAuth, Origin, Trigger, TriggerType};

fn minimal() -> Case {
    case(
        "prometheus",
        &[("serverAddress", "http://prometheus:9090"), ("query", "sum(waiting)"), ("threshold", "2.5")],
    )
}

fn source(trigger: Trigger) -> Prometheus {
    match trigger.source {
        Source::Prometheus(source) => source,
        other => panic!("{other:?}"),
    }
}

fn no_auth() -> HttpAuth {
    HttpAuth {
        modes: Given::Value(Vec::new()),
        bearer_token: None,
        username: None,
        password: None,
        cert: None,
        key: None,
        ca: None,
        custom_header: None,
        custom_value: None,
        api_key: None,
        key_place: Given::Value(KeyPlace::Header),
        key_name: None,
        oauth: OAuth::default(),
    }
}

#[test]
fn a_minimal_trigger_has_every_default() {
    let trigger = minimal().trigger();
    assert_eq!(trigger.type_, TriggerType::Prometheus);
    assert_eq!(trigger.metric_name, "s0-prometheus");
    assert_eq!(trigger.metric, average(2500));
    assert_eq!(trigger.activation, Activation::Above(0.0));
    assert_eq!(trigger.absent, Absent::Zero);
    assert_eq!(trigger.series, Series::One);
    assert!(trigger.unknown.is_empty() && trigger.deprecated.is_empty());
    assert_eq!(
        source(trigger),
        Prometheus {
            server_address: Address("http://prometheus:9090".to_owned()),
            query: "sum(waiting)".to_owned(),
            query_parameters: Pairs::default(),
            threshold: 2.5,
            activation_threshold: 0.0,
            namespace: None,
            custom_headers: Pairs::default(),
            cortex_org_id: None,
            ignore_null_values: true,
            unsafe_ssl: false,
            timeout: None,
            aws_region: None,
            aws: no_identity(),
            auth: no_auth(),
        }
    );
}

#[test]
fn a_trigger_with_everything_keeps_everything() {
    let trigger = minimal()
        .with(&[
            ("activationThreshold", "1.5"),
            ("namespace", "team"),
            ("queryParameters", "dedup=true, stats = all"),
            ("customHeaders", "X-Scope-OrgID=one"),
            ("ignoreNullValues", "false"),
            ("unsafeSsl", "true"),
            ("timeout", "1500"),
            ("awsRegion", "eu-west-1"),
            ("identityOwner", "operator"),
            ("authModes", "tls, basic"),
            ("azureManagedPrometheusResourceURL", "x"),
        ])
        .auth(&["username", "password", "cert", "key", "ca"])
        .trigger();
    assert_eq!(trigger.activation, Activation::Above(1.5));
    assert_eq!(trigger.absent, Absent::Error);
    assert!(trigger.unknown.is_empty(), "{:?}", trigger.unknown);
    let pairs = |pairs: &[(&str, &str)]| {
        Pairs(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>())
    };
    assert_eq!(
        source(trigger),
        Prometheus {
            server_address: Address("http://prometheus:9090".to_owned()),
            query: "sum(waiting)".to_owned(),
            query_parameters: pairs(&[("dedup", "true"), ("stats", "all")]),
            threshold: 2.5,
            activation_threshold: 1.5,
            namespace: Some("team".to_owned()),
            custom_headers: pairs(&[("X-Scope-OrgID", "one")]),
            cortex_org_id: None,
            ignore_null_values: false,
            unsafe_ssl: true,
            timeout: Some(Span::from_micros(1_500_000)),
            aws_region: Some(Given::Value("eu-west-1".to_owned())),
            aws: AwsIdentity { owner: IdentityOwner::Operator, ..no_identity() },
            auth: HttpAuth {
                modes: Given::Value(vec![AuthMode::Tls, AuthMode::Basic]),
                username: in_auth("username"),
                password: in_auth("password"),
                cert: in_auth("cert"),
                key: in_auth("key"),
                ca: in_auth("ca"),
                ..no_auth()
            },
        }
    );
}

#[test]
fn what_is_missing_or_unreadable_is_refused() {
    for key in ["serverAddress", "query", "threshold"] {
        minimal()
            .without(key)
            .refused(key, &format!("missing required parameter \"{key}\" in [triggerMetadata]"));
    }
    for (key, value, part) in [
        ("threshold", "five", "\"five\" is not a number"),
        ("threshold", "NaN", "is not a number"),
        ("threshold", "+Inf", "is not a number"),
        ("activationThreshold", "5%", "is not a number"),
        ("ignoreNullValues", "yes", "neither true nor false"),
        ("unsafeSsl", "si", "neither true nor false"),
        ("timeout", "soon", "not a duration"),
        ("timeout", "-1s", "is negative"),
        ("queryParameters", "dedup", "needs the form"),
        ("customHeaders", "Authorization=a=b", "needs the form"),
        ("authModes", "digest", "must be one of apiKey, basic, tls, bearer, custom, oauth"),
        ("method", "body", "must be one of header, query"),
    ] {
        minimal().with(&[(key, value)]).refused(key, part);
    }
    let faults = minimal().with(&[("customHeaders", "Authorization=a=b")]).parse().unwrap_err();
    assert!(!faults[0].message.contains("a=b"), "a header may be a secret");
}

#[test]
fn a_timeout_of_nothing_is_the_programs_own() {
    assert_eq!(source(minimal().with(&[("timeout", "0")]).trigger()).timeout, None);
}

#[test]
fn each_mode_of_authentication_needs_its_parameters() {
    for (mode, parameters) in [
        ("bearer", vec!["bearerToken"]),
        ("basic", vec!["username"]),
        ("tls", vec!["cert", "key"]),
        ("custom", vec!["customAuthHeader", "customAuthValue"]),
        ("apiKey", vec!["apiKey"]),
        ("oauth", vec!["oauthTokenURI", "clientID"]),
    ] {
        let case = minimal().with(&[("authModes", mode)]);
        let faults = case.parse().unwrap_err();
        let keys: Vec<&str> = faults.iter().filter_map(|fault| fault.key.as_deref()).collect();
        assert_eq!(keys, parameters);
        assert!(faults.iter().all(|fault| fault.kind == FaultKind::MissingRequired));
        assert!(case.clone().auth(&parameters).parse().is_ok(), "{mode}");
        assert!(case.unknown_auth().parse().is_ok(), "{mode} may be elsewhere");
    }
    minimal().with(&[("authMode", "bearer")]).auth(&["token"]).trigger();
}

#[test]
fn modes_that_exclude_each_other_are_refused() {
    let all = ["username", "bearerToken", "oauthTokenURI", "clientID"];
    for modes in ["basic,bearer", "oauth,basic", "bearer,tls,oauth"] {
        let case = minimal().with(&[("authModes", modes)]).auth(&[&all[..], &["cert", "key"]].concat());
        case.refused("authModes", "must contain only one of bearer, basic, oauth");
    }
}

#[test]
fn modes_from_the_authentication_are_not_known_here() {
    let auth = source(minimal().auth(&["authModes"]).trigger()).auth;
    assert_eq!(auth.modes, Given::Elsewhere(Origin::Authentication("authModes".to_owned())));
}
