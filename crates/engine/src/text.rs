//! What the stand-in says: words chosen by the prompt and the place, the same on every run.

/// A word for each token, with the space before it.
const WORDS: [&str; 64] = [
    " the", " tide", " comes", " in", " and", " goes", " out", " with", " a", " slow", " river", " under",
    " cold", " stars", " while", " boats", " wait", " for", " wind", " from", " far", " islands", " where",
    " lamps", " burn", " all", " night", " long", " stones", " keep", " their", " shape", " as", " water",
    " moves", " past", " them", " without", " hurry", " or", " regret", " every", " gate", " opens", " once",
    " more", " when", " morning", " finds", " its", " way", " over", " quiet", " fields", " of", " salt",
    " grass", " birds", " rise", " then", " settle", " again", " near", " shore",
];

/// A mix of two numbers whose every bit depends on every bit of both (splitmix64's finaliser).
pub(crate) fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The text of one token: letters and a space, nothing that JSON would have to escape.
pub(crate) fn word(seed: u64, index: u32) -> &'static str {
    WORDS[(mix(seed, u64::from(index)) % WORDS.len() as u64) as usize]
}

/// How many tokens the model writes before it stops by itself: 16 to 512, 264 on average, which is near
/// the 211 and 278 of published conversation traces.
pub(crate) fn natural_length(seed: u64) -> u32 {
    16 + (mix(seed, u64::MAX) % 497) as u32
}

/// Where a stop string cuts an output short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Tokens written until the stop string was whole.
    pub(crate) tokens: u32,
    /// Bytes of text before it.
    pub(crate) bytes: usize,
    /// Which it was.
    pub(crate) stop: String,
}

/// The first stop string in the first `length` tokens.
pub(crate) fn cut(seed: u64, length: u32, stops: &[String]) -> Option<Cut> {
    let longest = stops.iter().map(String::len).max().filter(|longest| *longest > 0)?;
    let mut text = String::new();
    for index in 0..length {
        let word = word(seed, index);
        // A match must end in the new word, so it cannot begin before this.
        let from = text.len().saturating_sub(longest);
        text.push_str(word);
        let tail = &text[from..];
        let first = stops
            .iter()
            .filter(|stop| !stop.is_empty())
            .filter_map(|stop| tail.find(stop.as_str()).map(|at| (at, stop)))
            .min_by_key(|(at, _)| *at);
        if let Some((at, stop)) = first {
            return Some(Cut { tokens: index + 1, bytes: from + at, stop: stop.clone() });
        }
    }
    None
}

/// The first `tokens` words together, at most `bytes` long.
pub(crate) fn words(seed: u64, tokens: u32, bytes: usize) -> String {
    let mut text: String = (0..tokens).map(|index| word(seed, index)).collect();
    text.truncate(bytes);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_says_the_same_and_another_says_something_else() {
        assert_eq!(words(7, 20, usize::MAX), words(7, 20, usize::MAX));
        assert_ne!(words(7, 20, usize::MAX), words(8, 20, usize::MAX));
    }

    #[test]
    fn a_stop_string_across_two_words_is_found_and_left_out() {
        let text = words(7, 10, usize::MAX);
        let (third, fourth) = (word(7, 2), word(7, 3));
        let stop = format!("{}{}", &third[third.len() - 1..], &fourth[..2]);
        let cut = cut(7, 10, &["nowhere".to_owned(), stop.clone()]).unwrap();
        assert_eq!(text.find(&stop), Some(cut.bytes));
        assert!(words(7, cut.tokens, usize::MAX).contains(&stop));
        assert!(!words(7, cut.tokens, cut.bytes).contains(&stop));
    }

    #[test]
    fn words_need_no_escape_in_json() {
        assert!(WORDS.iter().all(|word| word.bytes().all(|byte| byte == b' ' || byte.is_ascii_lowercase())));
    }
}
