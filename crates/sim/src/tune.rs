//! Settings of a manifest's rules to be tried, and which of the tried ones are worth having.

use tidegate_core::scale::spec::{Behavior, Goal, Kind, Metric, Rules};
use tidegate_core::time::Span;
use tidegate_core::units::Milli;
use tidegate_manifest::Target;

/// One way to set a manifest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Every threshold times this.
    pub threshold: f64,
    /// `scaleDown.stabilizationWindowSeconds`.
    pub down_window: Span,
}

/// What a setting gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    /// The setting.
    pub setting: Setting,
    /// Share of requests in time.
    pub slo_attainment: f64,
    /// What it cost.
    pub gpu_hours: f64,
}

/// Factors of the first round: two octaves down, one and a half up, in half octaves.
const OCTAVES: [f64; 8] = [-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5];
/// Windows of the first round, in seconds.
const WINDOWS_S: [i64; 3] = [60, 300, 900];

/// A number a thousandth fine, and never nothing: a threshold of 0 is none.
fn scaled(amount: Milli, factor: f64) -> Milli {
    let value = (amount.as_f64() * factor).max(0.001);
    Milli::published(value)
}

impl Setting {
    /// The first round.
    #[must_use]
    pub fn grid() -> Vec<Setting> {
        let windows = WINDOWS_S.iter().map(|window| Span::from_secs(*window));
        let all = windows.flat_map(|down_window| {
            OCTAVES.iter().map(move |octave| Setting { threshold: libm::exp2(*octave), down_window })
        });
        all.collect()
    }

    /// The second: around the best of the first, half as far apart.
    #[must_use]
    pub fn around(&self) -> Vec<Setting> {
        let factor = |octave: f64| self.threshold * libm::exp2(octave);
        let window = |by: f64| {
            let seconds = (self.down_window.as_secs_f64() * by).clamp(15.0, 3_600.0);
            Span::from_secs(libm::round(seconds) as i64)
        };
        vec![
            Setting { threshold: factor(-0.25), ..*self },
            Setting { threshold: factor(0.25), ..*self },
            Setting { down_window: window(0.5), ..*self },
            Setting { down_window: window(2.0), ..*self },
            Setting { threshold: factor(0.25), down_window: window(2.0) },
            Setting { threshold: factor(-0.25), down_window: window(0.5) },
        ]
    }

    /// The target with this setting.
    #[must_use]
    pub fn applied(&self, target: &Target) -> Target {
        let mut target = target.clone();
        for signal in &mut target.spec.signals {
            // A cron's goal is one replica for each it names, and no threshold.
            if target.crons.iter().any(|cron| *cron.signal == *signal.name) {
                continue;
            }
            if let Metric::External(goal) = &mut signal.metric {
                *goal = match *goal {
                    Goal::AverageValue(amount) => Goal::AverageValue(scaled(amount, self.threshold)),
                    Goal::Value(amount) => Goal::Value(scaled(amount, self.threshold)),
                };
            }
        }
        if let Kind::ScaledObject(keda) = &mut target.spec.kind
            && let Some(modifiers) = &mut keda.modifiers
        {
            modifiers.target = scaled(modifiers.target, self.threshold);
        }
        let behavior = target.spec.behavior.get_or_insert_with(|| Behavior {
            up: Rules::up_defaults(),
            down: Rules::down_defaults(Span::ZERO),
        });
        behavior.down.window = self.down_window;
        target
    }
}

/// Of what was tried, those to which nothing else is at least as good in both: cheapest first.
#[must_use]
pub fn front(tried: &[Tried]) -> Vec<Tried> {
    let mut sorted = tried.to_vec();
    sorted.sort_by(|a, b| {
        a.gpu_hours.total_cmp(&b.gpu_hours).then(b.slo_attainment.total_cmp(&a.slo_attainment))
    });
    let mut best = f64::NEG_INFINITY;
    sorted.retain(|one| {
        let better = one.slo_attainment > best;
        best = best.max(one.slo_attainment);
        better
    });
    sorted
}

/// The cheapest that holds the objective; where none does, the one that comes nearest.
#[must_use]
pub fn best(tried: &[Tried], attainment: f64) -> Option<Tried> {
    let holds = tried.iter().filter(|one| one.slo_attainment >= attainment);
    let cheapest = holds.min_by(|a, b| a.gpu_hours.total_cmp(&b.gpu_hours));
    cheapest.or_else(|| tried.iter().max_by(|a, b| a.slo_attainment.total_cmp(&b.slo_attainment))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(slo_attainment: f64, gpu_hours: f64) -> Tried {
        let setting = Setting { threshold: gpu_hours, down_window: Span::ZERO };
        Tried { setting, slo_attainment, gpu_hours }
    }

    #[test]
    fn the_front_leaves_out_what_is_dearer_and_no_better() {
        let all = [tried(0.9, 2.0), tried(0.99, 5.0), tried(0.9, 3.0), tried(0.5, 1.0), tried(0.95, 6.0)];
        let hours: Vec<f64> = front(&all).iter().map(|one| one.gpu_hours).collect();
        assert_eq!(hours, [1.0, 2.0, 5.0]);
        assert_eq!(best(&all, 0.95).map(|one| one.gpu_hours), Some(5.0));
        assert_eq!(best(&all, 0.999).map(|one| one.gpu_hours), Some(5.0), "nothing holds: the nearest");
    }

    #[test]
    fn a_setting_scales_thresholds_and_sets_the_window() {
        let yaml = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: a}\nspec:\n  \
            scaleTargetRef: {name: a}\n  triggers:\n  - type: prometheus\n    metadata: {serverAddress: 'http://p', \
            query: 'sum(x)', threshold: '8'}\n";
        let manifests = tidegate_manifest::load(&[tidegate_manifest::Source::new("a.yaml", yaml)]);
        let target = tidegate_manifest::lower(&manifests).targets.remove(0);
        let set = Setting { threshold: 0.5, down_window: Span::from_secs(60) }.applied(&target);
        let goal = Goal::AverageValue(Milli(4_000));
        assert_eq!(set.spec.signals[0].metric, Metric::External(goal));
        assert_eq!(set.spec.behavior.unwrap().down.window, Span::from_secs(60));
    }
}
