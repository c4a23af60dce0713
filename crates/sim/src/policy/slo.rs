//! Policy `slo` where there is no manifest: a bare target, scaled by its work alone.

use std::sync::Arc;

use tidegate_core::scale::spec::Kind;
use tidegate_core::slo::Objective;
use tidegate_manifest::{Manifests, Source, Target, load, lower};

use super::{Error, Keda};

const BARE: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: bare, annotations: {tidegate.dev/policy: slo}}
spec:
  scaleTargetRef: {name: bare}
  triggers:
  - type: external-push
    metadata: {scalerAddress: 'none:1'}
";

/// A target without triggers between these bounds, and the manifests it stands in.
fn bare(objective: Objective, (min, max): (u32, u32)) -> Option<(Target, Manifests)> {
    let manifests = load(&[Source::new("bare.yaml", BARE)]);
    let mut target = lower(&manifests).targets.into_iter().next()?;
    target.spec.target = Arc::from("default/target");
    target.spec.signals.clear();
    (target.spec.min, target.spec.max) = (min, max);
    if let Kind::ScaledObject(keda) = &mut target.spec.kind {
        keda.slo = Some(objective);
    }
    Some((target, manifests))
}

/// The policy on a bare target.
pub(super) fn without_manifest(objective: Objective, bounds: (u32, u32)) -> Result<Option<Keda>, Error> {
    let Some((target, manifests)) = bare(objective, bounds) else { return Ok(None) };
    Keda::slo(&target, &manifests, objective, 0).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_bare_target() {
        let (target, _) = bare(Objective::default(), (0, 9)).unwrap();
        assert_eq!((target.spec.min, target.spec.max, target.spec.signals.len()), (0, 9, 0));
    }
}
