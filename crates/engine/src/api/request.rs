//! Reading a request: the fields that matter, the rest let through as engines do.

use serde::Deserialize;
use tidegate_sim::{Finish, Request};

use super::refusal::Refusal;
use crate::prompt::Prompt;
use crate::text;

/// Stop strings at most: OpenAI takes 4, vLLM any number.
const STOPS_MAX: usize = 64;

/// Chat or plain completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Text,
}

/// The body of both.
#[derive(Debug, Deserialize)]
pub(crate) struct Generate {
    pub(crate) model: Option<String>,
    messages: Option<Vec<Message>>,
    prompt: Option<Input>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    min_tokens: Option<u32>,
    #[serde(default)]
    pub(crate) stream: bool,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    stop: Option<OneOrMore>,
    n: Option<i64>,
    #[serde(default)]
    ignore_eos: bool,
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// Pictures and sound count nothing.
#[derive(Debug, Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// What `prompt` and `input` may be: text or token numbers, one or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    Batches(Vec<Vec<u32>>),
}

/// The body of `/v1/embeddings`.
#[derive(Debug, Deserialize)]
pub(crate) struct Embed {
    pub(crate) model: Option<String>,
    pub(crate) input: Input,
    #[serde(default)]
    pub(crate) encoding_format: Option<String>,
    pub(crate) dimensions: Option<u32>,
}

/// A request worked out: what the model gets, and what the client is to be told.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) prompt_tokens: u32,
    /// Bytes of text the client sees; the rest belongs to a stop string.
    pub(crate) visible_bytes: usize,
    pub(crate) stop: Option<String>,
    pub(crate) include_usage: bool,
    pub(crate) request: Request,
}

impl Plan {
    /// Why it ended, for the client: a stop string on the very last token it may write is still a stop.
    pub(crate) fn finish(&self, finish: Finish) -> Finish {
        if finish == Finish::Length && self.stop.is_some() { Finish::Stop } else { finish }
    }
}

impl Input {
    /// Each piece on its own.
    pub(crate) fn prompts(&self, block_tokens: u32) -> Vec<Prompt> {
        let of_text = |text: &String| {
            let mut prompt = Prompt::new(block_tokens);
            prompt.text(text);
            prompt
        };
        let of_tokens = |tokens: &Vec<u32>| {
            let mut prompt = Prompt::new(block_tokens);
            prompt.tokens(tokens);
            prompt
        };
        match self {
            Input::Text(text) => vec![of_text(text)],
            Input::Texts(texts) => texts.iter().map(of_text).collect(),
            Input::Tokens(tokens) => vec![of_tokens(tokens)],
            Input::Batches(batches) => batches.iter().map(of_tokens).collect(),
        }
    }
}

impl Generate {
    fn prompt(&self, kind: Kind, block_tokens: u32) -> Result<Prompt, Refusal> {
        match kind {
            Kind::Chat => {
                let messages = self.messages.as_ref().filter(|messages| !messages.is_empty());
                let messages = messages.ok_or_else(|| {
                    Refusal::bad("messages", "`messages` is required and must not be empty")
                })?;
                let mut prompt = Prompt::new(block_tokens);
                for message in messages {
                    prompt.message(&message.role, &message.text());
                }
                Ok(prompt)
            }
            Kind::Text => {
                let input =
                    self.prompt.as_ref().ok_or_else(|| Refusal::bad("prompt", "`prompt` is required"))?;
                let mut prompts = input.prompts(block_tokens);
                match (prompts.pop(), prompts.is_empty()) {
                    (Some(prompt), true) => Ok(prompt),
                    _ => Err(Refusal::bad("prompt", "this stand-in takes one prompt a request")),
                }
            }
        }
    }

    fn limit(&self, prompt_tokens: u32, tokens_max: u64) -> Result<u32, Refusal> {
        match self.max_completion_tokens.or(self.max_tokens) {
            // As much as fits; at least one, so that a prompt that fills the model is refused by it.
            None => {
                Ok(tokens_max.saturating_sub(u64::from(prompt_tokens)).clamp(1, u64::from(u32::MAX)) as u32)
            }
            Some(limit) => u32::try_from(limit).ok().filter(|limit| *limit >= 1).ok_or_else(|| {
                Refusal::bad("max_tokens", &format!("max_tokens must be at least 1, got {limit}."))
            }),
        }
    }

    /// What the model is to do.
    pub(crate) fn plan(&self, kind: Kind, block_tokens: u32, tokens_max: u64) -> Result<Plan, Refusal> {
        if self.n.is_some_and(|n| n != 1) {
            return Err(Refusal::bad("n", "this stand-in gives one choice a request: n must be 1"));
        }
        let prompt = self.prompt(kind, block_tokens)?;
        let (seed, prompt_tokens) = (prompt.seed(), prompt.count());
        let max_tokens = self.limit(prompt_tokens, tokens_max)?;
        let wanted = text::natural_length(seed).max(self.min_tokens.unwrap_or(0));
        let mut output_tokens = if self.ignore_eos { max_tokens } else { wanted.min(max_tokens) };
        let stops = match &self.stop {
            None => &[][..],
            Some(OneOrMore::One(stop)) => std::slice::from_ref(stop),
            Some(OneOrMore::More(stops)) => stops,
        };
        if stops.len() > STOPS_MAX {
            return Err(Refusal::bad("stop", &format!("at most {STOPS_MAX} stop strings")));
        }
        let mut visible_bytes = usize::MAX;
        let mut stop = None;
        if let Some(cut) = text::cut(seed, output_tokens, stops) {
            output_tokens = cut.tokens;
            visible_bytes = cut.bytes;
            stop = Some(cut.stop);
        }
        let request =
            Request { id: 0, prompt_tokens, output_tokens, max_tokens, prefix: Some(prompt.prefix()) };
        let include_usage =
            self.stream_options.as_ref().and_then(|options| options.include_usage) == Some(true);
        Ok(Plan { seed, prompt_tokens, visible_bytes, stop, include_usage, request })
    }
}

impl Message {
    fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => parts.iter().filter_map(|part| part.text.as_deref()).collect(),
        }
    }
}
