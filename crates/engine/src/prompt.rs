//! A prompt as the model counts it: four bytes a token, and a chain of hashes for the prefix cache.

use tidegate_sim::Prefix;

/// English takes some four bytes a token.
const BYTES_PER_TOKEN: usize = 4;
/// What a chat template puts around each message.
const TOKENS_PER_MESSAGE: u32 = 4;

/// FNV-1a, 64 bits.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Collects a prompt's text, piece by piece.
#[derive(Debug)]
pub(crate) struct Prompt {
    tokens: u32,
    state: u64,
    /// Bytes since the last full stretch.
    open_bytes: usize,
    stretch_bytes: usize,
    hashes: Vec<u64>,
}

impl Prompt {
    pub(crate) fn new(block_tokens: u32) -> Prompt {
        let stretch_bytes = block_tokens as usize * BYTES_PER_TOKEN;
        Prompt { tokens: 0, state: FNV_OFFSET, open_bytes: 0, stretch_bytes, hashes: Vec::new() }
    }

    /// Text that counts: a quarter of its bytes, rounded up.
    pub(crate) fn text(&mut self, text: &str) {
        self.tokens = self.tokens.saturating_add(text.len().div_ceil(BYTES_PER_TOKEN) as u32);
        self.hash(text.as_bytes());
    }

    /// One message of a conversation.
    pub(crate) fn message(&mut self, role: &str, text: &str) {
        self.tokens = self.tokens.saturating_add(TOKENS_PER_MESSAGE);
        self.hash(role.as_bytes());
        self.hash(b"\n");
        self.text(text);
    }

    /// Token numbers, as `/v1/completions` also takes them.
    pub(crate) fn tokens(&mut self, tokens: &[u32]) {
        self.tokens = self.tokens.saturating_add(tokens.len() as u32);
        for token in tokens {
            self.hash(&token.to_le_bytes());
        }
    }

    fn hash(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.state = (self.state ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
            self.open_bytes += 1;
            if self.open_bytes == self.stretch_bytes {
                self.hashes.push(self.state);
                self.open_bytes = 0;
            }
        }
    }

    /// Tokens so far; an empty prompt still has its first token.
    pub(crate) fn count(&self) -> u32 {
        self.tokens.max(1)
    }

    /// What the whole prompt hashes to.
    pub(crate) fn seed(&self) -> u64 {
        self.state
    }

    pub(crate) fn prefix(self) -> Prefix {
        let tokens_per_hash = (self.stretch_bytes / BYTES_PER_TOKEN) as u32;
        Prefix { hashes: self.hashes.into_boxed_slice(), tokens_per_hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_that_begin_alike_share_their_first_hashes() {
        let prefix = |end: &str| {
            let mut prompt = Prompt::new(16);
            prompt.message("system", &"rules ".repeat(40));
            prompt.message("user", end);
            prompt.prefix().hashes
        };
        let (one, other) = (prefix(&"a".repeat(200)), prefix(&"b".repeat(200)));
        let same = one.iter().zip(&other).take_while(|(left, right)| left == right).count();
        // 247 bytes of the first message are three full stretches of 64.
        assert_eq!((same, one.len()), (3, 7));
    }

    #[test]
    fn four_bytes_are_a_token_and_a_message_takes_four_more() {
        let mut prompt = Prompt::new(16);
        prompt.message("user", "12345");
        assert_eq!(prompt.count(), 4 + 2);
        let mut prompt = Prompt::new(16);
        prompt.tokens(&[1, 2, 3]);
        assert_eq!(prompt.count(), 3);
    }
}
