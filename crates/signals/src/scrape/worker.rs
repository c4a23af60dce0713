//! One endpoint's task.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::http::HeaderMap;
use ::http::header::{ACCEPT, AUTHORIZATION};
use tidegate_core::time::Time;
use tidegate_metrics::dialect::Engine;
use tidegate_metrics::exposition::{self, Format};
use tidegate_metrics::rates::Trail;
use tidegate_metrics::sample::{self, EngineSample, Reader, recognise};
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, sleep_until};

use super::{Endpoint, Error, Pace, Scrape, Scraped, Shared};
use crate::http::{self, Answer, Client};
use crate::series::Series;

/// A replica's place in its target's store, for as long as it is asked. A scrape that is under way when
/// it ends finds no place any more.
#[derive(Debug)]
pub(super) struct Watch {
    id: Arc<str>,
    series: Option<Arc<Series>>,
}

impl Watch {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        if let Some(series) = &endpoint.series {
            let labels: Vec<(&str, &str)> =
                endpoint.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            series.add(&endpoint.id, &labels);
        }
        Watch { id: Arc::clone(&endpoint.id), series: endpoint.series.clone() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(series) = &self.series {
            series.forget(&self.id);
        }
    }
}

/// Scrapes until the scraper is gone.
pub(super) async fn run(endpoint: Endpoint, scraper: Weak<Shared>) {
    let mut page = Page {
        reader: endpoint.engine.map(Reader::new),
        id: Arc::clone(&endpoint.id),
        series: endpoint.series.clone(),
        url: endpoint.url.to_string(),
        of_use: false,
    };
    let mut trail = Trail::default();
    let mut failures = 0;
    let Some(pace) = scraper.upgrade().map(|shared| shared.pace) else { return };
    let mut next = Instant::now() + offset(&endpoint.id, pace.interval);
    loop {
        sleep_until(next).await;
        let Some(shared) = scraper.upgrade() else { return };
        let began = Instant::now();
        let answer = ask(&endpoint, &shared.client, pace.deadline).await;
        let at = shared.clock.now();
        let result = answer.map_err(Error::from).and_then(|answer| page.read(&answer, at));
        let of_use = result.is_ok() || std::mem::take(&mut page.of_use);
        failures = if of_use { 0 } else { failures + 1 };
        if !of_use && let Some(series) = &page.series {
            series.failed(&endpoint.id, at);
        }
        let result = result.map(|(engine, sample)| {
            let rates = trail.push(at, sample.clone());
            Box::new(Scraped { engine, sample, rates })
        });
        let scrape = Scrape { endpoint: Arc::clone(&endpoint.id), at, took: began.elapsed(), result };
        match shared.results.try_send(scrape) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
            Err(TrySendError::Closed(_)) => return,
        }
        // In step with the first, unless a scrape took longer than its turn.
        next = (next + pause(pace, failures)).max(Instant::now());
    }
}

async fn ask(endpoint: &Endpoint, plain: &Client, deadline: Duration) -> Result<Answer, http::Error> {
    let Some(tls) = &endpoint.tls else {
        return plain.get(&endpoint.url, endpoint.authorization.as_ref(), deadline).await;
    };
    let mut headers = HeaderMap::from_iter([(ACCEPT, http::ACCEPTED)]);
    if let Some(authorization) = &endpoint.authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    let body = tls.get(&endpoint.url, &headers, deadline).await?;
    // Text was asked for.
    Ok(Answer { content_type: String::new(), body })
}

/// 1, 2, 4, 5, 5, … intervals after failures in a row.
fn pause(pace: Pace, failures: u32) -> Duration {
    let doubled = pace.interval.saturating_mul(1 << failures.saturating_sub(1).min(8));
    doubled.min(pace.pause_max).max(pace.interval)
}

/// Where in the interval an endpoint has its turn: FNV-1a of its name, spread by its high bits.
fn offset(id: &str, interval: Duration) -> Duration {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // A finaliser: names that differ in their last digit only must not stand side by side.
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    interval.mul_f64((mixed >> 32) as f64 / f64::from(u32::MAX))
}

/// Reads the pages of one endpoint.
struct Page {
    reader: Option<Reader>,
    id: Arc<str>,
    series: Option<Arc<Series>>,
    url: String,
    /// Whether the page, though no engine's, had something that a query wants.
    of_use: bool,
}

impl Page {
    fn read(&mut self, answer: &Answer, at: Time) -> Result<(Engine, EngineSample), Error> {
        let text = std::str::from_utf8(&answer.body)
            .map_err(|error| Error::NotText { url: self.url.clone(), at: error.valid_up_to() })?;
        let format = Format::of_content_type(&answer.content_type);
        let wrong = |reason| Error::Page { url: self.url.clone(), reason };
        let known = self.reader.as_ref().map(|reader| self.take(reader, text, format, at));
        match known {
            Some(Ok(found)) => Ok(found),
            // Not what the image promised: believe the page.
            None | Some(Err(sample::Error::Nothing { .. })) => {
                let Some(engine) = recognise(text, format) else {
                    self.of_use = self.hand_on(text, format, at);
                    return Err(wrong(unrecognised(known, text, format)));
                };
                let reader = Reader::new(engine);
                let found = self.take(&reader, text, format, at).map_err(wrong)?;
                self.reader = Some(reader);
                Ok(found)
            }
            Some(Err(reason)) => Err(wrong(reason)),
        }
    }

    /// Hands on what queries want of a page that is no engine's; whether there was any of it.
    fn hand_on(&self, text: &str, format: Format, at: Time) -> bool {
        let Some(series) = &self.series else { return false };
        let mut samples = Vec::new();
        let wanted = |name: &str| series.wants(name).then_some(());
        let read = exposition::read(text, format, wanted, |(), sample| samples.push(sample));
        let found = read.is_ok() && !samples.is_empty();
        if found {
            series.scraped(&self.id, at, &samples);
        }
        found
    }

    fn take(
        &self,
        reader: &Reader,
        text: &str,
        format: Format,
        at: Time,
    ) -> Result<(Engine, EngineSample), sample::Error> {
        let Some(series) = &self.series else {
            return Ok((reader.engine(), reader.read(text, format)?));
        };
        let mut samples = Vec::new();
        let also = |name: &str| series.wants(name);
        let sample = reader.read_with(text, format, also, |sample| samples.push(sample))?;
        series.scraped(&self.id, at, &samples);
        Ok((reader.engine(), sample))
    }
}

/// The better explanation: what the expected engine's reader said, or what is wrong with the page itself.
fn unrecognised(
    known: Option<Result<(Engine, EngineSample), sample::Error>>,
    text: &str,
    format: Format,
) -> sample::Error {
    if let Some(Err(reason)) = known {
        return reason;
    }
    let unreadable = exposition::read(text, format, |_| None::<()>, |(), _| {}).err();
    unreadable.map_or(sample::Error::Unrecognised, sample::Error::Page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pace = Pace::default();
        let seconds: Vec<u64> = (0..6).map(|failures| pause(pace, failures).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 5, 5]);
    }

    #[test]
    fn names_that_differ_in_a_digit_have_turns_all_over_the_interval() {
        let mut tenths = [0_u32; 10];
        for at in 0..500 {
            let offset = offset(&format!("default/chat-{at}"), Duration::from_secs(1)).as_secs_f64();
            tenths[((offset * 10.0) as usize).min(9)] += 1;
        }
        // 50 each on average.
        assert!(tenths.iter().all(|count| (25..=80).contains(count)), "{tenths:?}");
    }
}
