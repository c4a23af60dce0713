//! One line of observations.
//!
//! ```json
//! {"t": 1700000000, "target": "default/vllm", "replicas": {"spec": 1, "ready": 1},
//!  "signals": {"waiting": 25, "kv": null, "queue": {"error": "connection refused"}}}
//! ```
//!
//! A signal is a number, `null` (absent), `{"value", "active"}`, `{"error"}`, `{"value", "stale_s"}`
//! (stale), a list of numbers (one a series), or `{"samples": […]}` (one a pod). Ages of pods and
//! samples count back from `t`. What is not understood is refused whole, so that a slip in a name never
//! looks like a quiet fleet.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use tidegate_core::scale::{Job, JobPod, Phase, Pod, Reading, Requests, Sample};
use tidegate_core::time::{Span, Time};
use tidegate_core::units::Milli;

use crate::work::Work;

/// A line at the most: a thousand pods with two containers each are 400 KB.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// Why a line is not an observation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LineError {
    /// One sentence.
    pub message: String,
}

pub(crate) fn refuse<T>(message: impl Into<String>) -> Result<T, LineError> {
    Err(LineError { message: message.into() })
}

/// A line as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// Unix seconds.
    pub t: serde_json::Number,
    /// `namespace/name`; may be left out when there is one target.
    pub target: Option<String>,
    /// The replicas that exist; may be left out when the last decision stands.
    #[serde(default)]
    pub replicas: Replicas,
    /// Readings by signal.
    #[serde(default)]
    pub signals: Signals,
    /// The target's pods.
    pub pods: Option<Vec<PodLine>>,
    /// A ScaledJob's jobs, where pending ones are to be told from their pods.
    pub jobs: Option<Vec<JobLine>>,
    /// Unix seconds of the object's creation.
    pub created: Option<f64>,
    /// Unix seconds of its last activity.
    pub last_active: Option<f64>,
    /// What came and what engines did, for policy `slo`.
    pub work: Option<Work>,
    /// How long starts that are over took, in seconds.
    #[serde(default)]
    pub started_s: Vec<f64>,
}

/// `replicas`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replicas {
    /// `spec.replicas`; the last decision by default.
    pub spec: Option<u32>,
    /// Running and Ready; all that are not starting by default.
    pub ready: Option<u32>,
    /// Existing and not ready yet.
    pub starting: Option<u32>,
    /// `status.replicas`; `spec` by default.
    pub status: Option<u32>,
}

/// `signals`: values by name. A name that stands twice is refused, not overwritten.
#[derive(Clone, Debug, Default)]
pub struct Signals(pub BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Signals {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Signals;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("signals by name")
            }

            fn visit_unit<E>(self) -> Result<Signals, E> {
                Ok(Signals::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Signals, A::Error> {
                let mut signals = BTreeMap::new();
                while let Some((name, value)) = entries.next_entry::<String, Value>()? {
                    if signals.contains_key(&name) {
                        return Err(A::Error::custom(format!("signal {name} stands twice")));
                    }
                    signals.insert(name, value);
                }
                Ok(Signals(signals))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

/// A signal's value as it is written.
#[derive(Clone, Debug)]
pub enum Value {
    /// Absent.
    Null,
    /// One number.
    Number(f64),
    /// One number a series.
    Series(Vec<f64>),
    /// Anything else.
    Object(ValueObject),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, null, a list of numbers, {value, active}, {value, stale_s}, {error} or {samples}")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Number(value as f64))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Number(value as f64))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Number(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Value::Series)
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Value, A::Error> {
                ValueObject::deserialize(MapAccessDeserializer::new(entries)).map(Value::Object)
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

/// `{"value", "active"}`, `{"value", "stale_s"}`, `{"error"}`, `{"samples"}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueObject {
    value: Option<f64>,
    active: Option<bool>,
    stale_s: Option<f64>,
    error: Option<String>,
    samples: Option<Vec<SampleLine>>,
}

/// A pod, with the fields of the conformance table.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodLine {
    name: String,
    #[serde(default = "running")]
    phase: Phase,
    /// `"True"`, `"False"`, `"Unknown"`, a boolean, or null where there is no such condition.
    #[serde(default)]
    ready: Option<Ready>,
    start_age_seconds: Option<f64>,
    ready_transition_age_seconds: Option<f64>,
    #[serde(default)]
    deleting: bool,
    /// Thousandths by container, or by container and resource.
    #[serde(default)]
    requests: BTreeMap<String, Option<RequestLine>>,
    /// What it used, by signal.
    #[serde(default)]
    samples: Option<PodSamples>,
}

fn running() -> Phase {
    Phase::Running
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Ready {
    Flag(bool),
    Text(String),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum RequestLine {
    One(i64),
    ByResource(BTreeMap<String, i64>),
}

/// Samples inside a pod: by signal, or one for the only signal that wants them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum PodSamples {
    List(Vec<SampleLine>),
    BySignal(BTreeMap<String, SampleLine>),
}

/// A sample, with the fields of the conformance table.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SampleLine {
    pod: Option<String>,
    /// Which signal it belongs to, inside a pod's list.
    #[serde(alias = "metric", alias = "resource")]
    signal: Option<String>,
    value_milli: Option<i64>,
    #[serde(default)]
    containers: BTreeMap<String, Option<i64>>,
    #[serde(default)]
    age_seconds: f64,
    #[serde(default)]
    window_seconds: f64,
}

/// A job.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobLine {
    #[serde(default)]
    finished: bool,
    #[serde(default)]
    pods: Vec<JobPodLine>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobPodLine {
    phase: Phase,
    #[serde(default)]
    conditions: Vec<String>,
}

impl Observation {
    /// Reads one line.
    ///
    /// # Errors
    /// When it is not an observation; the message names the column.
    pub fn parse(line: &str) -> Result<Self, LineError> {
        if line.len() > LINE_BYTES_MAX {
            return refuse(format!("the line has {} bytes, more than {LINE_BYTES_MAX}", line.len()));
        }
        serde_json::from_str(line).or_else(|error| {
            // A line is one line: only the column is news.
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message);
            refuse(format!("column {}: {message}", error.column()))
        })
    }

    /// The instant of the line.
    ///
    /// # Errors
    /// When `t` is no time.
    pub fn time(&self) -> Result<Time, LineError> {
        self.t
            .as_f64()
            .and_then(Time::try_from_secs_f64)
            .map_or_else(|| refuse("t is no time in seconds"), Ok)
    }

    /// The pods as the core sees them.
    #[must_use]
    pub fn core_pods(&self, now: Time) -> Option<Vec<Pod>> {
        self.pods.as_ref().map(|pods| pods.iter().map(|pod| pod.to_core(now)).collect())
    }

    /// The jobs as the core sees them.
    #[must_use]
    pub fn core_jobs(&self) -> Option<Vec<Job>> {
        let pod = |pod: &JobPodLine| JobPod { phase: pod.phase, conditions: pod.conditions.clone() };
        let job = |job: &JobLine| Job { finished: job.finished, pods: job.pods.iter().map(pod).collect() };
        Some(self.jobs.as_ref()?.iter().map(job).collect())
    }

    /// Samples that stand inside pods, by signal; the empty name is "the only one that wants them".
    #[must_use]
    pub fn pod_samples(&self, now: Time) -> BTreeMap<String, Vec<Sample>> {
        let mut by_signal: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for pod in self.pods.iter().flatten() {
            match &pod.samples {
                None => {}
                Some(PodSamples::List(list)) => {
                    for sample in list {
                        let signal = sample.signal.clone().unwrap_or_default();
                        by_signal.entry(signal).or_default().push(sample.to_core(&pod.name, now));
                    }
                }
                Some(PodSamples::BySignal(map)) => {
                    for (signal, sample) in map {
                        by_signal.entry(signal.clone()).or_default().push(sample.to_core(&pod.name, now));
                    }
                }
            }
        }
        by_signal
    }
}

/// A count of seconds before `now`; what is too long ago to say becomes the beginning of time.
fn ago(now: Time, seconds: f64) -> Time {
    Span::try_from_secs_f64(seconds).map_or(Time::from_micros(i64::MIN), |age| now - age)
}

impl PodLine {
    fn to_core(&self, now: Time) -> Pod {
        let mut requests = Requests::default();
        for (container, request) in &self.requests {
            let by_resource = match request {
                None => BTreeMap::new(),
                Some(RequestLine::One(milli)) => BTreeMap::from([("*".to_owned(), Milli(*milli))]),
                Some(RequestLine::ByResource(map)) => {
                    map.iter().map(|(resource, milli)| (resource.clone(), Milli(*milli))).collect()
                }
            };
            requests.containers.insert(container.clone(), by_resource);
        }
        Pod {
            name: self.name.clone(),
            phase: self.phase,
            ready: match &self.ready {
                None => None,
                Some(Ready::Flag(ready)) => Some(*ready),
                Some(Ready::Text(text)) => Some(text == "True"),
            },
            started: self.start_age_seconds.map(|age| ago(now, age)),
            ready_changed: self.ready_transition_age_seconds.map(|age| ago(now, age)),
            deleting: self.deleting,
            requests,
        }
    }
}

impl SampleLine {
    fn to_core(&self, pod: &str, now: Time) -> Sample {
        let mut containers: BTreeMap<String, Option<Milli>> =
            self.containers.iter().map(|(name, milli)| (name.clone(), milli.map(Milli))).collect();
        if let Some(milli) = self.value_milli {
            containers.insert(String::new(), Some(Milli(milli)));
        }
        Sample {
            pod: self.pod.clone().unwrap_or_else(|| pod.to_owned()),
            containers,
            at: ago(now, self.age_seconds),
            window: Span::try_from_secs_f64(self.window_seconds).unwrap_or_default(),
        }
    }
}

impl Value {
    /// The reading it is.
    ///
    /// # Errors
    /// When an object says too much or too little.
    pub fn reading(&self, now: Time) -> Result<Reading, LineError> {
        let object = match self {
            Value::Null => return Ok(Reading::Absent),
            Value::Number(value) => return Ok(Reading::Value { value: *value, active: None }),
            Value::Series(values) => return Ok(Reading::Series(values.clone())),
            Value::Object(object) => object,
        };
        match object {
            ValueObject { error: Some(text), value: None, active: None, stale_s: None, samples: None } => {
                Ok(Reading::Error(Arc::from(text.as_str())))
            }
            ValueObject { samples: Some(samples), value: None, active: None, stale_s: None, error: None } => {
                if samples.iter().any(|sample| sample.pod.is_none()) {
                    return refuse("a sample of a signal must name its pod");
                }
                Ok(Reading::Samples(samples.iter().map(|sample| sample.to_core("", now)).collect()))
            }
            ValueObject {
                value: Some(value),
                stale_s: Some(age),
                active: None,
                error: None,
                samples: None,
            } => match Span::try_from_secs_f64(*age).filter(|age| *age >= Span::ZERO) {
                Some(Span::ZERO) => Ok(Reading::Value { value: *value, active: None }),
                Some(age) => Ok(Reading::Stale { value: *value, age }),
                None => refuse(format!("stale_s is {age}, not an age in seconds")),
            },
            ValueObject { value: Some(value), active, stale_s: None, error: None, samples: None } => {
                Ok(Reading::Value { value: *value, active: *active })
            }
            _ => refuse("a signal object is {value, active}, {value, stale_s}, {error} or {samples}"),
        }
    }
}
