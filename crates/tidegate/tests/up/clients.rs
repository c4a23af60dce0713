//! The official OpenAI clients, through a cold start.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::fleet::{Model, manifests};
use crate::rig::{Rig, of};

const PYTHON: &str = r#"
import sys, openai
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="unused", timeout=600, max_retries=0)
assert [model.id for model in client.models.list()] == ["tide"]
messages = [{"role": "user", "content": "Tell me of the tides."}]
stream = client.chat.completions.create(
    model="tide", messages=messages, max_tokens=12, stream=True, stream_options={"include_usage": True},
    extra_body={"ignore_eos": True})
chunks = list(stream)
assert chunks[-1].usage.completion_tokens == 12, chunks[-1]
assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
answer = client.chat.completions.create(
    model="tide", messages=messages, max_tokens=5, extra_body={"ignore_eos": True})
assert answer.usage.completion_tokens == 5 and answer.choices[0].message.content
try:
    client.chat.completions.create(model="ebb", messages=messages)
    raise SystemExit("a model that does not exist was answered")
except openai.NotFoundError as error:
    assert "ebb" in str(error)
print("python is content")
"#;

const JAVASCRIPT: &str = r#"
import assert from "node:assert";
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "unused", maxRetries: 0, timeout: 600000 });
const messages = [{ role: "user", content: "Tell me of the tides." }];
const stream = await client.chat.completions.create({
  model: "tide", messages, max_tokens: 12, stream: true, stream_options: { include_usage: true }, ignore_eos: true });
let usage, finish;
for await (const chunk of stream) {
  usage = chunk.usage ?? usage;
  finish = chunk.choices[0]?.finish_reason ?? finish;
}
assert.equal(usage.completion_tokens, 12);
assert.equal(finish, "length");
const answer = await client.chat.completions.create({ model: "tide", messages, max_tokens: 5, ignore_eos: true });
assert.equal(answer.usage.completion_tokens, 5);
await assert.rejects(client.chat.completions.create({ model: "ebb", messages }), OpenAI.NotFoundError);
console.log("javascript is content");
"#;

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools")
}

async fn through_a_cold_start(program: &Path, script: &Path, says: &str) {
    assert!(program.exists(), "{} is missing: cargo xtask setup", program.display());
    // Longer than the gateway waits before it sends a streaming client its headers.
    let engine = "--profile instant --start-s 2".to_owned();
    let rig = Rig::up(&manifests(&[Model { engine, ..Model::new("tide") }]), &[]);
    rig.until("at zero", |fleet| of(fleet, "default/tide")["wanted"] == 0).await;
    let ran =
        Command::new(program).arg(script).arg(&rig.gateway).stdin(Stdio::null()).output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(out.contains(says), "{out}\n{err}\n{}", rig.talk());
}

#[tokio::test]
async fn the_python_client_streams_and_does_not_through_a_cold_start() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("client.py");
    std::fs::write(&script, PYTHON).unwrap();
    through_a_cold_start(&tools().join("python/bin/python"), &script, "python is content").await;
}

#[tokio::test]
async fn the_javascript_client_streams_and_does_not_through_a_cold_start() {
    // Beside its modules: that is where an import is looked for.
    let modules = tools().join("node");
    assert!(modules.join("node_modules/openai").exists(), "the client is missing: cargo xtask setup");
    let script = modules.join(format!("client-{}.mjs", std::process::id()));
    std::fs::write(&script, JAVASCRIPT).unwrap();
    let node = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|directory| directory.join("node"))
        .find(|file| file.is_file());
    let node = node.expect("node is missing: apt-get install -y nodejs npm");
    through_a_cold_start(&node, &script, "javascript is content").await;
    std::fs::remove_file(script).unwrap();
}
