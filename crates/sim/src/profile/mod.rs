//! How fast an engine is and how much it can hold: the numbers behind the model.
//!
//! An iteration that decodes `n` sequences over `c` tokens of context, and prefills chunks that take
//! their prompts from `p` to `q` tokens, lasts
//!
//! ```text
//! base + decode_per_seq·n + decode_per_context_token·c
//!      + Σ (prefill_per_token·(q−p) + prefill_quadratic·(q²−p²))
//! ```
//!
//! where `base` is the larger of the two bases when both kinds of work are in it: the weights are read once.
//! A profile with a [`Table`] takes the two lines from it instead: the measured points, and straight lines between
//! them. Built-in ones have both; `h100-llama-3.1-8b` is the table, `h100-llama-3.1-8b-fit` the formula alone.
//! The scheduler's own time on the CPU is not in the tables, so small models come out a little fast.

mod table;

pub use table::{DecodePoint, POINTS_MAX, Points, PrefillPoint, Table};

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cold_start::ColdStart;

/// A profile that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No profile of that name.
    #[error("there is no profile {name}; known are {known}, or give a JSON file")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Not the JSON of a profile.
    #[error("not a profile: {0}")]
    Json(#[from] serde_json::Error),
    /// A number outside its range.
    #[error("profile {profile}: {field} is {value}; it must be {must}")]
    Range {
        /// Which profile.
        profile: String,
        /// Which field.
        field: &'static str,
        /// What it says.
        value: f64,
        /// What is allowed.
        must: &'static str,
    },
    /// The built-in table is damaged.
    #[error("the built-in table of profiles: {0}")]
    Csv(#[from] csv::Error),
    /// The built-in points are no table.
    #[error("the built-in table of {profile}: {what}")]
    Table {
        /// Which profile.
        profile: String,
        /// What is wrong.
        what: String,
    },
}

/// One engine on its GPUs with one model. Every field but `name` has a default in JSON: those of `demo`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// What it is called.
    pub name: String,
    /// GPUs of one replica.
    pub gpus: u32,
    /// An iteration's least time when it decodes, in milliseconds: one read of the weights.
    pub decode_base_ms: f64,
    /// More for each sequence decoded, in milliseconds.
    pub decode_per_seq_ms: f64,
    /// More for each token of context attended to, in microseconds.
    pub decode_per_context_token_us: f64,
    /// An iteration's least time when it prefills, in milliseconds.
    pub prefill_base_ms: f64,
    /// More for each token prefilled, in microseconds.
    pub prefill_per_token_us: f64,
    /// More for each token squared, in nanoseconds: attention of a prompt to itself.
    pub prefill_quadratic_ns: f64,
    /// Tokens the KV cache holds.
    pub kv_tokens: u64,
    /// Tokens in a block of it.
    pub block_tokens: u32,
    /// Sequences in a batch at most (`--max-num-seqs`).
    pub max_num_seqs: u32,
    /// Tokens in an iteration at most (`--max-num-batched-tokens`); longer prompts are cut in chunks.
    pub max_batched_tokens: u32,
    /// Tokens of prompt and output together at most (`--max-model-len`).
    pub max_model_len: u32,
    /// Whether finished prompts stay in the cache for others.
    pub prefix_caching: bool,
    /// From process start to ready.
    pub cold_start: ColdStart,
    /// Measured iterations, which count instead of the formula.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<Arc<Table>>,
}

impl Default for Profile {
    fn default() -> Self {
        Profile::demo()
    }
}

/// aiconfigurator's fits and the tables they were fitted to; see `data/profiles/README.md`.
const FITS: &str = include_str!("../../data/profiles/fits.csv");
const DECODE: &str = include_str!("../../data/profiles/decode.csv");
const PREFILL: &str = include_str!("../../data/profiles/prefill.csv");

/// Limits that keep sums inside their integers: 2^20 sequences of 2^24 tokens are 2^44 tokens.
const KV_TOKENS_MAX: u64 = 1 << 40;
const SEQS_MAX: u32 = 1 << 20;
const MODEL_LEN_MAX: u32 = 1 << 24;

#[derive(Deserialize)]
struct Fit {
    system: String,
    model: String,
    tp: u32,
    dec_a: f64,
    dec_b: f64,
    dec_c_us_per_tok: f64,
    pre_a: f64,
    pre_b_us: f64,
    pre_c_ns: f64,
}

impl Profile {
    /// A small GPU for demonstrations: 16 sequences, 20 ms a token, a cache that a busy minute fills.
    #[must_use]
    pub fn demo() -> Profile {
        Profile {
            name: "demo".to_owned(),
            gpus: 1,
            decode_base_ms: 20.0,
            decode_per_seq_ms: 0.4,
            decode_per_context_token_us: 0.1,
            prefill_base_ms: 20.0,
            prefill_per_token_us: 60.0,
            prefill_quadratic_ns: 2.0,
            kv_tokens: 65_536,
            block_tokens: 16,
            max_num_seqs: 16,
            max_batched_tokens: 2048,
            max_model_len: 32_768,
            prefix_caching: true,
            cold_start: ColdStart { init_s: 0.8, load_s: 1.2, compile_s: 0.6, warm_s: 0.4 },
            table: None,
        }
    }

    /// No delay at all, for tests: an iteration lasts a microsecond, a start nothing.
    #[must_use]
    pub fn instant() -> Profile {
        Profile {
            name: "instant".to_owned(),
            gpus: 1,
            decode_base_ms: 0.001,
            decode_per_seq_ms: 0.0,
            decode_per_context_token_us: 0.0,
            prefill_base_ms: 0.001,
            prefill_per_token_us: 0.0,
            prefill_quadratic_ns: 0.0,
            kv_tokens: 1 << 24,
            block_tokens: 16,
            max_num_seqs: 16_384,
            max_batched_tokens: 1 << 20,
            max_model_len: 131_072,
            prefix_caching: true,
            cold_start: ColdStart::NONE,
            table: None,
        }
    }

    /// A profile by its name: `demo`, `instant`, or GPU and model as in `h100-llama-3.1-8b`, with `-tp2`
    /// behind it for another number of GPUs than the smallest known, and `-fit` for the formula in place of
    /// the table.
    ///
    /// # Errors
    /// [`Error::Unknown`] lists the names there are.
    pub fn named(name: &str) -> Result<Profile, Error> {
        let tabled = name.strip_suffix("-fit");
        let found = Profile::all()?.into_iter().find(|profile| profile.name == tabled.unwrap_or(name));
        match (found, tabled) {
            (Some(profile), None) => Ok(profile),
            (Some(profile), Some(_)) if profile.table.is_some() => {
                Ok(Profile { name: name.to_owned(), table: None, ..profile })
            }
            _ => Err(Error::Unknown { name: name.to_owned(), known: Profile::names()?.join(", ") }),
        }
    }

    /// Every name [`Profile::named`] knows, in order.
    ///
    /// # Errors
    /// Only when the built-in table is damaged.
    pub fn names() -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = Profile::all()?.into_iter().map(|profile| profile.name).collect();
        names.sort();
        Ok(names)
    }

    fn all() -> Result<Vec<Profile>, Error> {
        let mut profiles = vec![Profile::demo(), Profile::instant()];
        let fits: Vec<Fit> =
            csv::Reader::from_reader(FITS.as_bytes()).deserialize().collect::<Result<_, _>>()?;
        let mut tables = tables()?;
        for fit in &fits {
            let smallest = fits
                .iter()
                .filter(|other| other.system == fit.system && other.model == fit.model)
                .all(|other| other.tp >= fit.tp);
            let Some(mut profile) = of_fit(fit) else { continue };
            profile.table = tables.remove(&fit.engine()).map(Arc::new);
            if smallest {
                let short = profile.name.trim_end_matches(&format!("-tp{}", fit.tp)).to_owned();
                profiles.push(Profile { name: short, ..profile.clone() });
            }
            profiles.push(profile);
        }
        Ok(profiles)
    }

    /// A profile from its JSON; absent fields are those of `demo`.
    ///
    /// # Errors
    /// Unknown fields, wrong types, numbers out of range.
    pub fn parse(json: &str) -> Result<Profile, Error> {
        let profile: Profile = serde_json::from_str(json)?;
        profile.check()?;
        Ok(profile)
    }

    /// Whether every number is usable.
    ///
    /// # Errors
    /// [`Error::Range`] for the first that is not.
    pub fn check(&self) -> Result<(), Error> {
        let times = [
            ("decode_base_ms", self.decode_base_ms),
            ("decode_per_seq_ms", self.decode_per_seq_ms),
            ("decode_per_context_token_us", self.decode_per_context_token_us),
            ("prefill_base_ms", self.prefill_base_ms),
            ("prefill_per_token_us", self.prefill_per_token_us),
            ("prefill_quadratic_ns", self.prefill_quadratic_ns),
            ("cold_start.init_s", self.cold_start.init_s),
            ("cold_start.load_s", self.cold_start.load_s),
            ("cold_start.compile_s", self.cold_start.compile_s),
            ("cold_start.warm_s", self.cold_start.warm_s),
        ];
        for (field, value) in times {
            // A million seconds of start, or a million milliseconds a token, is a slip of units.
            self.within(field, value, (0.0..=1e6).contains(&value), "between 0 and 1,000,000")?;
        }
        let counts = [
            ("gpus", u64::from(self.gpus), 1, 1_024, "between 1 and 1,024"),
            ("block_tokens", u64::from(self.block_tokens), 1, 65_536, "between 1 and 65,536"),
            ("max_num_seqs", u64::from(self.max_num_seqs), 1, u64::from(SEQS_MAX), "between 1 and 2^20"),
            ("max_batched_tokens", u64::from(self.max_batched_tokens), 1, 1 << 24, "between 1 and 2^24"),
            (
                "max_model_len",
                u64::from(self.max_model_len),
                2,
                u64::from(MODEL_LEN_MAX),
                "between 2 and 2^24",
            ),
            (
                "kv_tokens",
                self.kv_tokens,
                2 * u64::from(self.block_tokens),
                KV_TOKENS_MAX,
                "at least two blocks and at most 2^40",
            ),
        ];
        for (field, value, least, most, must) in counts {
            self.within(field, value as f64, (least..=most).contains(&value), must)?;
        }
        Ok(())
    }

    fn within(&self, field: &'static str, value: f64, good: bool, must: &'static str) -> Result<(), Error> {
        if good { Ok(()) } else { Err(Error::Range { profile: self.name.clone(), field, value, must }) }
    }

    /// How long an iteration takes that decodes `batch` sequences over so many tokens of context in all, in
    /// milliseconds.
    #[must_use]
    pub fn decode_ms(&self, batch: f64, context_tokens: f64) -> f64 {
        match &self.table {
            Some(table) => table.decode_ms(batch, context_tokens / batch.max(1.0)),
            None => {
                let attention_ms = self.decode_per_context_token_us / 1e3 * context_tokens;
                self.decode_base_ms + self.decode_per_seq_ms * batch + attention_ms
            }
        }
    }

    /// How long the prefill of one prompt takes that is alone, in milliseconds.
    #[must_use]
    pub fn prefill_ms(&self, tokens: f64) -> f64 {
        match &self.table {
            Some(table) => table.prefill_ms(tokens),
            None => {
                let square_ms = self.prefill_quadratic_ns / 1e6 * tokens * tokens;
                self.prefill_base_ms + self.prefill_per_token_us / 1e3 * tokens + square_ms
            }
        }
    }

    /// Seconds of one replica that a request takes in the largest batch of its like that the cache and the seats
    /// hold: what a fleet can serve at the most.
    ///
    /// *Worked*: an 8B model on an H100, 1,155 tokens of prompt and 211 of answer: 355 such fit into the cache, of
    /// which each has its 355th of an iteration of 28 ms; 211 of these and 19 ms of prefill are 36 ms.
    #[must_use]
    pub fn work_s(&self, prompt_tokens: u32, output_tokens: u32) -> f64 {
        let (prompt, output) = (f64::from(prompt_tokens), f64::from(output_tokens));
        let context = (prompt + output / 2.0).max(1.0);
        let batch = (self.kv_tokens as f64 / context).clamp(1.0, f64::from(self.max_num_seqs));
        let prefill_ms = (self.prefill_ms(prompt.max(1.0)) - self.prefill_ms(1.0)).max(0.0);
        (prefill_ms + output * self.decode_ms(batch, batch * context) / batch) / 1e3
    }

    /// The same engine where everything takes `factor` times as long.
    #[must_use]
    pub fn slowed(&self, factor: f64) -> Profile {
        Profile {
            decode_base_ms: self.decode_base_ms * factor,
            decode_per_seq_ms: self.decode_per_seq_ms * factor,
            decode_per_context_token_us: self.decode_per_context_token_us * factor,
            prefill_base_ms: self.prefill_base_ms * factor,
            prefill_per_token_us: self.prefill_per_token_us * factor,
            prefill_quadratic_ns: self.prefill_quadratic_ns * factor,
            table: self.table.as_ref().map(|table| Arc::new(table.slowed(factor))),
            ..self.clone()
        }
    }

    /// Blocks in the KV cache.
    #[must_use]
    pub fn kv_blocks(&self) -> u64 {
        self.kv_tokens / u64::from(self.block_tokens.max(1))
    }
}

/// System, model and number of GPUs.
type Engine = (String, String, u32);

impl Fit {
    fn engine(&self) -> Engine {
        (self.system.clone(), self.model.clone(), self.tp)
    }
}

#[derive(Deserialize)]
struct DecodeRow {
    system: String,
    model: String,
    tp: u32,
    batch: u32,
    context_tokens: u32,
    ms: f64,
}

#[derive(Deserialize)]
struct PrefillRow {
    system: String,
    model: String,
    tp: u32,
    prompts: u32,
    tokens: u32,
    ms: f64,
}

/// The built-in tables by engine.
fn tables() -> Result<BTreeMap<Engine, Table>, Error> {
    let mut points: BTreeMap<Engine, Points> = BTreeMap::new();
    for row in csv::Reader::from_reader(DECODE.as_bytes()).deserialize() {
        let DecodeRow { system, model, tp, batch, context_tokens, ms } = row?;
        let point = DecodePoint { batch, context_tokens, ms };
        points.entry((system, model, tp)).or_default().decode.push(point);
    }
    for row in csv::Reader::from_reader(PREFILL.as_bytes()).deserialize() {
        let PrefillRow { system, model, tp, prompts, tokens, ms } = row?;
        // Four prompts at once are there to hold the model against, see `tests/profile.rs`.
        if prompts == 1 {
            points.entry((system, model, tp)).or_default().prefill.push(PrefillPoint { tokens, ms });
        }
    }
    let table = |(engine, points): (Engine, Points)| match Table::try_from(points) {
        Ok(table) => Ok((engine, table)),
        Err(what) => Err(Error::Table { profile: format!("{} {}", engine.0, engine.1), what }),
    };
    points.into_iter().map(table).collect()
}

/// GPU memory in GiB as sold, and whether vLLM takes it for a large one.
fn gpu(system: &str) -> Option<(&'static str, f64, bool)> {
    Some(match system {
        "h100_sxm" => ("h100", 80.0, true),
        "h200_sxm" => ("h200", 141.0, true),
        "b200_sxm" => ("b200", 180.0, true),
        // vLLM gives A100s the batch limits of small GPUs.
        "a100_sxm" => ("a100", 80.0, false),
        "l40s" => ("l40s", 48.0, false),
        _ => return None,
    })
}

/// Weights in bf16 (10^9 bytes), KV cache a token (bytes: 2 · layers · KV heads · 128 · 2), longest context.
fn model(name: &str) -> Option<(&'static str, f64, f64, u32)> {
    Some(match name {
        "Meta-Llama-3.1-8B" => ("llama-3.1-8b", 16.06, 131_072.0, 131_072),
        "Meta-Llama-3.1-70B" => ("llama-3.1-70b", 141.1, 327_680.0, 131_072),
        "Qwen3-32B" => ("qwen3-32b", 65.5, 262_144.0, 40_960),
        _ => return None,
    })
}

fn of_fit(fit: &Fit) -> Option<Profile> {
    let (gpu_name, memory_gib, large) = gpu(&fit.system)?;
    let (model_name, weights_gb, kv_bytes, max_model_len) = model(&fit.model)?;
    // vLLM uses 90 % of memory; activations and CUDA graphs take some 2.5 GB a GPU. An 8B model on an H100:
    // 0.9 · 80 GiB = 77.3 GB, less 16.06 and 2.5, leaves 58.7 GB: 448,000 tokens of 128 KiB.
    let gpus = f64::from(fit.tp);
    let usable = 0.9 * memory_gib * 1_073_741_824.0 * gpus;
    let kv_bytes_total = usable - weights_gb * 1e9 - 2.5e9 * gpus;
    Some(Profile {
        name: format!("{gpu_name}-{model_name}-tp{}", fit.tp),
        gpus: fit.tp,
        decode_base_ms: fit.dec_a,
        decode_per_seq_ms: fit.dec_b,
        decode_per_context_token_us: fit.dec_c_us_per_tok,
        prefill_base_ms: fit.pre_a,
        prefill_per_token_us: fit.pre_b_us,
        prefill_quadratic_ns: fit.pre_c_ns,
        kv_tokens: (kv_bytes_total / kv_bytes) as u64 / 16 * 16,
        block_tokens: 16,
        // vLLM's defaults for its server: 1,024 sequences and 8,192 tokens on large GPUs, 256 and 2,048 else.
        max_num_seqs: if large { 1024 } else { 256 },
        max_batched_tokens: if large { 8192 } else { 2048 },
        max_model_len,
        prefix_caching: true,
        cold_start: ColdStart::of_weights(weights_gb),
        table: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_a_usable_profile() {
        let names = Profile::names().unwrap();
        // 18 rows, a short name for each of 5 GPUs with 3 models, `demo` and `instant`.
        assert_eq!(names.len(), 18 + 15 + 2, "{names:?}");
        for name in names {
            Profile::named(&name).unwrap().check().unwrap();
        }
    }

    #[test]
    fn the_cache_of_an_8b_model_on_an_h100_holds_448_thousand_tokens() {
        let tokens = Profile::named("h100-llama-3.1-8b").unwrap().kv_tokens;
        assert!((447_000..450_000).contains(&tokens), "{tokens}");
    }

    #[test]
    fn a_name_without_a_number_of_gpus_means_the_smallest() {
        let short = Profile::named("h100-llama-3.1-70b").unwrap();
        let long = Profile::named("h100-llama-3.1-70b-tp4").unwrap();
        assert_eq!(Profile { name: long.name.clone(), ..short }, long);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = Profile::named("h100").unwrap_err().to_string();
        assert!(error.contains("h100-llama-3.1-8b-tp2"), "{error}");
    }

    #[test]
    fn a_file_may_give_only_what_differs() {
        let profile = Profile::parse(r#"{"name": "mine", "kv_tokens": 4096}"#).unwrap();
        assert_eq!(profile, Profile { name: "mine".to_owned(), kv_tokens: 4096, ..Profile::demo() });
    }

    #[test]
    fn numbers_out_of_range_are_refused_with_their_field() {
        let error = Profile::parse(r#"{"decode_base_ms": -1}"#).unwrap_err().to_string();
        assert!(error.contains("decode_base_ms"), "{error}");
        let error = Profile::parse(r#"{"kv_tokens": 0}"#).unwrap_err().to_string();
        assert!(error.contains("kv_tokens"), "{error}");
        assert!(Profile::parse(r#"{"kv_toknes": 1}"#).is_err());
    }
}
