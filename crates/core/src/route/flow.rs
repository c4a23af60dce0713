//! What a gateway counts of a target's requests, for whoever scales it.

use serde::{Deserialize, Serialize};

/// Counts of one target at one gateway since the gateway began: they only grow, so who reads them seldom loses
/// nothing, and who sees one fall knows that it is another count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flow {
    /// Requests that came.
    pub arrived: u64,
    /// Tokens of their prompts, estimated from bytes.
    pub prompt_tokens: u64,
    /// Requests that are over, however they ended.
    pub ended: u64,
    /// Tokens written for those.
    pub output_tokens: u64,
    /// Requests of which it is known how long their first token took, or that were refused or failed.
    pub first_tokens: u64,
    /// Of these, those whose first token came later than the target's objective, from their arrival at the
    /// gateway, or never.
    pub late: u64,
}

impl Flow {
    /// What came between two looks; `None` where a count fell, for then they are not of the same life.
    #[must_use]
    pub fn since(&self, before: &Flow) -> Option<Flow> {
        Some(Flow {
            arrived: self.arrived.checked_sub(before.arrived)?,
            prompt_tokens: self.prompt_tokens.checked_sub(before.prompt_tokens)?,
            ended: self.ended.checked_sub(before.ended)?,
            output_tokens: self.output_tokens.checked_sub(before.output_tokens)?,
            first_tokens: self.first_tokens.checked_sub(before.first_tokens)?,
            late: self.late.checked_sub(before.late)?,
        })
    }

    /// Both together.
    #[must_use]
    pub const fn plus(&self, other: &Flow) -> Flow {
        Flow {
            arrived: self.arrived.saturating_add(other.arrived),
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            ended: self.ended.saturating_add(other.ended),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            first_tokens: self.first_tokens.saturating_add(other.first_tokens),
            late: self.late.saturating_add(other.late),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_fell_is_of_another_life() {
        let old = Flow { arrived: 10, late: 2, ..Flow::default() };
        let new = Flow { arrived: 14, late: 2, ..Flow::default() };
        assert_eq!(new.since(&old), Some(Flow { arrived: 4, ..Flow::default() }));
        assert_eq!(Flow { arrived: 14, late: 1, ..Flow::default() }.since(&old), None);
    }
}
