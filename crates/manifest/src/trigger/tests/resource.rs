use tidegate_core::scale::spec::Activation;

use super::*;
use crate::trigger::tests::{Case, case};

fn minimal(type_: &str) -> Case {
    case(type_, &[("value", "80")]).metric_type("Utilization")
}

#[test]
fn utilization_is_a_percentage_of_the_requests() {
    for name in ["cpu", "memory"] {
        let trigger = minimal(name).trigger();
        assert_eq!(trigger.metric_name, name);
        assert_eq!(trigger.signal, format!("s0-{name}"));
        assert_eq!(trigger.activation, Activation::Never);
        let goal = ResourceGoal::Utilization(80);
        assert_eq!(trigger.metric, Metric::Resource { resource: name.to_owned(), container: None, goal });
        let Source::Resource(resource) = trigger.source else { panic!() };
        assert_eq!(resource, Resource { resource: resource.resource, container: None });
        assert_eq!(resource.resource, name);
    }
}

#[test]
fn an_average_value_is_an_amount_a_pod_perhaps_of_one_container() {
    let trigger = case("memory", &[("value", "1.5Gi"), ("containerName", "main")])
        .metric_type("AverageValue")
        .trigger();
    let goal = ResourceGoal::AverageValue(Milli(1_610_612_736_000));
    let container = Some("main".to_owned());
    assert_eq!(trigger.metric, Metric::Resource { resource: "memory".to_owned(), container, goal });
}

#[test]
fn the_metric_type_has_to_be_one_of_two() {
    let allowed = "allowed values are 'Utilization' or 'AverageValue'";
    case("cpu", &[("value", "80")]).refused("metricType", allowed);
    minimal("cpu").metric_type("Value").refused("metricType", "unknown metric type: Value");
}

#[test]
fn the_removed_type_is_refused() {
    minimal("cpu").with(&[("type", "Utilization")]).refused("type", "removed in KEDA 2.18");
}

#[test]
fn a_value_that_is_no_goal_is_refused() {
    minimal("cpu").without("value").refused("value", "missing required parameter \"value\"");
    for value in ["80%", "0", "-5", "80.5", "500m", "99999999999"] {
        minimal("cpu").with(&[("value", value)]).refused("value", "not a whole percentage above 0");
    }
    for (value, part) in [
        ("1GB", "unknown unit \"GB\""),
        ("0", "must be above 0"),
        ("-1", "must be above 0"),
        ("12E", "too large"),
    ] {
        let case = minimal("memory").metric_type("AverageValue").with(&[("value", value)]);
        case.refused("value", part);
    }
}

#[test]
fn a_scaled_job_has_no_resource_trigger() {
    case("cpu", &[("value", "80")]).job().refused("type", "a ScaledJob cannot have a trigger of type cpu");
}
