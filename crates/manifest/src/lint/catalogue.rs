//! Every code there is.

use super::Check;
use crate::finding::Severity;

/// One code: what it finds, how bad that is, and its page.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// `TG101`.
    pub code: &'static str,
    /// A short name.
    pub name: &'static str,
    /// The worst severity it gives.
    pub severity: Severity,
    /// The page that explains it.
    pub page: &'static str,
    /// The check, where reading and validation do not make the finding themselves.
    pub check: Option<Check>,
}

macro_rules! rules {
    ($($code:literal $name:literal $severity:ident $check:expr;)*) => {
        /// All of them, by code.
        pub const RULES: &[Rule] = &[$(Rule {
            code: $code,
            name: $name,
            severity: Severity::$severity,
            page: include_str!(concat!("pages/", $code, ".md")),
            check: $check,
        },)*];
    };
}

rules! {
    "TG001" "not-yaml" Error None;
    "TG002" "not-an-object" Error None;
    "TG003" "invalid-value" Error None;
    "TG004" "text-without-quotes" Error None;
    "TG005" "unknown-field" Error None;
    "TG006" "defined-twice" Error None;
    "TG007" "breaks-the-api" Error None;
    "TG008" "trigger-not-supported-yet" Error None;
    "TG009" "unknown-trigger" Error None;
    "TG010" "invalid-trigger" Error None;
    "TG011" "unknown-annotation" Warning Some(super::annotations::unknown_annotation);
    "TG012" "deprecated-metric-name" Warning None;
    "TG013" "unknown-parameter" Warning None;
    "TG014" "events-not-sent" Warning Some(super::events::events_not_sent);
    "TG101" "averages-twice" Error Some(super::average::averages_twice);
    "TG102" "total-under-value" Error Some(super::average::total_under_value);
    "TG103" "several-series" Error Some(super::series::several_series);
    "TG104" "rate-window-too-short" Warning Some(super::series::rate_window_too_short);
    "TG105" "renamed-metric" Error Some(super::metrics::renamed_metric);
    "TG106" "unknown-label" Error Some(super::metrics::unknown_label_matched);
    "TG107" "unknown-metric" Error Some(super::metrics::unknown_metric);
    "TG108" "blind-at-zero" Error Some(super::zero::blind_at_zero);
    "TG109" "activation-above-threshold" Warning Some(super::zero::activation_above_threshold);
    "TG110" "threshold-out-of-range" Error Some(super::threshold::threshold_out_of_range);
    "TG111" "resource-signal-on-gpu" Warning Some(super::utilisation::resource_signal_on_gpu);
    "TG112" "invalid-query" Error Some(super::series::invalid_query);
    "TG113" "env-not-defined" Error None;
    "TG114" "query-not-embedded" Error Some(super::series::not_embedded);
    "TG201" "cooldown-shorter-than-start" Warning Some(super::pace::cooldown_shorter_than_start);
    "TG202" "all-at-once" Warning Some(super::pace::all_at_once);
    "TG203" "no-stabilisation" Warning Some(super::pace::no_stabilisation);
    "TG204" "zero-without-hold" Warning Some(super::zero::zero_without_hold);
    "TG205" "two-scalers" Error Some(super::targets::two_scalers);
    "TG206" "target-not-in-files" Error Some(super::targets::target_not_in_files);
    "TG207" "target-cannot-scale" Error Some(super::targets::target_cannot_scale);
    "TG208" "max-above-quota" Error Some(super::quota::max_above_quota);
    "TG209" "objective-not-held" Warning Some(super::annotations::objective_not_held);
    "TG301" "gpu-without-toleration" Warning Some(super::resources::gpu_without_toleration);
    "TG302" "gpu-request-without-limit" Error Some(super::resources::gpu_request_without_limit);
    "TG303" "liveness-kills-loading" Error Some(super::probes::liveness_kills_loading);
    "TG304" "no-startup-probe" Warning Some(super::probes::no_startup_probe);
    "TG305" "readiness-not-health" Warning Some(super::probes::readiness_not_health);
    "TG306" "no-pre-stop" Warning Some(super::shutdown::no_pre_stop);
    "TG307" "grace-too-short" Error Some(super::shutdown::grace_too_short);
    "TG308" "vllm-aborts-streams" Error Some(super::shutdown::vllm_aborts_streams);
    "TG309" "surge-needs-gpus" Error Some(super::rollout::surge_needs_gpus);
    "TG310" "latest-tag" Warning Some(super::image::latest_tag);
    "TG311" "fractional-gpu" Error Some(super::resources::fractional_gpu);
    "TG401" "pdb-blocks-eviction" Error Some(super::disruption::pdb_blocks_eviction);
    "TG402" "pdb-above-min" Warning Some(super::disruption::pdb_above_min);
    "TG403" "expander-upside-down" Error Some(super::expander::expander_upside_down);
    "TG404" "expander-wrong-name" Error Some(super::expander::expander_wrong_name);
    "TG405" "expander-ignored" Error Some(super::expander::expander_ignored);
    "TG406" "vpa-controls-gpu" Error Some(super::vertical::vpa_controls_gpu);
}

/// The rule of a code, in either case.
#[must_use]
pub fn rule(code: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.code.eq_ignore_ascii_case(code))
}
