//! Listeners that others can reach: TLS, the token, and the commands that are their clients.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::fleet::{Model, manifests};
use crate::rig::Rig;

/// A certificate for this machine's loopback, that is its own authority, and its key.
fn certificate(directory: &Path) -> (String, String) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (cert.display().to_string(), key.display().to_string())
}

fn tidegate(arguments: &[&str], token: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).env_remove("TIDEGATE_ADMIN_TOKEN");
    if let Some(token) = token {
        command.env("TIDEGATE_ADMIN_TOKEN", token);
    }
    command.output().unwrap()
}

#[test]
fn over_tls_load_is_answered_and_why_needs_the_authority_and_the_token() {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(directory.path());
    let more = ["--tls-cert", &cert, "--tls-key", &key, "--admin-addr", "0.0.0.0:0"];
    let rig = Rig::up(&manifests(&[Model::new("tide")]), &more);

    let url = rig.gateway.replace("127.0.0.1", "localhost");
    assert!(url.starts_with("https://"), "{url}");
    let load = ["load", "--url", &url, "--plan", "0s:20rps 1s:20rps", "--format", "json"];
    let played = tidegate(&[&load[..], &["--tls-ca", &cert]].concat(), None);
    let said = String::from_utf8_lossy(&played.stderr).into_owned();
    assert_eq!(played.status.code(), Some(0), "{said}");
    let report: Value = serde_json::from_slice(&played.stdout).unwrap();
    assert_eq!((report["failed"].as_u64(), report["ok"].as_u64()), (Some(0), report["requests"].as_u64()));
    // Without the authority nobody is talked to.
    assert_eq!(tidegate(&load, None).status.code(), Some(1));

    assert!(rig.admin.starts_with("https://"), "{}", rig.admin);
    let port = rig.admin.rsplit(':').next().unwrap();
    let admin = format!("127.0.0.1:{port}");
    let why = ["why", "default/tide", "--admin-addr", &admin, "--tls-ca", &cert];
    let talk = rig.talk();
    let token = talk.split_once("this token: ").unwrap().1.lines().next().unwrap();
    let told = tidegate(&why, Some(token));
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(text.contains("default/tide: "), "{text}\n{}", String::from_utf8_lossy(&told.stderr));
    for wrong in [None, Some("0123456789abcdef0123456789abcdef")] {
        let refused = tidegate(&why, wrong);
        assert!(!refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));
    }
    assert!(!rig.stop().1.contains("BEGIN"), "a key was printed");
}
