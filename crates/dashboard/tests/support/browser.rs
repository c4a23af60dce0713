//! Headless Chromium, spoken to over its debugging pipe: JSON messages that end in a zero byte.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A page that is not there by then has failed: Chromium starts in a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// The shell gives the browser its pipe as the descriptors 3 and 4, where it looks for it.
const START: &str = "exec chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
    --hide-scrollbars --force-device-scale-factor=1 --user-data-dir=\"$1\" --remote-debugging-pipe about:blank \
    3<&0 4>&1 >/dev/null 2>&1";

pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    number: u64,
    /// Errors that pages reported: exceptions, refused content, failed loads.
    pub(crate) errors: Vec<String>,
    loaded: bool,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one.
    pub(crate) async fn start() -> Browser {
        let there =
            Command::new("sh").args(["-c", "command -v chromium"]).stdout(Stdio::null()).status().await;
        assert!(
            there.is_ok_and(|status| status.success()),
            "this test looks at pages in Chromium: apt-get install -y chromium"
        );
        let profile = tempfile::tempdir().expect("a directory");
        let mut child = Command::new("sh")
            .args(["-c", START, "sh"])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("a shell");
        let to = child.stdin.take().expect("a pipe");
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        let (session, number, errors, loaded) = (None, 0, Vec::new(), false);
        let mut browser = Browser { child, to, from, session, number, errors, loaded, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let params = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", params).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({})).await;
        }
        browser
    }

    /// Asks, and waits for the answer.
    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&message).expect("JSON");
        bytes.push(0);
        self.to.write_all(&bytes).await.expect("the browser listens");
        loop {
            let answer = self.message().await;
            if answer["id"] == json!(self.number) {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// The next message; what pages complain of is kept.
    async fn message(&mut self) -> Value {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.from.read_until(0, &mut bytes));
        let count = read.await.expect("the browser answers in time").expect("the pipe is open");
        assert!(count > 0, "the browser ended");
        bytes.pop();
        let message: Value = serde_json::from_slice(&bytes).expect("JSON");
        match message["method"].as_str() {
            Some("Page.loadEventFired") => self.loaded = true,
            Some("Runtime.exceptionThrown") => self.errors.push(message["params"].to_string()),
            Some("Log.entryAdded") if message["params"]["entry"]["level"] == "error" => {
                self.errors.push(message["params"]["entry"].to_string());
            }
            _ => {}
        }
        message
    }

    /// Opens a page at a width, light or dark, and waits until it is loaded.
    pub(crate) async fn open(&mut self, url: &str, width: u32, scheme: &str) {
        let metrics = json!({
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await;
        self.loaded = false;
        self.call("Page.navigate", json!({ "url": url })).await;
        while !self.loaded {
            self.message().await;
        }
    }

    /// The value of an expression.
    pub(crate) async fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", params).await;
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression holds: asked at each change of the page.
    pub(crate) async fn until(&mut self, expression: &str) {
        let promise = format!(
            "new Promise((done) => {{ const look = () => {{ if ({expression}) {{ seen.disconnect(); done(true); }} }}; \
             const seen = new MutationObserver(look); \
             seen.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }}); look(); }})"
        );
        self.value(&promise).await;
    }

    /// Keeps a picture of the whole page where cargo keeps what tests leave.
    pub(crate) async fn picture(&mut self, name: &str) {
        let params = json!({ "format": "png", "captureBeyondViewport": true });
        let size = self.value("document.documentElement.scrollHeight").await;
        let metrics = json!({ "mobile": false, "deviceScaleFactor": 1, "height": size,
            "width": self.value("document.documentElement.clientWidth").await });
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
        let answer = self.call("Page.captureScreenshot", params).await;
        let bytes = decode(answer["data"].as_str().expect("a picture"));
        assert!(bytes.starts_with(b"\x89PNG"), "{name} is no picture");
        std::fs::write(format!("{}/{name}.png", env!("CARGO_TARGET_TMPDIR")), bytes)
            .expect("room for a picture");
    }

    pub(crate) async fn close(mut self) {
        self.session = None;
        self.call("Browser.close", json!({})).await;
        let _ = self.child.wait().await;
    }
}

/// Base64, as the protocol wraps pictures.
fn decode(text: &str) -> Vec<u8> {
    let place = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let bits = group.iter().fold(0, |bits, byte| bits << 6 | place(*byte)) << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
