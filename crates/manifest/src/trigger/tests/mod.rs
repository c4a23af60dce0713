use super::*;

/// A trigger to be declared, index 0 in a ScaledObject, without authentication and environment.
#[derive(Clone)]
pub(crate) struct Case {
    type_: String,
    index: usize,
    name: Option<String>,
    metadata: BTreeMap<String, String>,
    metric_type: Option<String>,
    use_cached_metrics: bool,
    auth: Option<BTreeSet<String>>,
    environment: Option<BTreeMap<String, Option<String>>>,
    owner: Owner,
}

pub(crate) fn case(type_: &str, metadata: &[(&str, &str)]) -> Case {
    Case {
        type_: type_.to_owned(),
        index: 0,
        name: None,
        metadata: BTreeMap::new(),
        metric_type: None,
        use_cached_metrics: false,
        auth: Some(BTreeSet::new()),
        environment: Some(BTreeMap::new()),
        owner: Owner::ScaledObject { modifiers: false },
    }
    .with(metadata)
}

impl Case {
    /// Adds or replaces metadata.
    pub(crate) fn with(mut self, metadata: &[(&str, &str)]) -> Self {
        self.metadata.extend(metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self
    }

    pub(crate) fn without(mut self, key: &str) -> Self {
        self.metadata.remove(key);
        self
    }

    pub(crate) fn auth(mut self, parameters: &[&str]) -> Self {
        self.auth = Some(parameters.iter().map(|name| (*name).to_owned()).collect());
        self
    }

    pub(crate) fn unknown_auth(mut self) -> Self {
        self.auth = None;
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: Option<&str>) -> Self {
        self.environment.get_or_insert_default().insert(name.to_owned(), value.map(str::to_owned));
        self
    }

    pub(crate) fn unknown_environment(mut self) -> Self {
        self.environment = None;
        self
    }

    pub(crate) fn metric_type(mut self, metric_type: &str) -> Self {
        self.metric_type = Some(metric_type.to_owned());
        self
    }

    pub(crate) fn modifiers(mut self) -> Self {
        self.owner = Owner::ScaledObject { modifiers: true };
        self
    }

    pub(crate) fn job(mut self) -> Self {
        self.owner = Owner::ScaledJob;
        self
    }

    pub(crate) fn parse(&self) -> Result<Trigger, Vec<Fault>> {
        parse(&Declared {
            index: self.index,
            type_: &self.type_,
            name: self.name.as_deref(),
            metadata: &self.metadata,
            metric_type: self.metric_type.as_deref(),
            use_cached_metrics: self.use_cached_metrics,
            auth_parameters: self.auth.as_ref(),
            environment: self.environment.as_ref(),
            owner: self.owner,
        })
    }

    pub(crate) fn trigger(&self) -> Trigger {
        self.parse().unwrap()
    }

    /// Asserts exactly one fault, by its key and a part of its message.
    #[track_caller]
    pub(crate) fn refused(&self, key: &str, part: &str) {
        let faults = self.parse().unwrap_err();
        let [fault] = &faults[..] else { panic!("not one fault: {faults:#?}") };
        let about = fault.key.as_deref().or(fault.field).unwrap_or_default();
        assert_eq!(about, key, "{fault:?}");
        assert!(fault.message.contains(part), "{fault:?}");
        assert!(!fault.help.is_empty(), "{fault:?}");
    }
}

/// An average goal, as a metric.
pub(crate) fn average(milli: i64) -> Metric {
    Metric::External(Goal::AverageValue(Milli(milli)))
}

/// Where the TriggerAuthentication has it.
pub(crate) fn in_auth(parameter: &str) -> Option<Secret> {
    Some(Secret(Origin::Authentication(parameter.to_owned())))
}

/// Where an environment variable has it.
pub(crate) fn in_env(variable: &str) -> Option<Secret> {
    Some(Secret(Origin::Environment(variable.to_owned())))
}

/// Where the metadata has it.
pub(crate) fn in_metadata(key: &str) -> Option<Secret> {
    Some(Secret(Origin::Metadata(key.to_owned())))
}

/// The AWS identity of a trigger that says nothing about it.
pub(crate) fn no_identity() -> AwsIdentity {
    AwsIdentity {
        owner: IdentityOwner::Pod,
        role_arn: None,
        access_key_id: None,
        secret_access_key: None,
        session_token: None,
    }
}

fn prometheus() -> Case {
    case("prometheus", &[("serverAddress", "http://prometheus:9090"), ("query", "up"), ("threshold", "5")])
}

#[test]
fn a_signal_is_called_by_its_name_or_else_by_index_and_type() {
    let mut named = prometheus();
    named.index = 2;
    assert_eq!(named.trigger().signal, "s2-prometheus");
    assert_eq!(named.trigger().metric_name, "s2-prometheus");
    named.name = Some(String::new());
    assert_eq!(named.trigger().signal, "s2-prometheus");
    named.name = Some("queue".to_owned());
    assert_eq!(named.trigger().signal, "queue");
}

#[test]
fn a_metrics_name_is_made_fit_for_kubernetes() {
    assert_eq!(normalised("redis-a/b.c:d%e(f)_g"), "redis-a-b-c-d-e-f-_g");
}

#[test]
fn keys_nobody_reads_are_told_apart_from_keys_that_once_were() {
    let trigger = prometheus().with(&[
        ("metricName", "old"),
        ("tresholdd", "1"),
        ("queryFromEnv", "Q"),
        ("tidegate.dev/x", "y"),
    ]);
    let trigger = trigger.trigger();
    assert_eq!(trigger.deprecated, ["metricName"]);
    assert_eq!(trigger.unknown, ["queryFromEnv", "tresholdd"]);
}

#[test]
fn a_type_of_kedas_that_is_not_read_here_says_so_and_names_a_bridge() {
    for name in ["activemq", "azure-servicebus", "temporal", "external-mock"] {
        let faults = case(name, &[]).parse().unwrap_err();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].kind, FaultKind::NotSupportedYet);
        assert!(faults[0].message.contains("not supported yet"), "{}", faults[0].message);
        assert!(faults[0].help.contains("`external`"), "{}", faults[0].help);
    }
}

#[test]
fn every_name_of_kedas_is_either_read_or_not_supported_yet() {
    for name in KNOWN {
        let faults = case(name, &[]).parse().unwrap_err();
        let supported = TriggerType::named(name).is_some();
        assert_eq!(faults[0].kind != FaultKind::NotSupportedYet, supported, "{name}");
        assert!(!matches!(faults[0].kind, FaultKind::UnknownType { .. }), "{name}");
    }
}

#[test]
fn an_unknown_type_names_its_neighbour() {
    let faults = case("promethues", &[]).parse().unwrap_err();
    assert_eq!(faults[0].kind, FaultKind::UnknownType { nearest: Some("prometheus") });
    assert_eq!(faults[0].message, "no scaler found for type: promethues");
    let faults = case("", &[]).parse().unwrap_err();
    assert_eq!(faults[0].kind, FaultKind::UnknownType { nearest: None });
}

#[test]
fn external_metrics_are_average_values_unless_they_say_value() {
    assert_eq!(prometheus().trigger().metric, average(5000));
    assert_eq!(prometheus().metric_type("").trigger().metric, average(5000));
    assert_eq!(prometheus().metric_type("AverageValue").trigger().metric, average(5000));
    let value = prometheus().metric_type("Value").trigger().metric;
    assert_eq!(value, Metric::External(Goal::Value(Milli(5000))));
    prometheus().metric_type("Utilization").refused(
        "metricType",
        "'Utilization' metric type is unsupported for external metrics, allowed values are 'Value' or \
         'AverageValue'",
    );
    prometheus().metric_type("Average").refused("metricType", "unknown metric type: Average");
}

#[test]
fn a_scaled_job_takes_no_metric_type() {
    assert_eq!(prometheus().job().trigger().metric, average(5000));
    for metric_type in ["AverageValue", "Value", "Utilization"] {
        prometheus().job().metric_type(metric_type).refused("metricType", "cannot set metricType");
    }
}

#[test]
fn cached_metrics_are_refused_where_there_is_nothing_to_cache() {
    let cron = case(
        "cron",
        &[("timezone", "UTC"), ("start", "0 8 * * *"), ("end", "0 9 * * *"), ("desiredReplicas", "1")],
    );
    for mut refused in [
        cron,
        case("cpu", &[("value", "50")]).metric_type("Utilization"),
        case("memory", &[("value", "50")]).metric_type("Utilization"),
    ] {
        refused.use_cached_metrics = true;
        refused.refused("useCachedMetrics", "property \"useCachedMetrics\" is not supported for");
    }
    let mut fine = prometheus();
    fine.use_cached_metrics = true;
    fine.trigger();
}

#[test]
fn a_target_is_cut_to_thousandths_and_refused_when_nothing_is_left() {
    for threshold in ["0", "-1", "0.0009", "-0.0", "1e-9"] {
        prometheus().with(&[("threshold", threshold)]).refused("threshold", "must be above 0");
    }
    prometheus().job().with(&[("threshold", "0")]).refused("threshold", "no job would ever be created");
    assert_eq!(prometheus().with(&[("threshold", "0.0016")]).trigger().metric, average(1));
    // 2.01 × 1000 is a little less than 2010 in binary.
    assert_eq!(prometheus().with(&[("threshold", "2.01")]).trigger().metric, average(2009));
    assert_eq!(prometheus().with(&[("threshold", "1e300")]).trigger().metric, average(i64::MAX));
}

#[test]
fn a_target_of_nothing_does_not_count_under_a_formula() {
    assert_eq!(prometheus().modifiers().with(&[("threshold", "0")]).trigger().metric, average(1000));
}

#[test]
fn all_faults_are_found_at_once() {
    let faults = case("prometheus", &[("threshold", "many"), ("ignoreNullValues", "maybe")])
        .metric_type("Utilization")
        .parse()
        .unwrap_err();
    let about: Vec<&str> = faults.iter().filter_map(|fault| fault.key.as_deref().or(fault.field)).collect();
    assert_eq!(about, ["metricType", "serverAddress", "query", "threshold", "ignoreNullValues"]);
}
