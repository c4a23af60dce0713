//! What an answer says: text, its end, its tokens; and whether it is whole.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Ends that are the client's own: it asked to stop there, ran out of its tokens, or is to call a tool.
/// Anything else (`abort`, as vLLM says when it is stopped) means that the engine gave up.
const GOOD_ENDS: [&str; 4] = ["stop", "length", "tool_calls", "function_call"];

/// Characters of an engine's message that are kept for the report.
const MESSAGE_MAX: usize = 200;

#[derive(Debug, Deserialize)]
struct Body<'a> {
    #[serde(default, borrow)]
    choices: Vec<Choice<'a>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Choice<'a> {
    #[serde(default, borrow)]
    delta: Option<Text<'a>>,
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
struct Text<'a> {
    #[serde(default)]
    role: Option<IgnoredAny>,
    #[serde(default, borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    reasoning: Option<Cow<'a, str>>,
    #[serde(default)]
    tool_calls: Option<IgnoredAny>,
}

/// Token counts as an engine tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) prompt_tokens: u64,
    #[serde(default)]
    pub(crate) completion_tokens: u64,
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// An error in OpenAI's shape, with its message.
    Error(String),
    /// An end that is not the client's own, or none.
    Broken(String),
    /// Not an answer at all.
    Bad(String),
}

/// An answer as it comes in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// Chunks that carried a token.
    pub(crate) counted: u64,
    pub(crate) usage: Option<Usage>,
    finish: Option<String>,
    done: bool,
    wrong: Option<Wrong>,
}

impl Answer {
    /// Takes one event of a stream; whether it carried a token.
    pub(crate) fn event(&mut self, data: &[u8]) -> bool {
        if data == b"[DONE]" {
            self.done = true;
            return false;
        }
        let body: Body<'_> = match serde_json::from_slice(data) {
            Ok(body) => body,
            Err(error) => {
                self.wrong(Wrong::Bad(format!("an event that is no JSON of a chat: {error}")));
                return false;
            }
        };
        let token = body.choices.iter().any(Choice::has_token);
        self.counted += u64::from(token);
        self.take(body);
        token
    }

    /// Takes a whole answer that is no stream.
    pub(crate) fn whole(&mut self, body: &[u8]) {
        match serde_json::from_slice(body) {
            Ok(body) => {
                self.take(body);
                self.done = true;
            }
            Err(error) => self.wrong(Wrong::Bad(format!("a body that is no JSON of a chat: {error}"))),
        }
    }

    /// Whether the answer is whole: an end of the client's own, and for a stream the `[DONE]` after it.
    pub(crate) fn judge(self) -> Result<(), Wrong> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        match self.finish.as_deref() {
            None => Err(Wrong::Broken("no finish_reason".to_owned())),
            Some(end) if !GOOD_ENDS.contains(&end) => {
                Err(Wrong::Broken(format!("finish_reason \"{}\"", shortened(end))))
            }
            Some(_) if !self.done => Err(Wrong::Broken("no [DONE]".to_owned())),
            Some(_) => Ok(()),
        }
    }

    /// Whether the answer ended because its tokens were used up.
    pub(crate) fn ended_at_length(&self) -> bool {
        self.finish.as_deref() == Some("length")
    }

    fn take(&mut self, body: Body<'_>) {
        if let Some(error) = body.error {
            self.wrong(Wrong::Error(message_of(&error)));
        }
        if let Some(end) = body.choices.into_iter().find_map(|choice| choice.finish_reason) {
            self.finish = Some(end.into_owned());
        }
        self.usage = body.usage.or(self.usage);
    }

    /// The first thing that is wrong is the cause of what follows.
    fn wrong(&mut self, wrong: Wrong) {
        self.wrong.get_or_insert(wrong);
    }
}

impl Choice<'_> {
    /// Whether the chunk stands for a token. vLLM sends an empty `content` for a token that completes no
    /// letter, and one more beside the `role` for no token; llama.cpp a `null`; the last chunk has none.
    fn has_token(&self) -> bool {
        if self.text.is_some() {
            return true;
        }
        let Some(delta) = &self.delta else { return false };
        let texts = [&delta.content, &delta.reasoning_content, &delta.reasoning];
        let some = texts.iter().any(|text| text.is_some());
        let more = texts.iter().any(|text| text.as_ref().is_some_and(|text| !text.is_empty()));
        more || delta.tool_calls.is_some() || some && delta.role.is_none()
    }
}

/// The message of an error body in OpenAI's shape, or as much of the body as there is.
pub(crate) fn message(body: &[u8]) -> String {
    let value: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    match value.as_ref().and_then(|value| value.get("error")) {
        Some(error) => message_of(error),
        None => shortened(String::from_utf8_lossy(body).trim()),
    }
}

fn message_of(error: &serde_json::Value) -> String {
    let text = error.get("message").and_then(serde_json::Value::as_str);
    shortened(text.map_or_else(|| error.to_string(), str::to_owned).trim())
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(MESSAGE_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::{Answer, Usage, Wrong, message};

    fn streamed(events: &[&str]) -> Answer {
        let mut answer = Answer::default();
        for event in events {
            answer.event(event.as_bytes());
        }
        answer
    }

    const ROLE: &str = r#"{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
    const TOKEN: &str = r#"{"choices":[{"delta":{"content":"a\n"},"finish_reason":null}]}"#;
    const EMPTY: &str = r#"{"choices":[{"delta":{"content":""},"finish_reason":null}]}"#;
    const END: &str = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    const USAGE: &str =
        r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#;

    #[test]
    fn a_chunk_counts_when_it_stands_for_a_token() {
        let answer = streamed(&[ROLE, TOKEN, EMPTY, END, USAGE, "[DONE]"]);
        assert_eq!(answer.counted, 2);
        assert_eq!(answer.usage, Some(Usage { prompt_tokens: 5, completion_tokens: 2 }));
        assert_eq!(answer.judge(), Ok(()));
    }

    #[test]
    fn a_role_beside_every_token_does_not_hide_them() {
        let token = r#"{"choices":[{"delta":{"role":"assistant","content":"a"}}]}"#;
        assert_eq!(streamed(&[token, token]).counted, 2);
    }

    #[test]
    fn a_completions_chunk_and_a_thought_are_tokens() {
        let text = r#"{"choices":[{"text":"a","finish_reason":null}]}"#;
        let thought = r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#;
        assert_eq!(streamed(&[text, thought]).counted, 2);
    }

    #[test]
    fn a_stream_is_whole_only_with_an_end_of_the_clients_own_and_done() {
        let abort = r#"{"choices":[{"delta":{},"finish_reason":"abort"}]}"#;
        let broken = |text: &str| Err(Wrong::Broken(text.to_owned()));
        assert_eq!(streamed(&[TOKEN, abort, "[DONE]"]).judge(), broken("finish_reason \"abort\""));
        assert_eq!(streamed(&[TOKEN, "[DONE]"]).judge(), broken("no finish_reason"));
        assert_eq!(streamed(&[TOKEN, END]).judge(), broken("no [DONE]"));
    }

    #[test]
    fn an_error_event_is_told_with_its_message() {
        let error = r#"{"error":{"message":"the replica was lost","code":"replica_lost"}}"#;
        let answer = streamed(&[TOKEN, error, "[DONE]"]);
        assert_eq!(answer.judge(), Err(Wrong::Error("the replica was lost".to_owned())));
    }

    #[test]
    fn garbage_is_no_answer() {
        assert!(matches!(streamed(&["{", END, "[DONE]"]).judge(), Err(Wrong::Bad(_))));
    }

    #[test]
    fn a_whole_body_needs_no_done() {
        let mut answer = Answer::default();
        answer.whole(br#"{"choices":[{"message":{"content":"hi"},"finish_reason":"length"}],"usage":null}"#);
        assert!(answer.ended_at_length());
        assert_eq!(answer.judge(), Ok(()));
    }

    #[test]
    fn the_message_of_an_error_is_found_and_kept_short() {
        assert_eq!(message(br#"{"error":{"message":"no such model"}}"#), "no such model");
        assert_eq!(message(b"<h1>502</h1>"), "<h1>502</h1>");
        assert!(message("x".repeat(5_000).as_bytes()).len() < 300);
    }
}
