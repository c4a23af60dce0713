//! What the bench is told.

use std::path::PathBuf;

use tidegate_sim::policy::Choice;

use crate::Failure;

/// The arguments, with their defaults.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) trace: Option<PathBuf>,
    pub(crate) profile: String,
    pub(crate) starts_s: Vec<f64>,
    pub(crate) policies: Vec<Choice>,
    pub(crate) seeds: u64,
    pub(crate) slo_ttft_s: f64,
    pub(crate) fleet: u32,
    pub(crate) scale: Option<f64>,
    pub(crate) scale_from: f64,
    pub(crate) tokens: f64,
    pub(crate) tokens_max: u32,
    from_s: f64,
    for_s: Option<f64>,
    tune_from_s: Option<f64>,
    tune_for_s: Option<f64>,
}

impl Arguments {
    /// Reads `--name value` pairs. Cargo's own `--bench` is passed over.
    pub(crate) fn read(given: impl Iterator<Item = String>) -> Result<Arguments, Failure> {
        let mut read = Arguments {
            trace: None,
            profile: "h100-llama-3.1-8b".to_owned(),
            starts_s: vec![60.0, 180.0, 300.0],
            policies: Vec::new(),
            seeds: 3,
            slo_ttft_s: 2.0,
            fleet: 16,
            scale: None,
            scale_from: 1.0,
            tokens: 1.0,
            tokens_max: u32::MAX,
            from_s: 0.0,
            for_s: None,
            tune_from_s: None,
            tune_for_s: None,
        };
        let mut policies = "slo,keda,live,kpa,aibrix,kubeai,ray,wva".to_owned();
        let mut given = given.filter(|argument| argument != "--bench");
        while let Some(name) = given.next() {
            let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || value.parse::<f64>().map_err(|_| format!("{name}: {value} is not a number"));
            match name.as_str() {
                "--trace" => read.trace = Some(value.into()),
                "--profile" => read.profile = value,
                "--policies" => policies = value,
                "--start-s" => {
                    let starts = value.split(',').map(str::parse).collect::<Result<_, _>>();
                    read.starts_s = starts.map_err(|_| format!("{name}: {value} are no numbers"))?;
                }
                "--seeds" => read.seeds = number()? as u64,
                "--slo-ttft-s" => read.slo_ttft_s = number()?,
                "--fleet" => read.fleet = number()? as u32,
                "--scale" => read.scale = Some(number()?),
                "--scale-from" => read.scale_from = number()?,
                "--tokens" => read.tokens = number()?,
                "--tokens-max" => read.tokens_max = number()? as u32,
                "--from-s" => read.from_s = number()?,
                "--for-s" => read.for_s = Some(number()?),
                "--tune-from-s" => read.tune_from_s = Some(number()?),
                "--tune-for-s" => read.tune_for_s = Some(number()?),
                _ => return Err(format!("there is no {name}").into()),
            }
        }
        read.policies = policies.split(',').map(Choice::parse).collect::<Result<_, _>>()?;
        Ok(read)
    }

    /// The stretch that is evaluated: where it begins, and how long it is.
    pub(crate) fn stretch(&self) -> (f64, Option<f64>) {
        (self.from_s, self.for_s)
    }

    /// The stretch that settings are searched on.
    pub(crate) fn tune_stretch(&self) -> (f64, Option<f64>) {
        (self.tune_from_s.unwrap_or(self.from_s), self.tune_for_s.or(self.for_s))
    }

    pub(crate) fn trace_name(&self) -> String {
        let name = self.trace.as_ref().and_then(|path| path.file_name());
        name.map_or_else(|| "demo trace".to_owned(), |name| name.to_string_lossy().into_owned())
    }
}
