//! `behavior`: the API's validation and defaults.
//!
//! KEDA's CRD embeds the type without its rules; they are enforced only when the HPA is written. We
//! write none, so they are enforced here.

use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};
use tidegate_core::scale::spec::{Amount, Behavior, RatePolicy, Rules, Select, Tuning};
use tidegate_core::time::Span;

use super::Faults;
use crate::node::Segment;

/// `stabilizationWindowSeconds` at the most.
const WINDOW_S_MAX: i32 = 3600;
/// `periodSeconds` at the most.
const PERIOD_S_MAX: i32 = 1800;

/// What a direction has that says nothing: the API's defaults, or under policy `slo`, which waits by itself, nothing
/// that binds.
pub(crate) fn defaults(slo: bool, tuning: &Tuning) -> Behavior {
    if slo {
        return Behavior::free();
    }
    let down = Rules::down_defaults(tuning.downscale_stabilization);
    Behavior { up: Rules::up_defaults(), down }
}

/// Both directions, each filled with these defaults where it says nothing.
pub(crate) fn lower(
    behavior: Option<&HorizontalPodAutoscalerBehavior>,
    at: &[Segment],
    defaults: &Behavior,
    faults: &mut Faults<'_>,
) -> Option<Behavior> {
    let behavior = behavior?;
    let mut direction = |name: &str, given: Option<&HPAScalingRules>, defaults: &Rules| {
        let mut at = at.to_vec();
        at.push(Segment::from(name));
        given.map_or_else(|| defaults.clone(), |given| rules(given, defaults.clone(), &at, faults))
    };
    Some(Behavior {
        up: direction("scaleUp", behavior.scale_up.as_ref(), &defaults.up),
        down: direction("scaleDown", behavior.scale_down.as_ref(), &defaults.down),
    })
}

fn under(at: &[Segment], rest: &[Segment]) -> Vec<Segment> {
    at.iter().chain(rest).cloned().collect()
}

fn rules(given: &HPAScalingRules, mut rules: Rules, at: &[Segment], faults: &mut Faults<'_>) -> Rules {
    if let Some(window) = given.stabilization_window_seconds {
        if !(0..=WINDOW_S_MAX).contains(&window) {
            let message = format!("stabilizationWindowSeconds is {window}, outside 0 to {WINDOW_S_MAX}");
            faults.invalid(&under(at, crate::path!["stabilizationWindowSeconds"]), message, "stay within it");
        }
        rules.window = Span::from_secs(i64::from(window));
    }
    if let Some(select) = given.select_policy.as_deref() {
        rules.select = match select {
            "Max" => Select::Max,
            "Min" => Select::Min,
            "Disabled" => Select::Disabled,
            other => {
                let message = format!("selectPolicy is {other}, not Max, Min or Disabled");
                faults.invalid(&under(at, crate::path!["selectPolicy"]), message, "use one of the three");
                rules.select
            }
        };
    }
    if let Some(policies) = &given.policies {
        if policies.is_empty() {
            faults.invalid(
                &under(at, crate::path!["policies"]),
                "policies is empty",
                "give one, or leave it out",
            );
        } else {
            rules.policies = Vec::with_capacity(policies.len());
            for (index, policy) in policies.iter().enumerate() {
                let at = under(at, crate::path!["policies", index]);
                let value =
                    positive(policy.value, i32::MAX, &under(&at, crate::path!["value"]), "value", faults);
                let period = positive(
                    policy.period_seconds,
                    PERIOD_S_MAX,
                    &under(&at, crate::path!["periodSeconds"]),
                    "periodSeconds",
                    faults,
                );
                let amount = match policy.type_.as_str() {
                    "Percent" => Amount::Percent(value),
                    "Pods" => Amount::Pods(value),
                    other => {
                        let message = format!("policy type is {other}, not Pods or Percent");
                        faults.invalid(&under(&at, crate::path!["type"]), message, "use one of the two");
                        Amount::Pods(value)
                    }
                };
                rules.policies.push(RatePolicy { amount, period: Span::from_secs(i64::from(period)) });
            }
        }
    }
    if let Some(tolerance) = &given.tolerance {
        match ratio(&tolerance.0) {
            Some(value) if value >= 0.0 => rules.tolerance = Some(value),
            _ => {
                let message = format!("tolerance is {}, not a number of 0 or more", tolerance.0);
                faults.invalid(
                    &under(at, crate::path!["tolerance"]),
                    message,
                    "write a fraction such as 0.05",
                );
            }
        }
    }
    rules
}

fn positive(value: i32, max: i32, at: &[Segment], name: &str, faults: &mut Faults<'_>) -> u32 {
    if value <= 0 || value > max {
        let range = if max == i32::MAX { "above 0".to_owned() } else { format!("within 1 to {max}") };
        faults.invalid(at, format!("{name} is {value}"), format!("it must be {range}"));
    }
    u32::try_from(value).unwrap_or(1).max(1)
}

/// A quantity as a fraction; plain decimals keep all their digits.
fn ratio(text: &str) -> Option<f64> {
    let plain = text.parse::<f64>().ok().filter(|value| value.is_finite());
    plain.or_else(|| Some(crate::quantity::parse(text).ok()?.as_f64()))
}
