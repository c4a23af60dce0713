//! Tokens, from an endpoint on loopback that counts who asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_signals::oauth::{Credentials, Tokens};
use tidegate_signals::tls::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const DEADLINE: Duration = Duration::from_secs(30);

/// An endpoint that knows `id` and `s/cret` and numbers its tokens. `in_form` is where it wants them.
async fn endpoint(in_form: bool) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let url = format!("http://{}/token", listener.local_addr().expect("it is bound"));
    let granted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&granted);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            // The form is the last thing sent, and ends with no line.
            while !ends(&request) {
                let mut piece = [0; 4_096];
                let read = stream.read(&mut piece).await.expect("the client writes");
                request.extend_from_slice(&piece[..read]);
                if read == 0 {
                    break;
                }
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            assert!(text.contains("grant_type=client_credentials&scope=read%20write"), "{text}");
            // id:s%2Fcret
            let known = if in_form {
                text.contains("client_id=id&client_secret=s%2Fcret")
            } else {
                text.contains("Basic aWQ6cyUyRmNyZXQ=")
            };
            let (status, body) = if known {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                ("200 OK", format!(r#"{{"access_token": "token-{number}", "expires_in": 3600}}"#))
            } else {
                ("401 Unauthorized", String::new())
            };
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.expect("the client reads");
        }
    });
    (url, granted)
}

/// Whether a whole request has come, by its `content-length`.
fn ends(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| body.len() >= length.parse().expect("a number"))
}

fn tokens(url: String, client_secret: &str) -> Tokens {
    let credentials = Credentials {
        url,
        client_id: "id".to_owned(),
        client_secret: client_secret.to_owned(),
        scopes: "read write".to_owned(),
        parameters: String::new(),
    };
    Tokens::new(credentials, &Tls::default()).expect("a URL without TLS")
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_again_when_it_was_refused() {
    for in_form in [false, true] {
        let (url, granted) = endpoint(in_form).await;
        let tokens = tokens(url, "s/cret");
        for _ in 0..3 {
            assert_eq!(tokens.token(DEADLINE).await, Ok("token-1".to_owned()));
        }
        tokens.forget().await;
        assert_eq!(tokens.token(DEADLINE).await, Ok("token-2".to_owned()));
        assert_eq!(granted.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_an_error_that_does_not_show_it() {
    let (url, _) = endpoint(false).await;
    let tokens = tokens(url, "hunter2");
    let error = tokens.token(DEADLINE).await.expect_err("it is wrong").to_string();
    assert!(error.contains("401") && !error.contains("hunter2"), "{error}");
    assert!(!format!("{tokens:?}").contains("hunter2"));
}
