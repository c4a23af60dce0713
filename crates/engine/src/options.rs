//! What the stand-in is told when it starts.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use tidegate_sim::Profile;

use crate::Error;

/// Whose manners and metrics to take on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// vLLM, V1 engine.
    #[default]
    Vllm,
    /// SGLang.
    Sglang,
    /// Hugging Face text-generation-inference.
    Tgi,
    /// The llama.cpp server.
    LlamaCpp,
}

impl Dialect {
    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Dialect::Vllm => "vllm",
            Dialect::Sglang => "sglang",
            Dialect::Tgi => "tgi",
            Dialect::LlamaCpp => "llamacpp",
        }
    }
}

impl FromStr for Dialect {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Dialect::Vllm, Dialect::Sglang, Dialect::Tgi, Dialect::LlamaCpp]
            .into_iter()
            .find(|dialect| dialect.name() == text)
            .ok_or_else(|| Error::option("dialect", text, "vllm, sglang, tgi or llamacpp"))
    }
}

/// A way to misbehave, for tests of those who talk to engines. Health, models and metrics stay well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers requests with bytes that are not HTTP.
    Garbage,
    /// Takes requests and never answers.
    Hang,
    /// Answers one byte a second.
    Trickle,
    /// Dies as the next request after so many arrives.
    CrashAfter(u64),
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "garbage" => Ok(Fault::Garbage),
            "hang" => Ok(Fault::Hang),
            "trickle" => Ok(Fault::Trickle),
            _ => text
                .strip_prefix("crash-after=")
                .and_then(|count| count.parse().ok())
                .map(Fault::CrashAfter)
                .ok_or_else(|| Error::option("fault", text, "garbage, hang, trickle or crash-after=N")),
        }
    }
}

/// How to run a stand-in engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Names the one model answers to; the first is the one in metrics.
    pub models: Vec<String>,
    /// Whose manners and metrics.
    pub dialect: Dialect,
    /// Speed, memory and cold start.
    pub profile: Profile,
    /// Length of the cold start in seconds; `None` takes the profile's.
    pub start_s: Option<f64>,
    /// Compresses all time, the start's included, by this factor.
    pub speed: f64,
    /// Instead of the profile's `max_num_seqs`. llama.cpp takes 4 where nothing is said, as `--parallel`.
    pub max_num_seqs: Option<u32>,
    /// Instead of the profile's `kv_tokens`.
    pub kv_tokens: Option<u64>,
    /// Ends running streams at once when told to stop, as vLLM and llama.cpp do by default, instead of
    /// letting them run to their end.
    pub abort_on_sigterm: bool,
    /// A way to misbehave.
    pub fault: Option<Fault>,
    /// Requests under `/v1` must carry this key as bearer token.
    pub api_key: Option<String>,
    /// Writes the start's phases to standard error.
    pub log: bool,
    /// Writes a line for each request, in the order they came.
    pub log_requests: bool,
}

impl Options {
    /// A silent engine for `model` on a free port of the loopback, ready at once and without delays.
    #[must_use]
    pub fn new(model: &str) -> Options {
        Options {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            models: vec![model.to_owned()],
            dialect: Dialect::Vllm,
            profile: Profile::instant(),
            start_s: None,
            speed: 1.0,
            max_num_seqs: None,
            kv_tokens: None,
            abort_on_sigterm: false,
            fault: None,
            api_key: None,
            log: false,
            log_requests: false,
        }
    }

    /// The profile with everything said beside it worked in.
    pub(crate) fn settled(&self) -> Result<Profile, Error> {
        // A million turns a year into half a minute; below a thousandth no client waits for a token.
        if !(0.001..=1e6).contains(&self.speed) {
            return Err(Error::option("speed", self.speed, "between 0.001 and 1,000,000"));
        }
        if self.models.is_empty() || self.models.iter().any(String::is_empty) {
            return Err(Error::option(
                "model",
                self.models.join(","),
                "one or more names, with commas between",
            ));
        }
        let mut profile = self.profile.clone();
        if let Some(start_s) = self.start_s {
            if !(0.0..=86_400.0).contains(&start_s) {
                return Err(Error::option("start-s", start_s, "between 0 and 86,400 seconds"));
            }
            profile.cold_start = profile.cold_start.scaled_to(start_s);
        }
        if let Some(seats) = self.max_num_seqs {
            profile.max_num_seqs = seats;
        } else if self.dialect == Dialect::LlamaCpp {
            profile.max_num_seqs = profile.max_num_seqs.min(LLAMACPP_PARALLEL);
        }
        if let Some(tokens) = self.kv_tokens {
            profile.kv_tokens = tokens;
        }
        profile.check()?;
        Ok(profile)
    }
}

/// What llama.cpp's server takes for `--parallel` where nothing is said.
const LLAMACPP_PARALLEL: u32 = 4;
