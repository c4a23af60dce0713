//! Annotations: KEDA's pauses and ours.

use tidegate_core::scale::spec::{OnAbsent, Pause};
use tidegate_core::slo::Objective;

use super::Faults;
use crate::load::Document;
use crate::{duration, path};

/// One of our annotations.
#[derive(Clone, Copy, Debug)]
pub struct Annotation {
    /// Its full name.
    pub name: &'static str,
    /// What it says, in a phrase.
    pub about: &'static str,
    /// What this version does with it.
    pub now: &'static str,
}

/// Every annotation under `tidegate.dev/`.
pub const ANNOTATIONS: &[Annotation] = &[
    Annotation {
        name: "tidegate.dev/model",
        about: "model names that requests use",
        now: "`up` and `gateway` route by it; `lint` takes it for a promise that requests are held at zero",
    },
    Annotation {
        name: "tidegate.dev/policy",
        about: "the policy that decides",
        now: "`keda` by default; `slo` counts work in tokens and looks one start ahead",
    },
    Annotation {
        name: "tidegate.dev/slo-ttft",
        about: "objective for the time to the first token",
        now: "policy `slo` holds it for 95 % of requests; 2 s by default",
    },
    Annotation {
        name: "tidegate.dev/slo-itl",
        about: "objective for the time between tokens",
        now: "policy `slo` keeps batches small enough for it; none by default",
    },
    Annotation {
        name: "tidegate.dev/on-absent",
        about: "what an empty reading does: manifest, keep, zero, error",
        now: "decides",
    },
    Annotation {
        name: "tidegate.dev/hold-timeout",
        about: "how long a request may wait for a first replica",
        now: "`up`, `gateway`: 10 minutes by default",
    },
    Annotation {
        name: "tidegate.dev/hold-max",
        about: "how many requests may wait for a first replica",
        now: "`up`, `gateway`: 1000 by default",
    },
    Annotation {
        name: "tidegate.dev/honour-polling-interval",
        about: "ask remote sources only every pollingInterval",
        now: "`up`: every second by default",
    },
    Annotation {
        name: "tidegate.dev/prometheus",
        about: "embedded: evaluate queries over what we scrape; remote: ask the server the trigger names",
        now: "as `--prometheus` says: for `up` embedded by default, for `operator` remote",
    },
    Annotation {
        name: "tidegate.dev/metrics-key",
        about: "`SECRET/ENTRY` with the key that pods ask for before they show their metrics",
        now: "`operator` sends it as a bearer token; on the pod template",
    },
    Annotation {
        name: "tidegate.dev/metrics-ca",
        about: "`SECRET/ENTRY` with the authorities of pods whose `prometheus.io/scheme` is `https`, or `none` to check nothing",
        now: "`operator`: the machine's authorities by default; on the pod template",
    },
    Annotation {
        name: "tidegate.dev/metrics-host",
        about: "the name that the certificates of such pods have",
        now: "`operator`: the pod's address by default; on the pod template",
    },
    Annotation {
        name: "tidegate.dev/preemptible",
        about: "whether the target yields its GPU",
        now: "`up`: yes, unless it says false",
    },
    Annotation { name: "tidegate.dev/gpu-price-per-hour", about: "for the cost shown", now: "`up` shows it" },
    Annotation {
        name: "tidegate.dev/adopt",
        about: "take this object over (`true`: once decisions agree, `confirmed`: at once), or leave it alone (`false`)",
        now: "`operator` does; `adopt` and `release` write it",
    },
    Annotation {
        name: "tidegate.dev/adopted",
        about: "what was there before an object was taken over; `false` once it was given back",
        now: "written by `operator`",
    },
    Annotation {
        name: "tidegate.dev/pause-keda",
        about: "a KEDA that stays for other objects is told to leave this one alone",
        now: "`operator` does; `adopt --keda pause` writes it",
    },
    Annotation {
        name: "tidegate.dev/local-command",
        about: "the command on one machine",
        now: "`up` runs it",
    },
];

/// KEDA's reading of a boolean annotation: Go's `ParseBool`, and what that cannot parse is true.
fn is_set(document: &Document, name: &str) -> bool {
    match document.annotation(name).as_deref() {
        None => false,
        Some("0" | "f" | "F" | "FALSE" | "false" | "False") => false,
        Some(_) => true,
    }
}

/// Whether `autoscaling.keda.sh/paused` is set.
pub(super) fn paused(document: &Document) -> bool {
    is_set(document, "autoscaling.keda.sh/paused")
}

/// Whether `autoscaling.keda.sh/force-activation` is set.
pub(super) fn force_activation(document: &Document) -> bool {
    is_set(document, "autoscaling.keda.sh/force-activation")
}

/// The pauses of a ScaledObject.
pub(super) fn pause(document: &Document, faults: &mut Faults<'_>) -> Pause {
    const AT: &str = "autoscaling.keda.sh/paused-replicas";
    let at = document.annotation(AT).and_then(|text| match text.trim().parse::<i32>() {
        Ok(count) if count >= 0 => u32::try_from(count).ok(),
        _ => {
            let path = path!["metadata", "annotations", AT];
            faults.invalid(
                path,
                format!("{AT} is {text:?}, not a count"),
                "write a whole number such as \"2\"",
            );
            None
        }
    });
    Pause {
        all: paused(document),
        at,
        scale_in: is_set(document, "autoscaling.keda.sh/paused-scale-in"),
        scale_out: is_set(document, "autoscaling.keda.sh/paused-scale-out"),
    }
}

/// `tidegate.dev/on-absent`.
pub(super) fn on_absent(document: &Document, faults: &mut Faults<'_>) -> OnAbsent {
    const NAME: &str = "tidegate.dev/on-absent";
    match document.annotation(NAME).as_deref() {
        None | Some("manifest") => OnAbsent::Manifest,
        Some("keep") => OnAbsent::Keep,
        Some("zero") => OnAbsent::Zero,
        Some("error") => OnAbsent::Error,
        Some(other) => {
            let path = path!["metadata", "annotations", NAME];
            let message = format!("{NAME} is {other:?}, not manifest, keep, zero or error");
            faults.invalid(path, message, "use one of the four");
            OnAbsent::Manifest
        }
    }
}

/// What policy `slo` promises; `None` for another policy. What cannot be read is told by [`check`].
pub(super) fn slo(document: &Document) -> Option<Objective> {
    if document.annotation("tidegate.dev/policy").as_deref() != Some("slo") {
        return None;
    }
    let span = |name| duration::parse(&document.annotation(name)?).ok();
    let first = Objective::default();
    Some(Objective {
        ttft: span("tidegate.dev/slo-ttft").unwrap_or(first.ttft),
        itl: span("tidegate.dev/slo-itl"),
    })
}

/// Values of our other annotations, checked so that a slip is told before it matters.
pub(super) fn check(document: &Document, faults: &mut Faults<'_>) {
    let mut check = |name: &str, valid: &dyn Fn(&str) -> bool, help: &str| {
        if let Some(value) = document.annotation(name).filter(|value| !valid(value)) {
            let path = path!["metadata", "annotations", name];
            faults.invalid(path, format!("{name} is {value:?}"), help);
        }
    };
    let duration = |text: &str| duration::parse(text).is_ok_and(|span| span.as_micros() > 0);
    let boolean = |text: &str| matches!(text, "true" | "false");
    check("tidegate.dev/policy", &|text| matches!(text, "keda" | "slo"), "write keda or slo");
    check("tidegate.dev/slo-ttft", &duration, "write a duration such as 2s");
    check("tidegate.dev/slo-itl", &duration, "write a duration such as 50ms");
    check("tidegate.dev/hold-timeout", &duration, "write a duration such as 5m");
    check("tidegate.dev/hold-max", &|text| text.parse::<u32>().is_ok(), "write a whole number such as 500");
    check("tidegate.dev/honour-polling-interval", &boolean, "write \"true\" or \"false\"");
    check("tidegate.dev/preemptible", &boolean, "write \"true\" or \"false\"");
    let wish = |text: &str| matches!(text, "true" | "confirmed" | "false");
    check("tidegate.dev/adopt", &wish, "write \"true\", \"confirmed\" or \"false\"");
    let answered = |text: &str| matches!(text, "embedded" | "remote");
    check("tidegate.dev/prometheus", &answered, "write embedded or remote, or leave it out");
    let price = |text: &str| text.parse::<f64>().is_ok_and(|price| price.is_finite() && price >= 0.0);
    check("tidegate.dev/gpu-price-per-hour", &price, "write a number such as 2.50");
}
