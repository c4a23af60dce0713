//! A tiny Llama with random weights as a GGUF file: enough for a real llama.cpp server to speak nonsense fast.
//!
//! The format is llama.cpp's (`docs/gguf.md` of ggml): a header, keys with typed values, the tensors' names
//! and shapes, and their numbers, each aligned to 32 bytes. 512 tokens × 128 wide × 2 layers are 1.8 MB.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

const VOCABULARY: u64 = 512;
const WIDTH: u64 = 128;
const FEED_FORWARD: u64 = 256;
const LAYERS: u32 = 2;
const HEADS: u32 = 4;
const ALIGNMENT: usize = 32;

const UINT32: u32 = 4;
const INT32: u32 = 5;
const FLOAT32: u32 = 6;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

#[derive(Default)]
struct Keys {
    bytes: Vec<u8>,
    count: u64,
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

impl Keys {
    fn key(&mut self, name: &str, kind: u32) -> &mut Vec<u8> {
        self.count += 1;
        text(&mut self.bytes, name);
        self.bytes.extend(kind.to_le_bytes());
        &mut self.bytes
    }

    fn number(&mut self, name: &str, value: u32) {
        self.key(name, UINT32).extend(value.to_le_bytes());
    }

    fn string(&mut self, name: &str, value: &str) {
        let bytes = self.key(name, STRING);
        text(bytes, value);
    }

    fn strings(&mut self, name: &str, values: &[String]) {
        let bytes = self.key(name, ARRAY);
        bytes.extend(STRING.to_le_bytes());
        bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| text(bytes, value));
    }
}

/// The 256 characters that stand for bytes in GPT-2's alphabet: the visible ones for themselves, the others
/// from 256 on.
fn alphabet() -> Vec<String> {
    let visible = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut extra = 256;
    let characters = (0..256).map(|byte| {
        let code = if visible(byte) {
            byte
        } else {
            extra += 1;
            extra - 1
        };
        char::from_u32(code).expect("a character").to_string()
    });
    characters.collect()
}

fn keys() -> Keys {
    let mut tokens: Vec<String> = ["<s>", "</s>", "<pad>"].map(str::to_owned).to_vec();
    tokens.extend(alphabet());
    for number in tokens.len()..VOCABULARY as usize {
        tokens.push(format!("<unused{number}>"));
    }
    let mut keys = Keys::default();
    keys.string("general.architecture", "llama");
    keys.string("general.name", "tiny");
    keys.number("llama.context_length", 2048);
    keys.number("llama.embedding_length", WIDTH as u32);
    keys.number("llama.block_count", LAYERS);
    keys.number("llama.feed_forward_length", FEED_FORWARD as u32);
    keys.number("llama.attention.head_count", HEADS);
    keys.number("llama.attention.head_count_kv", HEADS);
    keys.key("llama.attention.layer_norm_rms_epsilon", FLOAT32).extend(1e-5_f32.to_le_bytes());
    keys.number("llama.rope.dimension_count", WIDTH as u32 / HEADS);
    keys.number("llama.vocab_size", VOCABULARY as u32);
    keys.string("tokenizer.ggml.model", "gpt2");
    keys.string("tokenizer.ggml.pre", "default");
    keys.strings("tokenizer.ggml.tokens", &tokens);
    let kinds = keys.key("tokenizer.ggml.token_type", ARRAY);
    kinds.extend(INT32.to_le_bytes());
    kinds.extend(VOCABULARY.to_le_bytes());
    // The first three are control tokens (3), the others plain (1).
    (0..VOCABULARY).for_each(|number| kinds.extend((if number < 3 { 3_i32 } else { 1 }).to_le_bytes()));
    keys.strings("tokenizer.ggml.merges", &["t h".to_owned(), "h e".to_owned()]);
    keys.number("tokenizer.ggml.bos_token_id", 0);
    keys.number("tokenizer.ggml.eos_token_id", 1);
    keys
}

/// Names and shapes, the fastest dimension first; norms are ones, all else is noise.
fn tensors() -> Vec<(String, Vec<u64>)> {
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![WIDTH, VOCABULARY]),
        ("output_norm.weight".to_owned(), vec![WIDTH]),
        ("output.weight".to_owned(), vec![WIDTH, VOCABULARY]),
    ];
    for layer in 0..LAYERS {
        let mut add =
            |name: &str, shape: &[u64]| tensors.push((format!("blk.{layer}.{name}.weight"), shape.to_vec()));
        add("attn_norm", &[WIDTH]);
        add("ffn_norm", &[WIDTH]);
        for projection in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            add(projection, &[WIDTH, WIDTH]);
        }
        add("ffn_gate", &[WIDTH, FEED_FORWARD]);
        add("ffn_up", &[WIDTH, FEED_FORWARD]);
        add("ffn_down", &[FEED_FORWARD, WIDTH]);
    }
    tensors
}

/// Writes the file.
pub(crate) fn write(path: &Path) -> std::io::Result<()> {
    let (keys, tensors) = (keys(), tensors());
    let mut head = Vec::new();
    head.extend(b"GGUF");
    head.extend(3_u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend(keys.count.to_le_bytes());
    head.extend(&keys.bytes);
    let size = |shape: &[u64]| shape.iter().product::<u64>() * 4;
    let mut offset = 0_u64;
    for (name, shape) in &tensors {
        text(&mut head, name);
        head.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|length| head.extend(length.to_le_bytes()));
        // 0 is 32-bit floating point.
        head.extend(0_u32.to_le_bytes());
        head.extend(offset.to_le_bytes());
        offset += size(shape).next_multiple_of(ALIGNMENT as u64);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(&head)?;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for (name, shape) in &tensors {
        let mut data = Vec::with_capacity(size(shape) as usize);
        for _ in 0..shape.iter().product::<u64>() {
            // xorshift64: any noise will do, as long as it is the same each time.
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let noise = (seed >> 40) as f32 / 16_777_216.0 - 0.5;
            let value = if name.contains("norm") { 1.0 } else { noise * 0.07 };
            data.extend(value.to_le_bytes());
        }
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
        out.write_all(&data)?;
    }
    out.flush()
}
