//! Adds up the samples of one page.

use super::EngineSample;
use super::plan::{Entry, Field, Part, Series};
use crate::exposition::{Labels, Sample};
use crate::histogram::Histogram;

/// Labels that tell copies of one engine apart, and those that tell engines apart where copies exist.
const COPIES: [&str; 4] = ["tp_rank", "pp_rank", "moe_ep_rank", "pid"];
const ENGINES: [&str; 2] = ["dp_rank", "engine_type"];

/// What one field has gathered.
#[derive(Clone, Debug, Default)]
struct Gathered {
    /// The best preference seen; what a lesser one says is dropped.
    preference: u8,
    sum: f64,
    greatest: f64,
    series: u32,
    histogram: Option<Histogram>,
    /// Of each engine, the first copy seen: hashes of both.
    writers: Vec<(u64, u64)>,
    /// A series with an empty `priority` came: it is the total of the others.
    total: bool,
    /// What those others added before it came: their sum and number.
    parts: (f64, u32),
}

/// The samples of one page, so far.
pub(super) struct Take {
    entries: &'static [Entry],
    fields: [Gathered; Field::COUNT],
}

impl Take {
    pub(super) fn new(entries: &'static [Entry]) -> Self {
        Take { entries, fields: Default::default() }
    }

    pub(super) fn add(&mut self, part: Part, sample: &Sample<'_>) {
        let Some(first) = self.entries.get(part.entry) else { return };
        let same = self.entries[part.entry..].iter().take_while(|entry| entry.name == first.name);
        for entry in same {
            let meant = entry
                .only
                .is_none_or(|(label, value)| sample.labels.get(label).is_some_and(|found| found == value));
            if meant {
                self.fields[entry.field as usize].add(entry, part.series, sample);
            }
        }
    }

    /// The sample; `None` if no field has anything.
    pub(super) fn finish(self) -> Option<EngineSample> {
        if self.fields.iter().all(|field| field.series == 0) {
            return None;
        }
        let sum = |field: Field| self.fields[field as usize].sum();
        let share = |value: f64| value.clamp(0.0, 1.0);
        let blocks = || Some(sum(Field::KvBlocks)? * self.fields[Field::KvBlockTokens as usize].greatest()?);
        let capacity = sum(Field::KvCapacity).or_else(|| sum(Field::KvConfig)).or_else(blocks);
        let used = || Some(sum(Field::KvUsedTokens)? / capacity.filter(|tokens| *tokens > 0.0)?);
        let kv = &self.fields[Field::KvUse as usize];
        let histogram = |field: Field| self.fields[field as usize].histogram.clone();
        Some(EngineSample {
            waiting: sum(Field::Waiting),
            running: sum(Field::Running),
            kv_use: kv.mean().or_else(used).map(share),
            kv_use_max: kv.greatest().or_else(used).map(share),
            kv_capacity_tokens: capacity,
            prompt_tokens_total: sum(Field::PromptTokens),
            output_tokens_total: sum(Field::OutputTokens),
            finished_total: sum(Field::Finished),
            preempted_total: sum(Field::Preempted),
            prefix_hits_total: sum(Field::PrefixHits),
            prefix_queries_total: sum(Field::PrefixQueries),
            ttft_s: histogram(Field::Ttft),
            itl_s: histogram(Field::Itl),
            queue_s: histogram(Field::Queue),
        })
    }
}

impl Gathered {
    fn add(&mut self, entry: &Entry, series: Series, sample: &Sample<'_>) {
        if entry.preference < self.preference || (self.series == 0 && entry.preference != self.preference) {
            *self = Gathered { preference: entry.preference, ..Gathered::default() };
        } else if entry.preference > self.preference {
            return;
        }
        if self.is_copy(&sample.labels) || (entry.field.is_level() && self.is_part(sample)) {
            return;
        }
        let value = if entry.field == Field::KvConfig {
            let Some(tokens) = configured_tokens(&sample.labels) else { return };
            tokens
        } else {
            sample.value
        };
        self.series += 1;
        match series {
            Series::Whole => {
                self.sum += value;
                self.greatest = if self.series == 1 { value } else { self.greatest.max(value) };
            }
            Series::Bucket => {
                if let Some(le) = sample.labels.get("le") {
                    self.histogram.get_or_insert_default().add_bucket(&le, value);
                }
            }
            Series::Sum => self.histogram.get_or_insert_default().add_sum(value),
            Series::Count => self.histogram.get_or_insert_default().add_count(value),
        }
    }

    /// Whether another rank of the same engine has told this already.
    fn is_copy(&mut self, labels: &Labels<'_>) -> bool {
        let (mut copy, mut engine) = (SEED, SEED);
        let mut ranked = false;
        for (name, value) in labels.iter() {
            if COPIES.contains(&name) {
                ranked = true;
                copy ^= hash(name, &value);
            } else if ENGINES.contains(&name) {
                engine ^= hash(name, &value);
            }
        }
        if !ranked {
            return false;
        }
        match self.writers.iter().find(|(known, _)| *known == engine) {
            Some((_, first)) => *first != copy,
            None => {
                self.writers.push((engine, copy));
                false
            }
        }
    }

    /// Whether the series is one priority's part of a total that stands beside it. A level with an empty
    /// `priority` is that total; it takes the place of the parts that came before.
    fn is_part(&mut self, sample: &Sample<'_>) -> bool {
        match sample.labels.get("priority") {
            None => false,
            Some(priority) if priority.is_empty() => {
                let (sum, series) = std::mem::take(&mut self.parts);
                self.sum -= sum;
                self.series -= series;
                self.total = true;
                false
            }
            Some(_) => {
                if !self.total {
                    self.parts = (self.parts.0 + sample.value, self.parts.1 + 1);
                }
                self.total
            }
        }
    }

    fn sum(&self) -> Option<f64> {
        (self.series > 0 && self.sum.is_finite()).then_some(self.sum)
    }

    fn mean(&self) -> Option<f64> {
        Some(self.sum()? / f64::from(self.series))
    }

    fn greatest(&self) -> Option<f64> {
        (self.series > 0).then_some(self.greatest)
    }
}

/// `kv_cache_size_tokens` where the engine says it, else `num_gpu_blocks` × `block_size`.
fn configured_tokens(labels: &Labels<'_>) -> Option<f64> {
    let number =
        |name: &str| labels.get(name)?.parse::<f64>().ok().filter(|value| value.is_finite() && *value > 0.0);
    number("kv_cache_size_tokens").or_else(|| Some(number("num_gpu_blocks")? * number("block_size")?))
}

/// FNV-1a's offset basis and prime.
const SEED: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

fn hash(name: &str, value: &str) -> u64 {
    let bytes = name.bytes().chain([b'=']).chain(value.bytes());
    bytes.fold(SEED, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}
