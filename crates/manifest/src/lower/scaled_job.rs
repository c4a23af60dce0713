//! A ScaledJob as a core spec.

use std::sync::Arc;

use tidegate_core::scale::spec::{Combine, Jobs, Kind, Spec, Strategy, Tuning};

use super::{Faults, Target, annotations, triggers};
use crate::bound::Bound;
use crate::kinds::keda::{MultipleScalersCalculation, ScaledJob, ScalingStrategyKind};
use crate::load::Manifests;
use crate::path;

pub(super) fn lower(
    manifests: &Manifests,
    document: usize,
    object: &ScaledJob,
    faults: &mut Faults<'_>,
) -> Option<Target> {
    let spec = &object.spec;
    let polling_interval = faults.seconds(path!["spec", "pollingInterval"], spec.polling_interval, 30);
    let min = faults.count(path!["spec", "minReplicaCount"], spec.min_replica_count, 0);
    let max = faults.count(path!["spec", "maxReplicaCount"], spec.max_replica_count, 100);
    let bound = Bound::of(manifests, faults.document)?;
    let lowered = triggers::lower(&bound, polling_interval, faults);
    annotations::check(faults.document, faults);
    let document_ref = faults.document;
    let jobs = Jobs {
        strategy: strategy(object),
        combine: combine(object),
        pending_pod_conditions: conditions(object),
        paused: annotations::paused(document_ref),
    };
    Some(Target {
        spec: Spec {
            target: Arc::from(format!("{}/{}", document_ref.namespace, document_ref.name)),
            kind: Kind::ScaledJob(jobs),
            min,
            max,
            signals: lowered.signals,
            on_absent: annotations::on_absent(document_ref, faults),
            polling_interval,
            behavior: None,
            tuning: Tuning::default(),
        },
        document,
        crons: lowered.crons,
        aliases: lowered.aliases,
        triggers: lowered.called.into(),
    })
}

/// A custom strategy whose percentage cannot be read is the default strategy, as in KEDA.
fn strategy(object: &ScaledJob) -> Strategy {
    let Some(scaling) = &object.spec.scaling_strategy else { return Strategy::Default };
    match scaling.strategy {
        None | Some(ScalingStrategyKind::Default) => Strategy::Default,
        Some(ScalingStrategyKind::Accurate) => Strategy::Accurate,
        Some(ScalingStrategyKind::Eager) => Strategy::Eager,
        Some(ScalingStrategyKind::Custom) => {
            let percentage = scaling.custom_scaling_running_job_percentage.as_deref().unwrap_or_default();
            match percentage.parse::<f64>() {
                Ok(running_fraction) if running_fraction.is_finite() => Strategy::Custom {
                    deduction: scaling.custom_scaling_queue_length_deduction.unwrap_or(0),
                    running_fraction,
                },
                _ => Strategy::Default,
            }
        }
    }
}

fn combine(object: &ScaledJob) -> Combine {
    let scaling = object.spec.scaling_strategy.as_ref();
    match scaling.and_then(|scaling| scaling.multiple_scalers_calculation) {
        None | Some(MultipleScalersCalculation::Max) => Combine::Max,
        Some(MultipleScalersCalculation::Min) => Combine::Min,
        Some(MultipleScalersCalculation::Avg) => Combine::Avg,
        Some(MultipleScalersCalculation::Sum) => Combine::Sum,
    }
}

fn conditions(object: &ScaledJob) -> Vec<String> {
    let scaling = object.spec.scaling_strategy.as_ref();
    scaling.and_then(|scaling| scaling.pending_pod_conditions.clone()).unwrap_or_default()
}
