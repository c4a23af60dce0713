//! Samples of one series, packed.
//!
//! Scrapes come at an even pace and most numbers are counts, so a sample is written as what differs
//! from the one before: the change of the step in time (as Gorilla does) and, of the value, the
//! difference of two whole numbers or the bytes in which two floats differ. All in whole bytes: a third
//! larger than bits would be, and three times as fast to read.
//!
//! # One sample
//! A control byte, time in its high half and value in its low half, then what they ask for:
//!
//! | time | bytes | | value | bytes |
//! |---|---|---|---|---|
//! | 0 the same step | 0 | | 0 the same value | 0 |
//! | 1, 2, 3 change of the step | 1, 2, 8 | | 1, 2, 3 difference of whole numbers | 1, 2, 4 |
//! | | | | 4 XOR | 1 for place and length, then 1 to 8 |
//!
//! A gauge at rest, scraped each second give or take 100 ms: 2 bytes. A counter of tokens: 3 or 4.

/// Samples of a chunk. Fewer would waste the 16 bytes of the first one; more would be unpacked for
/// nothing by a window that begins in the middle: `[2m]` of one a second reads three of these.
pub(super) const CHUNK_SAMPLES: u32 = 60;

/// Whole numbers up to here are exact as floats: 2⁵³.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Packed samples, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    first: (i64, f64),
    last: (i64, f64),
    step_ms: i64,
    samples: u32,
    bytes: Vec<u8>,
}

impl Chunk {
    pub(super) fn new(at_ms: i64, value: f64) -> Self {
        Chunk { first: (at_ms, value), last: (at_ms, value), step_ms: 0, samples: 1, bytes: Vec::new() }
    }

    /// The time of its newest sample.
    pub(super) const fn end_ms(&self) -> i64 {
        self.last.0
    }

    pub(super) const fn is_full(&self) -> bool {
        self.samples >= CHUNK_SAMPLES
    }

    /// Bytes it takes, its own frame included.
    pub(super) fn size(&self) -> usize {
        size_of::<Chunk>() + self.bytes.capacity()
    }

    /// Adds a sample newer than the last.
    pub(super) fn push(&mut self, at_ms: i64, value: f64) {
        let step = at_ms - self.last.0;
        let control_at = self.bytes.len();
        self.bytes.push(0);
        let time = self.push_time(step - self.step_ms);
        let value_kind = self.push_value(value);
        self.bytes[control_at] = time << 4 | value_kind;
        self.step_ms = step;
        self.last = (at_ms, value);
        self.samples += 1;
    }

    /// Gives back what growing took too much.
    pub(super) fn seal(&mut self) {
        self.bytes.shrink_to_fit();
    }

    fn push_time(&mut self, change: i64) -> u8 {
        if change == 0 {
            0
        } else if let Ok(small) = i8::try_from(change) {
            self.bytes.extend(small.to_le_bytes());
            1
        } else if let Ok(middle) = i16::try_from(change) {
            self.bytes.extend(middle.to_le_bytes());
            2
        } else {
            self.bytes.extend(change.to_le_bytes());
            3
        }
    }

    fn push_value(&mut self, value: f64) -> u8 {
        let before = self.last.1;
        if value.to_bits() == before.to_bits() {
            return 0;
        }
        if let (Some(from), Some(to)) = (whole(before), whole(value)) {
            let grown = to - from;
            if let Ok(small) = i8::try_from(grown) {
                self.bytes.extend(small.to_le_bytes());
                return 1;
            } else if let Ok(middle) = i16::try_from(grown) {
                self.bytes.extend(middle.to_le_bytes());
                return 2;
            } else if let Ok(large) = i32::try_from(grown) {
                self.bytes.extend(large.to_le_bytes());
                return 3;
            }
        }
        let differs = value.to_bits() ^ before.to_bits();
        // Whole zero bytes at either end are left out; something differs, so one byte at least stays.
        let low = differs.trailing_zeros() / 8;
        let length = 8 - low - differs.leading_zeros() / 8;
        self.bytes.push((low << 4 | length) as u8);
        self.bytes.extend(&(differs >> (8 * low)).to_le_bytes()[..length as usize]);
        4
    }

    /// Its samples, oldest first.
    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { at: self.first, step_ms: 0, left: self.samples, bytes: &self.bytes, begun: false }
    }
}

/// The whole number that `value` is, where the way back gives the same bits: not for −0.
fn whole(value: f64) -> Option<i64> {
    let whole = value as i64;
    (value.abs() < WHOLE_MAX && (whole as f64).to_bits() == value.to_bits()).then_some(whole)
}

/// Unpacks a chunk.
pub(super) struct Iter<'c> {
    at: (i64, f64),
    step_ms: i64,
    left: u32,
    bytes: &'c [u8],
    begun: bool,
}

impl Iter<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = tail;
        Some(*head)
    }

    fn xor(&mut self) -> Option<u64> {
        let [place] = self.take::<1>()?;
        let (low, length) = (u32::from(place >> 4), usize::from(place & 0xf));
        let (head, tail) = self.bytes.split_at_checked(length)?;
        self.bytes = tail;
        let mut whole = [0; 8];
        whole.get_mut(..length)?.copy_from_slice(head);
        u64::from_le_bytes(whole).checked_shl(8 * low)
    }
}

impl Iterator for Iter<'_> {
    type Item = (i64, f64);

    #[inline]
    fn next(&mut self) -> Option<(i64, f64)> {
        self.left = self.left.checked_sub(1)?;
        if !self.begun {
            self.begun = true;
            return Some(self.at);
        }
        let [control] = self.take::<1>()?;
        let change = match control >> 4 {
            0 => 0,
            1 => i64::from(i8::from_le_bytes(self.take()?)),
            2 => i64::from(i16::from_le_bytes(self.take()?)),
            _ => i64::from_le_bytes(self.take()?),
        };
        self.step_ms = self.step_ms.wrapping_add(change);
        self.at.0 = self.at.0.wrapping_add(self.step_ms);
        match control & 0xf {
            0 => {}
            1 => self.at.1 += f64::from(i8::from_le_bytes(self.take()?)),
            2 => self.at.1 += f64::from(i16::from_le_bytes(self.take()?)),
            3 => self.at.1 += f64::from(i32::from_le_bytes(self.take()?)),
            _ => self.at.1 = f64::from_bits(self.at.1.to_bits() ^ self.xor()?),
        }
        Some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(samples: &[(i64, f64)]) -> Chunk {
        let mut chunk = Chunk::new(samples[0].0, samples[0].1);
        for (at_ms, value) in &samples[1..] {
            chunk.push(*at_ms, *value);
        }
        chunk
    }

    fn bits(samples: impl IntoIterator<Item = (i64, f64)>) -> Vec<(i64, u64)> {
        samples.into_iter().map(|(at_ms, value)| (at_ms, value.to_bits())).collect()
    }

    #[test]
    fn odd_numbers_come_back_to_the_bit() {
        let odd = [0.0, -0.0, f64::NAN, f64::INFINITY, 1e300, 5e-324, 0.1, WHOLE_MAX, -3.0, -2_147_483_652.0];
        let samples: Vec<(i64, f64)> =
            odd.into_iter().enumerate().map(|(at, value)| (at as i64 * 100_000, value)).collect();
        assert_eq!(bits(packed(&samples).iter()), bits(samples));
    }

    #[test]
    fn a_gauge_at_rest_takes_two_bytes_a_sample() {
        let samples: Vec<(i64, f64)> = (0..60).map(|at| (at * 1000 + (at * 37) % 50, 7.0)).collect();
        let bytes = packed(&samples).bytes.len();
        assert!(bytes <= 59 * 2 + 1, "{bytes}");
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(
            steps in prop::collection::vec((1_i64..100_000, any::<u64>(), 0_u8..3), 1..120)
        ) {
            let mut at_ms = -5_000;
            let samples: Vec<(i64, f64)> = steps
                .into_iter()
                .map(|(step, seed, kind)| {
                    at_ms += step;
                    (at_ms, match kind {
                        0 => (seed % 100_000) as f64,
                        1 => f64::from_bits(seed),
                        _ => (seed % 1000) as f64 / 7.0,
                    })
                })
                .collect();
            prop_assert_eq!(bits(packed(&samples).iter()), bits(samples));
        }
    }
}
