//! Remote-write: what a Prometheus, an agent or an application pushes.
//!
//! Version 1 of the protocol: a protobuf message `prometheus.WriteRequest` in one block of snappy. The
//! message is read series by series, so that what is kept of it at once is one series and not a tree of
//! a hundred times its bytes. Exemplars, native histograms and metadata are passed over.

use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::exposition::LABELS_MAX;
use crate::store::{NAME, RETENTION, STALE_BITS, Store};

/// Bytes of a body: Prometheus sends 2,000 samples at once, 100 KB when packed.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Bytes of an unpacked body: 2,000 samples of 1 KB of labels, twice over.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Bytes of one series in it: 128 labels of 250 bytes, and 2,000 samples of 16.
const SERIES_BYTES_MAX: usize = 64 << 10;

/// How far ahead of our clock a sample may be. What lies further would hold up all that follow it.
const AHEAD_MS: i64 = 10_000;

/// Why a body is refused whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Longer than [`BODY_BYTES_MAX`] or, unpacked, than [`MESSAGE_BYTES_MAX`].
    #[error("the body has {bytes} bytes, more than {max}; send fewer samples at once (max_samples_per_send)")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// No block of snappy.
    #[error("the body is no block of snappy: {said}; remote-write bodies are compressed")]
    Snappy {
        /// What the reader said.
        said: String,
    },
    /// No `prometheus.WriteRequest`.
    #[error("the body is no prometheus.WriteRequest: {said}; use protocol version 1")]
    Message {
        /// What the reader said.
        said: String,
    },
}

/// What became of a body's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Kept.
    pub kept: usize,
    /// Not kept: no newer than what is there, out of the time the store covers, of a series we scrape
    /// ourselves, or at a limit of the store.
    pub dropped: usize,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// Takes in a body at `now_ms`.
///
/// # Errors
/// When the body is too long or is not what it should be; what stood before the fault is kept.
pub fn write(store: &mut Store, body: &[u8], now_ms: i64) -> Result<Written, Error> {
    let message = unpacked(body)?;
    let mut written = Written::default();
    store.sweep(now_ms);
    let mut rest = message.as_slice();
    while rest.has_remaining() {
        let wrong = |error: prost::DecodeError| Error::Message { said: error.to_string() };
        let (tag, wire) = decode_key(&mut rest).map_err(wrong)?;
        if tag != 1 || wire != WireType::LengthDelimited {
            skip_field(wire, tag, &mut rest, DecodeContext::default()).map_err(wrong)?;
            continue;
        }
        let length = usize::try_from(decode_varint(&mut rest).map_err(wrong)?).unwrap_or(usize::MAX);
        let Some((series, after)) = rest.split_at_checked(length) else {
            return Err(Error::Message { said: "it ends inside a series".to_owned() });
        };
        rest = after;
        if length > SERIES_BYTES_MAX {
            return Err(Error::TooLong { bytes: length, max: SERIES_BYTES_MAX });
        }
        let series = TimeSeries::decode(series).map_err(wrong)?;
        take(store, &series, now_ms, &mut written);
    }
    Ok(written)
}

fn unpacked(body: &[u8]) -> Result<Vec<u8>, Error> {
    let snappy = |error: snap::Error| Error::Snappy { said: error.to_string() };
    if body.len() > BODY_BYTES_MAX {
        return Err(Error::TooLong { bytes: body.len(), max: BODY_BYTES_MAX });
    }
    // Asked before anything is unpacked: a few bytes can claim gigabytes.
    let bytes = snap::raw::decompress_len(body).map_err(snappy)?;
    if bytes > MESSAGE_BYTES_MAX {
        return Err(Error::TooLong { bytes, max: MESSAGE_BYTES_MAX });
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(snappy)
}

fn take(store: &mut Store, series: &TimeSeries, now_ms: i64, written: &mut Written) {
    let labels: Vec<(&str, &str)> =
        series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect();
    let named = labels.iter().any(|(name, value)| *name == NAME && !value.is_empty());
    let oldest_ms = now_ms.saturating_sub(RETENTION.as_micros() / 1000);
    for sample in &series.samples {
        let in_time = (oldest_ms..=now_ms.saturating_add(AHEAD_MS)).contains(&sample.timestamp);
        let sound = sample.value.is_finite() || sample.value.to_bits() == STALE_BITS;
        let kept = named
            && labels.len() <= LABELS_MAX
            && in_time
            && sound
            && store.push(&labels, sample.timestamp, sample.value);
        *(if kept { &mut written.kept } else { &mut written.dropped }) += 1;
    }
}

/// One series to be written: its labels, `__name__` among them, and samples in milliseconds.
pub type Outgoing<'l> = (Vec<(&'l str, &'l str)>, Vec<(i64, f64)>);

/// A body that [`write()`] takes: for tests, and for whoever writes to another store.
///
/// # Errors
/// When the message is longer than snappy can hold.
pub fn body(series: &[Outgoing<'_>]) -> Result<Vec<u8>, Error> {
    #[derive(Clone, PartialEq, Message)]
    struct Request {
        #[prost(message, repeated, tag = "1")]
        timeseries: Vec<TimeSeries>,
    }
    let label = |(name, value): &(&str, &str)| Label { name: (*name).to_owned(), value: (*value).to_owned() };
    let sample = |(timestamp, value): &(i64, f64)| Sample { value: *value, timestamp: *timestamp };
    let one = |(labels, samples): &Outgoing<'_>| TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: samples.iter().map(sample).collect(),
    };
    let message = Request { timeseries: series.iter().map(one).collect() }.encode_to_vec();
    let packed = snap::raw::Encoder::new().compress_vec(&message);
    packed.map_err(|error| Error::Snappy { said: error.to_string() })
}
