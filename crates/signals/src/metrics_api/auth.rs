//! Credentials of a trigger as a request carries them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tidegate_manifest::trigger::{AuthMode, Given, HttpAuth, KeyPlace, Origin, Secret};

use super::Error;
use crate::find;
use crate::tls::Tls;

/// What goes into a query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What a request carries, and whom it trusts.
#[derive(Default)]
pub(super) struct Credentials {
    pub(super) headers: HeaderMap,
    /// `name=value`, escaped, for the end of the URL.
    pub(super) parameter: Option<String>,
    pub(super) tls: Tls,
}

impl fmt::Debug for Credentials {
    /// Names of headers alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.headers.keys()).finish()
    }
}

impl Credentials {
    pub(super) fn read(
        auth: &HttpAuth,
        insecure: bool,
        value: &impl Fn(&Origin) -> Option<String>,
    ) -> Result<Self, Error> {
        let mut credentials = Credentials::default();
        let text = |what, from: &Option<Secret>| find::secret(what, from.as_ref(), value);
        credentials.tls = Tls { insecure, ca_pem: text("ca", &auth.ca)?, ..Tls::default() };
        for mode in modes(auth, value)? {
            match mode {
                AuthMode::ApiKey => credentials.api_key(auth, value)?,
                AuthMode::Basic => {
                    let username = text("username", &auth.username)?.unwrap_or_default();
                    let password = text("password", &auth.password)?.unwrap_or_default();
                    credentials.header(AUTHORIZATION, &basic(&format!("{username}:{password}")))?;
                }
                AuthMode::Bearer => {
                    let token = text("bearerToken", &auth.bearer_token)?.unwrap_or_default();
                    credentials.header(AUTHORIZATION, &format!("Bearer {token}"))?;
                }
                AuthMode::Tls => {
                    credentials.tls.cert_pem = text("cert", &auth.cert)?;
                    credentials.tls.key_pem = text("key", &auth.key)?;
                }
                AuthMode::Custom => {
                    let name = text("customAuthHeader", &auth.custom_header)?.unwrap_or_default();
                    let header = HeaderName::try_from(&name);
                    let header = header.map_err(|_| Error::Header { name: "customAuthHeader".to_owned() })?;
                    let value = text("customAuthValue", &auth.custom_value)?.unwrap_or_default();
                    credentials.header(header, &value)?;
                }
                AuthMode::OAuth => return Err(Error::OAuth),
            }
        }
        Ok(credentials)
    }

    /// User and password that stand in the URL, where nothing else is sent in their place.
    pub(super) fn login(&mut self, login: &str) -> Result<(), Error> {
        if self.headers.contains_key(AUTHORIZATION) {
            Ok(())
        } else {
            self.header(AUTHORIZATION, &basic(login))
        }
    }

    fn api_key(&mut self, auth: &HttpAuth, value: &impl Fn(&Origin) -> Option<String>) -> Result<(), Error> {
        let key = find::secret("apiKey", auth.api_key.as_ref(), value)?.unwrap_or_default();
        let name = find::given("keyParamName", auth.key_name.as_ref(), value)?;
        let place = match &auth.key_place {
            Given::Value(place) => *place,
            Given::Elsewhere(origin) => match value(origin).as_deref().map(str::trim) {
                Some("query") => KeyPlace::Query,
                _ => KeyPlace::Header,
            },
        };
        match place {
            KeyPlace::Query => {
                let name = name.unwrap_or_else(|| "api_key".to_owned());
                let [name, key] = [name, key].map(|text| utf8_percent_encode(&text, PLAIN).to_string());
                self.parameter = Some(format!("{name}={key}"));
                Ok(())
            }
            KeyPlace::Header => {
                let name = name.unwrap_or_else(|| "X-API-KEY".to_owned());
                let header = HeaderName::try_from(&name);
                self.header(header.map_err(|_| Error::Header { name: "keyParamName".to_owned() })?, &key)
            }
        }
    }

    fn header(&mut self, name: HeaderName, text: &str) -> Result<(), Error> {
        let mut value = HeaderValue::try_from(text).map_err(|_| Error::Header { name: name.to_string() })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(())
    }
}

fn basic(login: &str) -> String {
    format!("Basic {}", STANDARD.encode(login))
}

fn modes(auth: &HttpAuth, value: &impl Fn(&Origin) -> Option<String>) -> Result<Vec<AuthMode>, Error> {
    let origin = match &auth.modes {
        Given::Value(modes) => return Ok(modes.clone()),
        Given::Elsewhere(origin) => origin.clone(),
    };
    let text = find::secret("authModes", Some(&Secret(origin)), value)?.unwrap_or_default();
    let known = [
        AuthMode::ApiKey,
        AuthMode::Basic,
        AuthMode::Bearer,
        AuthMode::Tls,
        AuthMode::Custom,
        AuthMode::OAuth,
    ];
    let named = |word: &str| known.into_iter().find(|mode| mode.as_str() == word.trim());
    text.split(',').map(|word| named(word).ok_or(Error::Mode)).collect()
}
