//! What vLLM's web framework counts: requests by handler, method and status, their sizes and times.

use std::collections::BTreeMap;

use super::exposition::Exposition;
use super::recorder::Histogram;

/// One answer, when its last byte was handed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// The route, never the path as asked for: routes are few.
    pub(crate) handler: &'static str,
    pub(crate) method: &'static str,
    pub(crate) status: u16,
    pub(crate) seconds: f64,
    pub(crate) request_bytes: u64,
    /// 0 for streams, which do not say their length.
    pub(crate) response_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Http {
    requests: BTreeMap<(&'static str, &'static str, &'static str), u64>,
    sizes: BTreeMap<&'static str, Sizes>,
    by_handler: BTreeMap<(&'static str, &'static str), Histogram>,
    all: Histogram,
}

#[derive(Debug, Default)]
struct Sizes {
    count: u64,
    request_bytes: u64,
    response_bytes: u64,
}

impl Http {
    pub(super) fn new() -> Http {
        Http {
            requests: BTreeMap::new(),
            sizes: BTreeMap::new(),
            by_handler: BTreeMap::new(),
            all: Histogram::new(vec![
                0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0,
                7.5, 10.0, 30.0, 60.0,
            ]),
        }
    }

    pub(super) fn record(&mut self, answer: &Answer) {
        let class = match answer.status {
            ..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        *self.requests.entry((answer.handler, answer.method, class)).or_default() += 1;
        let sizes = self.sizes.entry(answer.handler).or_default();
        sizes.count += 1;
        sizes.request_bytes += answer.request_bytes;
        sizes.response_bytes += answer.response_bytes;
        self.by_handler
            .entry((answer.handler, answer.method))
            .or_insert_with(|| Histogram::new(vec![0.1, 0.5, 1.0]))
            .observe(answer.seconds);
        self.all.observe(answer.seconds);
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        let rows: Vec<([(&str, &str); 3], f64)> = self
            .requests
            .iter()
            .map(|((handler, method, status), count)| {
                ([("handler", *handler), ("method", *method), ("status", *status)], *count as f64)
            })
            .collect();
        let rows: Vec<(&[(&str, &str)], f64)> =
            rows.iter().map(|(labels, count)| (&labels[..], *count)).collect();
        out.counters("http_requests", "Total number of requests by method, status and handler.", &rows);
        self.render_sizes(
            out,
            "http_request_size_bytes",
            "Content length of incoming requests by handler. Only value of header is respected. Otherwise \
             ignored. No percentile calculated. ",
            |sizes| sizes.request_bytes,
        );
        self.render_sizes(
            out,
            "http_response_size_bytes",
            "Content length of outgoing responses by handler. Only value of header is respected. Otherwise \
             ignored. No percentile calculated. ",
            |sizes| sizes.response_bytes,
        );
        out.histogram(
            "http_request_duration_highr_seconds",
            "Latency with many buckets but no API specific labels. Made for more accurate percentile calculations. ",
            &[],
            &self.all,
        );
        let rows: Vec<([(&str, &str); 2], &Histogram)> = self
            .by_handler
            .iter()
            .map(|((handler, method), histogram)| ([("handler", *handler), ("method", *method)], histogram))
            .collect();
        let rows: Vec<(&[(&str, &str)], &Histogram)> =
            rows.iter().map(|(labels, histogram)| (&labels[..], *histogram)).collect();
        out.histograms(
            "http_request_duration_seconds",
            "Latency with only few buckets by handler. Made to be only used if aggregation by handler is important. ",
            &rows,
        );
    }

    fn render_sizes(&self, out: &mut Exposition, name: &str, help: &str, bytes: fn(&Sizes) -> u64) {
        out.head(name, "summary", help);
        for (handler, sizes) in &self.sizes {
            let labels = [("handler", *handler)];
            out.sample(&format!("{name}_count"), &labels, sizes.count as f64);
            out.sample(&format!("{name}_sum"), &labels, bytes(sizes) as f64);
        }
        let labels: Vec<[(&str, &str); 1]> =
            self.sizes.keys().map(|handler| [("handler", *handler)]).collect();
        let rows: Vec<&[(&str, &str)]> = labels.iter().map(|labels| &labels[..]).collect();
        out.created(name, help, &rows);
    }
}
