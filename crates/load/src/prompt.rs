//! Prompts of a given length.

use fastrand::Rng;

/// Words of three letters: with its blank each is one token by most tokenizers, one word by a counter of
/// words, and one token by the rule of thumb of four characters.
const WORDS: [&str; 32] = [
    "sea", "sun", "bay", "oar", "fog", "cod", "net", "map", "ray", "eel", "sky", "ice", "tar", "hut", "inn",
    "kit", "log", "ore", "pad", "row", "rig", "tow", "tub", "van", "wax", "yew", "zip", "elm", "fir", "gem",
    "hay", "ivy",
];

/// Tokens that one of a trace's hashes stands for.
const STRETCH_TOKENS: usize = 512;

/// A text of about `tokens` tokens. Each number has its own, so that no two requests share a prefix by
/// accident; the same number has the same again. Where a trace gives `stretches`, equal ones have equal
/// texts, so that prompts share the prefixes that they shared when the trace was taken.
pub(crate) fn text(number: u64, tokens: u32, stretches: &[u64]) -> String {
    let tokens = tokens as usize;
    let mut text = String::with_capacity(tokens * 4);
    for start in (0..tokens).step_by(STRETCH_TOKENS) {
        let mut rng = match stretches.get(start / STRETCH_TOKENS) {
            Some(hash) => Rng::with_seed(*hash),
            // The other half of the seeds, so that a request's own text is no stretch's.
            None => Rng::with_seed(!(number << 20 | start as u64)),
        };
        for _ in start..tokens.min(start + STRETCH_TOKENS) {
            text.push_str(rng.choice(WORDS).unwrap_or("sea"));
            text.push(' ');
        }
    }
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_prompt_has_as_many_words_as_tokens() {
        for tokens in [1, 300, 512, 513, 2_000] {
            assert_eq!(text(1, tokens, &[7]).split(' ').count(), tokens as usize);
        }
    }

    #[test]
    fn each_request_has_a_prompt_of_its_own() {
        assert_eq!(text(1, 50, &[]), text(1, 50, &[]));
        assert_ne!(text(1, 50, &[]), text(2, 50, &[]));
    }

    #[test]
    fn prompts_share_the_prefix_that_their_stretches_share() {
        let (a, b) = (text(1, 1_100, &[5, 6, 8]), text(2, 1_100, &[5, 6, 9]));
        let same = a.split(' ').zip(b.split(' ')).take_while(|(a, b)| a == b).count();
        assert!((1_024..1_040).contains(&same), "{same}");
    }
}
