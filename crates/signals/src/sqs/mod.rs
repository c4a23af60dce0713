//! `aws-sqs-queue`: how many messages a queue has.
//!
//! One signed POST to the region's endpoint, or to `awsEndpoint`. Messages that wait count; those being
//! worked on with `scaleOnInFlight`, those not due yet with `scaleOnDelayed`. Redirects are not followed.

mod sign;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use tidegate_core::scale::Reading;
use tidegate_manifest::trigger::{self, IdentityOwner, Origin};

use crate::find;
use crate::http::Error as HttpError;
use crate::https::{Asked, Client};
use crate::remote::{Question, Remote};
use crate::tls::{self, Tls};
use sign::{Credentials, Request, authorization};

/// How long one question may take: KEDA's own default for a request.
pub const DEADLINE: Duration = Duration::from_secs(3);

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

const ACTION: &str = "AmazonSQS.GetQueueAttributes";
const JSON: &str = "application/x-amz-json-1.0";

/// Why the number is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value stands where nobody can look.
    #[error(transparent)]
    Unknown(#[from] find::Error),
    /// A region or an endpoint that is none.
    #[error("awsEndpoint or awsRegion makes no address; a region is written as us-east-1")]
    Address,
    /// Nobody signs.
    #[error(
        "no credentials: give awsAccessKeyID and awsSecretAccessKey in a TriggerAuthentication, or with \
         identityOwner: operator as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in tidegate's own environment"
    )]
    NoCredentials,
    /// Credentials that have to be fetched first.
    #[error("awsRoleArn: roles are not assumed here; give a key with awsAccessKeyID and awsSecretAccessKey")]
    Role,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The service refuses.
    #[error(
        "sqs at {server} answered {status}; 400 and 403 are a queue that is not in this region, or credentials \
         that may not sqs:GetQueueAttributes"
    )]
    Status {
        /// Host.
        server: String,
        /// What it answered.
        status: StatusCode,
    },
    /// No whole answer. Asking again can help.
    #[error("sqs at {server}: {reason}")]
    Server {
        /// Host.
        server: String,
        /// What went wrong.
        reason: String,
    },
    /// An answer without the numbers.
    #[error("sqs at {server} gave no {attribute}")]
    Attribute {
        /// Host.
        server: String,
        /// Which one.
        attribute: &'static str,
    },
}

/// A queue to be asked again and again.
pub struct AwsSqs {
    client: Client,
    url: Uri,
    host: String,
    region: String,
    credentials: Credentials,
    attributes: Vec<&'static str>,
    body: Bytes,
    question: Question,
}

impl fmt::Debug for AwsSqs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.question.fmt(f)
    }
}

impl AwsSqs {
    /// A reader of what `of` describes. `value` finds what stands elsewhere; `own` is this program's own
    /// environment, which only counts with `identityOwner: operator`. Nothing is connected yet.
    ///
    /// # Errors
    /// When a value is not at hand, or there are no credentials.
    pub fn new(
        of: &trigger::AwsSqs,
        value: impl Fn(&Origin) -> Option<String>,
        own: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, Error> {
        let region = find::given("awsRegion", Some(&of.aws_region), &value)?.ok_or(Error::Address)?;
        let queue = find::given("queueURL", Some(&of.queue_url), &value)?.unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        // It becomes a part of a host's name.
        if !region.bytes().all(plain) {
            return Err(Error::Address);
        }
        let credentials = credentials(&of.identity, &value, own)?;
        let china = if region.starts_with("cn-") { ".cn" } else { "" };
        let base = of.aws_endpoint.clone();
        let base = base.unwrap_or_else(|| format!("https://sqs.{region}.amazonaws.com{china}"));
        let url: Uri = format!("{}/", base.trim_end_matches('/')).parse().map_err(|_| Error::Address)?;
        let host = url.authority().ok_or(Error::Address)?.to_string();
        let secure = url.scheme_str() == Some("https");
        if !secure && url.scheme_str() != Some("http") || host.contains('@') {
            return Err(Error::Address);
        }
        let mut attributes = vec!["ApproximateNumberOfMessages"];
        if of.scale_on_in_flight {
            attributes.push("ApproximateNumberOfMessagesNotVisible");
        }
        if of.scale_on_delayed {
            attributes.push("ApproximateNumberOfMessagesDelayed");
        }
        let question = Question::new("aws-sqs-queue", host.clone())
            .with("url", &url)
            .with("queue", &queue)
            .with("region", &region)
            .with("attributes", attributes.join(","))
            .secret("id", Some(&credentials.access_key_id))
            .secret("key", Some(&credentials.secret_access_key))
            .secret("token", credentials.session_token.as_deref());
        let body = json!({ "QueueUrl": queue, "AttributeNames": attributes }).to_string().into();
        let client = Client::new(secure.then(Tls::default).as_ref())?;
        Ok(AwsSqs { client, url, host, region, credentials, attributes, body, question })
    }

    /// The messages that count now.
    ///
    /// # Errors
    /// When the service does not say within [`DEADLINE`].
    pub async fn read(&self) -> Result<f64, Error> {
        let date = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let headers = self.headers(&date)?;
        let body = self.body.clone();
        let asked =
            Asked { method: Method::POST, url: &self.url, headers: &headers, body, deadline: DEADLINE };
        let answer = self.client.ask(asked).await.map_err(|error| self.failed(error))?;
        let answer: Value = serde_json::from_slice(&answer)
            .map_err(|error| self.server(format!("its answer is no JSON: {}", find::brief(error))))?;
        let mut sum = 0.0;
        for attribute in &self.attributes {
            let number = answer["Attributes"][attribute].as_str().and_then(|text| text.parse::<u64>().ok());
            let missing = || Error::Attribute { server: self.host.clone(), attribute };
            // Queues stay far below 2^53 messages.
            sum += number.ok_or_else(missing)? as f64;
        }
        Ok(sum)
    }

    fn headers(&self, date: &str) -> Result<HeaderMap, Error> {
        let token = self.credentials.session_token.as_deref();
        let mut signed = vec![("content-type", JSON), ("host", self.host.as_str()), ("x-amz-date", date)];
        signed.extend(token.map(|token| ("x-amz-security-token", token)));
        signed.push(("x-amz-target", ACTION));
        let path = self.url.path();
        let request = Request { method: "POST", path, headers: &signed, body: &self.body, date };
        let signature = authorization(&request, &self.credentials, &self.region, "sqs");
        // Only a key or a token with a line end in it is no header.
        let text = |text: &str| HeaderValue::try_from(text).map_err(|_| Error::NoCredentials);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(HOST, text(&self.host)?);
        headers.insert(DATE, text(date)?);
        if let Some(token) = token {
            headers.insert(TOKEN, text(token)?);
        }
        headers.insert(TARGET, HeaderValue::from_static(ACTION));
        headers.insert(AUTHORIZATION, text(&signature)?);
        Ok(headers)
    }

    fn failed(&self, error: HttpError) -> Error {
        match error {
            HttpError::Status { status, .. } => Error::Status { server: self.host.clone(), status },
            HttpError::Address { .. } => Error::Address,
            HttpError::Unreachable { reason, .. } => self.server(format!("it cannot be reached: {reason}")),
            HttpError::Late { after_ms, .. } => {
                self.server(format!("it has not answered within {after_ms} ms"))
            }
            HttpError::TooLong { .. } => self.server("its answer is longer than 8 MiB".to_owned()),
            HttpError::Broken { reason, .. } => self.server(format!("its answer is broken: {reason}")),
        }
    }

    fn server(&self, reason: String) -> Error {
        Error::Server { server: self.host.clone(), reason }
    }
}

fn credentials(
    identity: &trigger::AwsIdentity,
    value: &impl Fn(&Origin) -> Option<String>,
    own: impl Fn(&'static str) -> Option<String>,
) -> Result<Credentials, Error> {
    if identity.owner == IdentityOwner::Operator {
        let [id, key, token] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].map(own);
        return whole(id, key, token);
    }
    if identity.role_arn.is_some() {
        return Err(Error::Role);
    }
    let text = |what, secret: &Option<_>| find::secret(what, secret.as_ref(), value);
    whole(
        text("awsAccessKeyID", &identity.access_key_id)?,
        text("awsSecretAccessKey", &identity.secret_access_key)?,
        text("awsSessionToken", &identity.session_token)?,
    )
}

fn whole(
    id: Option<String>,
    key: Option<String>,
    session_token: Option<String>,
) -> Result<Credentials, Error> {
    match (id, key) {
        (Some(access_key_id), Some(secret_access_key)) => {
            Ok(Credentials { access_key_id, secret_access_key, session_token })
        }
        _ => Err(Error::NoCredentials),
    }
}

impl Remote for AwsSqs {
    fn question(&self) -> &Question {
        &self.question
    }

    fn ask(&self) -> BoxFuture<'_, Result<Reading, String>> {
        Box::pin(async {
            let value = self.read().await.map_err(|error| error.to_string())?;
            Ok(Reading::Value { value, active: None })
        })
    }
}
