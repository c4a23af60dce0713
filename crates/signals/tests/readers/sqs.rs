//! Queues of a stand-in for AWS, which checks every signature.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use ring::{digest, hmac};
use serde_json::{Value, json};
use tidegate_manifest::trigger::Source;
use tidegate_signals::Remote as _;
use tidegate_signals::sqs::{AwsSqs, Error};
use tidegate_testkit::servers::free_address;

use crate::trigger::{secrets, source};
use crate::web::Web;

const URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs";
const SECRET: &str = "hunter2/hunter2";

/// Messages of a queue: waiting, being worked on, not due yet.
type Queues = Arc<Mutex<BTreeMap<String, [u64; 3]>>>;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The signature that a request must have, made of the request as it came.
fn expected(request: &Request<Bytes>) -> Option<String> {
    let header = |name: &str| request.headers().get(name)?.to_str().ok();
    let (_, names) = header("authorization")?.split_once("SignedHeaders=")?;
    let names = names.split(',').next()?;
    for needed in ["host", "x-amz-date", "x-amz-target"] {
        names.split(';').find(|name| *name == needed)?;
    }
    let mut canonical = format!("{}\n{}\n\n", request.method(), request.uri().path());
    for name in names.split(';') {
        canonical += &format!("{name}:{}\n", header(name)?);
    }
    canonical += &format!("\n{names}\n{}", hex(digest::digest(&digest::SHA256, request.body()).as_ref()));
    let date = header("x-amz-date")?;
    let scope = format!("{}/eu-west-1/sqs/aws4_request", &date[..8]);
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let mut key = format!("AWS4{SECRET}").into_bytes();
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hash}");
    for part in [&date[..8], "eu-west-1", "sqs", "aws4_request", &text] {
        key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
    }
    Some(format!("AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders={names}, Signature={}", hex(&key)))
}

fn refused(kind: &str) -> Response<String> {
    let mut answer = Response::new(json!({ "__type": format!("com.amazonaws.sqs#{kind}") }).to_string());
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    answer
}

fn answer(request: &Request<Bytes>, queues: &Queues) -> Response<String> {
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    if given.is_none() || given != expected(request).as_deref() {
        return refused("InvalidSignature");
    }
    let asked: Value = serde_json::from_slice(request.body()).expect("JSON");
    let queues = queues.lock().expect("no test panics while it holds this");
    let Some(counts) = queues.get(asked["QueueUrl"].as_str().unwrap_or_default()) else {
        return refused("QueueDoesNotExist");
    };
    let names = ["", "NotVisible", "Delayed"].map(|end| format!("ApproximateNumberOfMessages{end}"));
    let wanted = asked["AttributeNames"].as_array().expect("a list");
    let attributes: serde_json::Map<_, _> = names
        .into_iter()
        .zip(counts)
        .filter(|(name, _)| wanted.iter().any(|wanted| wanted == name))
        .map(|(name, count)| (name, count.to_string().into()))
        .collect();
    Response::new(json!({ "Attributes": attributes }).to_string())
}

async fn aws() -> (Web, Queues) {
    let queues: Queues = Arc::default();
    queues.lock().expect("a new one").insert(URL.to_owned(), [5, 3, 2]);
    let shown = Arc::clone(&queues);
    (Web::start(move |request| answer(request, &shown)).await, queues)
}

fn made(endpoint: &str, more: &[(&str, &str)], known: &[(&str, &str)]) -> Result<AwsSqs, Error> {
    let base = [("queueURL", URL), ("awsRegion", "eu-west-1"), ("awsEndpoint", endpoint)];
    let mut metadata: BTreeMap<&str, &str> = base.into();
    metadata.extend(more.iter().copied());
    let metadata: Vec<_> = metadata.into_iter().collect();
    let parameters: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let Source::AwsSqs(trigger) = source("aws-sqs-queue", &metadata, &parameters) else {
        panic!("another trigger")
    };
    let own = |name: &'static str| match name {
        "AWS_ACCESS_KEY_ID" => Some("AKID".to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(SECRET.to_owned()),
        _ => None,
    };
    AwsSqs::new(&trigger, secrets(known), own)
}

const KEYS: [(&str, &str); 2] = [("awsAccessKeyID", "AKID"), ("awsSecretAccessKey", SECRET)];

fn reader(web: &Web, more: &[(&str, &str)], known: &[(&str, &str)]) -> AwsSqs {
    made(&format!("http://{}", web.address), more, known).expect("the trigger is supported")
}

#[tokio::test]
async fn messages_are_counted_as_the_trigger_says() {
    let (web, queues) = aws().await;
    for (in_flight, delayed, value) in
        [("true", "false", 8.0), ("false", "false", 5.0), ("true", "true", 10.0), ("false", "true", 7.0)]
    {
        let more = [("scaleOnInFlight", in_flight), ("scaleOnDelayed", delayed)];
        assert_eq!(reader(&web, &more, &KEYS).read().await, Ok(value), "{more:?}");
    }
    let kept = reader(&web, &[], &KEYS);
    queues.lock().expect("nobody panics").insert(URL.to_owned(), [0, 0, 0]);
    assert_eq!(kept.read().await, Ok(0.0));
}

#[tokio::test]
async fn credentials_sign_and_are_never_shown() {
    let (web, _) = aws().await;
    let right = reader(&web, &[], &KEYS);
    assert!(right.read().await.is_ok());
    assert!(!format!("{right:?}").contains("hunter2"));
    let sent = format!("{:?}", web.asked());
    assert!(!sent.contains("hunter2"), "the secret is sent");
    let wrong = [KEYS[0], ("awsSecretAccessKey", "another")];
    let told = reader(&web, &[], &wrong).read().await;
    assert!(matches!(&told, Err(Error::Status { status, .. }) if *status == 400), "{told:?}");
    let token: Vec<_> = KEYS.into_iter().chain([("awsSessionToken", "session")]).collect();
    assert_eq!(reader(&web, &[], &token).read().await, Ok(8.0));
    assert_eq!(web.asked().last().expect("it was asked").headers()["x-amz-security-token"], "session");
    assert_eq!(reader(&web, &[("identityOwner", "operator")], &[]).read().await, Ok(8.0));
    assert!(matches!(made("http://a", &[], &[]), Err(Error::NoCredentials)));
    let role: Vec<_> = KEYS.into_iter().chain([("awsRoleArn", "arn:aws:iam::1:role/a")]).collect();
    assert!(matches!(made("http://a", &[], &role), Err(Error::Role)));
    assert_ne!(right.question(), reader(&web, &[], &token).question());
}

#[tokio::test]
async fn a_queue_that_is_not_there_and_a_server_that_is_gone_are_errors() {
    let (web, _) = aws().await;
    let other = [("queueURL", "https://sqs.eu-west-1.amazonaws.com/1/other")];
    let told = reader(&web, &other, &KEYS).read().await.expect_err("no such queue").to_string();
    assert!(told.contains("a queue that is not in this region"), "{told}");
    let gone = made(&format!("http://{}", free_address()), &[], &KEYS).expect("it is supported");
    assert!(matches!(gone.read().await, Err(Error::Server { .. })));
    for broken in ["{}", "{\"Attributes\":{\"ApproximateNumberOfMessages\":\"-1\"}}", "<html>"] {
        let web = Web::start(move |_| Response::new(broken.to_owned())).await;
        assert!(reader(&web, &[], &KEYS).read().await.is_err(), "{broken}");
    }
    for (endpoint, region) in [("ftp://a", "r"), ("http://u:p@a", "r"), ("http://a", "evil.example/")] {
        let told = made(endpoint, &[("awsRegion", region)], &KEYS);
        assert!(matches!(told, Err(Error::Address)), "{endpoint} {region}: {told:?}");
    }
}
