//! Names of Jobs: each ScaledJob numbers its own, so that two who make the same one collide.
//!
//! A leader that is parted from the API server may have sent what arrives long after another leads. A Job that is
//! created has no version to compare, as a count has. So its name is what it would be whoever makes it: the number
//! after those that are there. The late one is answered that there is one of its name.

use std::collections::BTreeSet;

/// Numbers below the highest that are given out again where they are free. Requests for a batch arrive in any order,
/// 16 at a time and some of them again; who follows a leader whose batch is half there fills what is missing.
const GAPS: u32 = 64;

/// Six digits: a ScaledJob that makes one a second begins anew after half a year.
const NUMBERS: u32 = 1 << 24;

/// The numbers of one ScaledJob's Jobs.
#[derive(Debug)]
pub struct Numbers {
    prefix: String,
}

impl Numbers {
    /// Of the ScaledJob with this uid: one made anew under its name does not meet the Jobs of the old one.
    #[must_use]
    pub fn of(scaled_job: &str, uid: &str) -> Self {
        // A pod's name adds six letters to its Job's, and 63 is the limit of a label.
        let kept: String = scaled_job.chars().take(46).collect();
        let kept = kept.trim_end_matches(['-', '.']);
        Numbers { prefix: format!("{kept}-{:04x}", short(uid)) }
    }

    /// So many names that none of `taken` has, the lowest numbers first.
    #[must_use]
    pub fn free<'n>(&self, taken: impl Iterator<Item = &'n str>, count: u32) -> Vec<String> {
        let taken: BTreeSet<u32> = taken.filter_map(|name| self.number(name)).collect();
        let lowest = taken.last().map_or(0, |last| (last + 1).saturating_sub(GAPS));
        let all = (lowest..NUMBERS).chain(0..lowest);
        let free = all.filter(|number| !taken.contains(number)).take(count as usize);
        free.map(|number| format!("{}{number:06x}", self.prefix)).collect()
    }

    fn number(&self, name: &str) -> Option<u32> {
        let digits = name.strip_prefix(&self.prefix).filter(|digits| digits.len() == 6)?;
        u32::from_str_radix(digits, 16).ok()
    }
}

/// FNV-1a, folded to 16 bits: the same in every version of us.
fn short(text: &str) -> u32 {
    let whole =
        text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (whole >> 16) ^ (whole & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(taken: &[String], count: u32) -> Vec<String> {
        Numbers::of("batch", "7").free(taken.iter().map(String::as_str), count)
    }

    #[test]
    fn whoever_makes_the_next_ones_gives_them_the_same_names() {
        let first = free(&[], 3);
        assert_eq!(first, free(&[], 3));
        let more = free(&first, 3);
        assert!(more.iter().all(|name| !first.contains(name)));
        // The second of them has arrived and the others are on their way: who follows makes just those.
        let there = [first.clone(), vec![more[1].clone()]].concat();
        assert_eq!(free(&there, 2), [more[0].clone(), more[2].clone()]);
    }

    #[test]
    fn a_scaled_job_made_anew_does_not_meet_the_jobs_of_the_old_one() {
        let old = Numbers::of("batch", "0b1e7c58-1f0a-4a53-9d5e-6c1f7f3c0a11").free([].into_iter(), 1);
        let new = Numbers::of("batch", "9d2f6a10-77aa-4c1c-8a35-2f0d3e5b9c22").free([].into_iter(), 1);
        assert_ne!(old, new);
    }

    #[test]
    fn names_fit_a_label_however_long_the_scaled_jobs_is() {
        let long = Numbers::of(&"a".repeat(200), "7").free([].into_iter(), 1);
        assert_eq!(long[0].len(), 57);
    }

    #[test]
    fn after_the_last_number_the_first_comes_again() {
        let last = format!("{}{:06x}", Numbers::of("batch", "7").prefix, NUMBERS - 1);
        let taken: Vec<String> =
            free(std::slice::from_ref(&last), GAPS - 1).into_iter().chain([last]).collect();
        assert!(free(&taken, 1)[0].ends_with("000000"));
    }
}
