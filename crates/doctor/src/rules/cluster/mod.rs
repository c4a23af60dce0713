//! What only a cluster shows.

mod owners;
mod pods;
mod room;
mod signals;

pub(super) use owners::{nobody, refused, two_owners};
pub(super) use pods::{killed_by_probe, out_of_memory, overdue, pending, start_stuck};
pub(super) use room::{no_room, quota_used_up};
pub(super) use signals::{no_data, no_usage, unseen};

/// Things named as evidence: more do not help.
const SHOWN: usize = 5;

/// The first few, and how many more there are.
fn few(all: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = all.into_iter().collect();
    if all.len() > SHOWN {
        let more = all.len() - SHOWN;
        all.truncate(SHOWN);
        all.push(format!("and {more} more"));
    }
    all
}

/// `-n NAMESPACE kind/name` of `Kind namespace/name`, as kubectl takes it.
fn kubectl(title: &str) -> String {
    let Some((kind, place)) = title.split_once(' ') else { return title.to_owned() };
    let Some((namespace, name)) = place.split_once('/') else { return title.to_owned() };
    format!("-n {namespace} {}/{name}", kind.to_lowercase())
}

#[cfg(test)]
mod tests;
