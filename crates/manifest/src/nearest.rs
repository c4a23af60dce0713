//! The word somebody probably meant.

/// The candidate nearest to `word`, if it is near enough to be worth suggesting.
///
/// Near is a Jaro–Winkler similarity of at least 0.8: `triger` → `trigger`, `maxReplicas` →
/// `maxReplicaCount`, and nothing for `foo`.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&folded, &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_stranger_is_not() {
        let known = ["minReplicaCount", "maxReplicaCount", "triggers"];
        assert_eq!(nearest("maxReplicas", known), Some("maxReplicaCount"));
        assert_eq!(nearest("triger", known), Some("triggers"));
        assert_eq!(nearest("foo", known), None);
    }
}
