//! The JSON around each piece of text, engine by engine. Built once a request, so that a token costs a
//! few copies.

use serde_json::json;
use tidegate_sim::Finish;

use super::request::Kind;
use crate::options::Dialect;

/// The answer's own facts, the same in each of its chunks.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) dialect: Dialect,
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) created_s: u64,
    pub(crate) model: String,
}

/// Why it ended, in the API's words.
pub(crate) const fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Abort => "abort",
    }
}

/// Text goes between `before` and `after`.
#[derive(Debug)]
pub(crate) struct Shape {
    head: Head,
    pub(crate) before: String,
    pub(crate) after: String,
}

impl Shape {
    pub(crate) fn new(head: Head) -> Shape {
        const MARK: &str = "\u{1}";
        let chunk = chunk(&head, Some(MARK), None, None);
        // JSON escapes the mark, so it cannot be mistaken for text of the model's name.
        let (before, after) = chunk.split_once("\\u0001").unwrap_or((&chunk, ""));
        Shape { before: before.to_owned(), after: after.to_owned(), head }
    }

    /// What comes before the first token: the role, where the engine sends it on its own.
    pub(crate) fn opening(&self) -> Option<String> {
        if self.head.kind == Kind::Text {
            return None;
        }
        let before = before_choice(&self.head);
        let chunk = match self.head.dialect {
            Dialect::Vllm => {
                let delta = r#""delta":{"role":"assistant","content":""}"#;
                let after =
                    r#""logprobs":null,"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}"#;
                format!("{before}{delta},{after}")
            }
            Dialect::Sglang => {
                let delta =
                    r#""delta":{"role":"assistant","content":"","reasoning_content":null,"tool_calls":null}"#;
                let after = r#""logprobs":null,"finish_reason":null,"matched_stop":null}],"usage":null}"#;
                format!("{before}{delta},{after}")
            }
            // The role is in every chunk.
            Dialect::Tgi => return None,
            Dialect::LlamaCpp => llamacpp(&self.head, r#"{"role":"assistant","content":null}"#, None, ""),
        };
        Some(event(&chunk))
    }

    /// The chunk with the last piece of text and the reason it is the last. llama.cpp sends the reason on
    /// its own.
    pub(crate) fn ending(&self, text: &str, finish: Finish, stop: Option<&str>) -> String {
        match (self.head.dialect, self.head.kind) {
            (Dialect::LlamaCpp, Kind::Chat) => {
                let last = event(&llamacpp(&self.head, "{}", Some(reason(finish)), ""));
                if text.is_empty() { last } else { format!("{}{text}{}{last}", self.before, self.after) }
            }
            _ => chunk(&self.head, Some(text), Some(finish), stop),
        }
    }

    /// The chunk without choices that says how many tokens it took.
    pub(crate) fn usage(&self, prompt_tokens: u32, output_tokens: u32) -> String {
        let Head { dialect, kind, id, created_s, model } = &self.head;
        let total = u64::from(prompt_tokens) + u64::from(output_tokens);
        let counts = format!(
            r#""prompt_tokens":{prompt_tokens},"total_tokens":{total},"completion_tokens":{output_tokens}"#
        );
        if *dialect == Dialect::LlamaCpp {
            let details = r#""prompt_tokens_details":{"cached_tokens":0}"#;
            return event(&llamacpp(&self.head, "", None, &format!(r#","usage":{{{counts},{details}}}"#)));
        }
        let object = object(*kind);
        let opening =
            format!(r#"{{"id":"{id}","object":"{object}","created":{created_s},"model":{}"#, json!(model));
        let build = fingerprint(*dialect);
        event(&format!(r#"{opening},"choices":[],"usage":{{{counts}}},"system_fingerprint":"{build}"}}"#))
    }
}

/// A chunk up to its choice's own fields.
fn before_choice(head: &Head) -> String {
    let Head { kind, id, created_s, model, .. } = head;
    let object = object(*kind);
    let opening = format!(r#"{{"id":"{id}","object":"{object}","created":{created_s}"#);
    format!(r#"{opening},"model":{},"choices":[{{"index":0,"#, json!(model))
}

/// One server-sent event.
fn event(json: &str) -> String {
    format!("data: {json}\n\n")
}

/// What the engine calls its build.
pub(crate) const fn fingerprint(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Vllm => "vllm-0.32.0-tidegate",
        Dialect::Sglang => "sglang-tidegate",
        Dialect::Tgi => "3.0.0-tidegate",
        Dialect::LlamaCpp => "b11434-tidegate",
    }
}

const fn object(kind: Kind) -> &'static str {
    match kind {
        Kind::Chat => "chat.completion.chunk",
        Kind::Text => "text_completion",
    }
}

fn quoted(reason: Option<&str>) -> String {
    reason.map_or_else(|| "null".to_owned(), |reason| json!(reason).to_string())
}

fn llamacpp(head: &Head, delta: &str, finish: Option<&str>, more: &str) -> String {
    let Head { kind, id, created_s, model, .. } = head;
    let choices = match (kind, delta) {
        (_, "") => String::new(),
        (Kind::Chat, delta) => format!(r#"{{"finish_reason":{},"index":0,"delta":{delta}}}"#, quoted(finish)),
        (Kind::Text, text) => {
            format!(r#"{{"text":{text},"index":0,"logprobs":null,"finish_reason":{}}}"#, quoted(finish))
        }
    };
    let opening =
        format!(r#"{{"choices":[{choices}],"created":{created_s},"id":"{id}","model":{}"#, json!(model));
    let (build, object) = (fingerprint(Dialect::LlamaCpp), object(*kind));
    format!(r#"{opening},"system_fingerprint":"{build}","object":"{object}"{more}}}"#)
}

/// A chunk as a whole event. With a finish it is the last one.
fn chunk(head: &Head, text: Option<&str>, finish: Option<Finish>, stop: Option<&str>) -> String {
    let text = json!(text.unwrap_or_default());
    let finish = finish.map(reason);
    let (end, stop) = (quoted(finish), quoted(stop));
    let before = before_choice(head);
    let (dialect, kind) = (head.dialect, head.kind);
    if dialect == Dialect::LlamaCpp {
        return event(&match kind {
            Kind::Chat => llamacpp(head, &format!(r#"{{"content":{text}}}"#), finish, ""),
            Kind::Text => llamacpp(head, &text.to_string(), finish, ""),
        });
    }
    let body = match (dialect, kind) {
        (_, Kind::Text) => format!(r#""text":{text}"#),
        (Dialect::Sglang, Kind::Chat) => {
            let rest = r#""reasoning_content":null,"tool_calls":null"#;
            format!(r#""delta":{{"role":null,"content":{text},{rest}}}"#)
        }
        (Dialect::Tgi, Kind::Chat) => format!(r#""delta":{{"role":"assistant","content":{text}}}"#),
        (Dialect::Vllm | Dialect::LlamaCpp, Kind::Chat) => format!(r#""delta":{{"content":{text}}}"#),
    };
    let after = match (dialect, kind) {
        // vLLM names a stop reason in a chat's last chunk only, and in every chunk of a plain completion.
        (Dialect::Vllm, Kind::Chat) if finish.is_none() => r#","token_ids":null}]}"#.to_owned(),
        (Dialect::Vllm, Kind::Chat) => format!(r#","stop_reason":{stop},"token_ids":null}}]}}"#),
        (Dialect::Vllm, Kind::Text) => {
            format!(r#","stop_reason":{stop},"token_ids":null}}],"usage":null}}"#)
        }
        (Dialect::Sglang, _) => format!(r#","matched_stop":{stop}}}],"usage":null}}"#),
        (Dialect::Tgi, Kind::Chat) => r#"}],"usage":null}"#.to_owned(),
        (Dialect::Tgi | Dialect::LlamaCpp, _) => "}]}".to_owned(),
    };
    event(&format!(r#"{before}{body},"logprobs":null,"finish_reason":{end}{after}"#))
}
