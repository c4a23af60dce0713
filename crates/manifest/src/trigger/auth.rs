//! Authentication that HTTP triggers share.

use super::params::{A, AE, AM, AME, Given, MA, Param, Reader, Secret, choice, choices, param, text, words};
use super::{Fault, FaultKind};

words! {
    /// A way to authenticate over HTTP.
    AuthMode {
        /// A key in a header or in the query.
        ApiKey = "apiKey",
        /// User name and password.
        Basic = "basic",
        /// A client certificate.
        Tls = "tls",
        /// A bearer token.
        Bearer = "bearer",
        /// A header of one's own.
        Custom = "custom",
        /// OAuth 2 client credentials.
        OAuth = "oauth",
    }
}

words! {
    /// Where an API key goes.
    KeyPlace {
        /// A request header, `X-API-KEY` unless named.
        Header = "header",
        /// A query parameter, `api_key` unless named.
        Query = "query",
    }
}

/// OAuth 2 client credentials. All of it comes from a TriggerAuthentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OAuth {
    /// `oauthTokenURI`.
    pub token_uri: Option<Secret>,
    /// `scopes` or `scope`, a list.
    pub scopes: Option<Secret>,
    /// `clientID`.
    pub client_id: Option<Secret>,
    /// `clientSecret`.
    pub client_secret: Option<Secret>,
    /// `endpointParams`, a query string.
    pub endpoint_params: Option<Secret>,
}

impl OAuth {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        OAuth {
            token_uri: reader.secret(param(&["oauthTokenURI"], A)),
            scopes: reader.secret(param(&["scopes", "scope"], A)),
            client_id: reader.secret(param(&["clientID"], A)),
            client_secret: reader.secret(param(&["clientSecret"], A)),
            endpoint_params: reader.secret(param(&["endpointParams"], A)),
        }
    }
}

words! {
    /// Whose identity signs in to AWS.
    IdentityOwner {
        /// The target's own.
        Pod = "pod",
        /// The autoscaler's.
        Operator = "operator",
    }
}

/// How a trigger signs in to AWS. Nothing of it need be there: the autoscaler's surroundings or a
/// TriggerAuthentication's `podIdentity` may have what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsIdentity {
    /// `identityOwner`.
    pub owner: IdentityOwner,
    /// `awsRoleArn`, which comes before a key.
    pub role_arn: Option<Secret>,
    /// `awsAccessKeyID`.
    pub access_key_id: Option<Secret>,
    /// `awsSecretAccessKey`.
    pub secret_access_key: Option<Secret>,
    /// `awsSessionToken`.
    pub session_token: Option<Secret>,
}

impl AwsIdentity {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        AwsIdentity {
            owner: reader.or("identityOwner", IdentityOwner::Pod, choice),
            role_arn: reader.secret(param(&["awsRoleArn"], A)),
            access_key_id: reader.secret(param(&["awsAccessKeyID", "awsAccessKeyId"], AME)),
            secret_access_key: reader.secret(param(&["awsSecretAccessKey"], AE)),
            session_token: reader.secret(param(&["awsSessionToken"], A)),
        }
    }
}

/// How a trigger authenticates over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAuth {
    /// `authModes` or `authMode`; none by default.
    pub modes: Given<Vec<AuthMode>>,
    /// `bearerToken` or `token`.
    pub bearer_token: Option<Secret>,
    /// `username`.
    pub username: Option<Secret>,
    /// `password`.
    pub password: Option<Secret>,
    /// `cert`.
    pub cert: Option<Secret>,
    /// `key`.
    pub key: Option<Secret>,
    /// `ca`.
    pub ca: Option<Secret>,
    /// `customAuthHeader`.
    pub custom_header: Option<Secret>,
    /// `customAuthValue`.
    pub custom_value: Option<Secret>,
    /// `apiKey`.
    pub api_key: Option<Secret>,
    /// `method`.
    pub key_place: Given<KeyPlace>,
    /// `keyParamName`.
    pub key_name: Option<Given<String>>,
    /// For the mode `oauth`.
    pub oauth: OAuth,
}

const MODES: Param = param(&["authModes", "authMode"], MA);

impl HttpAuth {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let auth = HttpAuth {
            modes: reader.optional(MODES, choices).unwrap_or(Given::Value(Vec::new())),
            bearer_token: reader.secret(param(&["bearerToken", "token"], A)),
            username: reader.secret(param(&["username"], A)),
            password: reader.secret(param(&["password"], A)),
            cert: reader.secret(param(&["cert"], A)),
            key: reader.secret(param(&["key"], A)),
            ca: reader.secret(param(&["ca"], A)),
            custom_header: reader.secret(param(&["customAuthHeader"], A)),
            custom_value: reader.secret(param(&["customAuthValue"], A)),
            api_key: reader.secret(param(&["apiKey"], MA)),
            key_place: reader
                .optional(param(&["method"], MA), choice)
                .unwrap_or(Given::Value(KeyPlace::Header)),
            key_name: reader.optional(param(&["keyParamName"], MA), text),
            oauth: OAuth::read(reader),
        };
        if let Given::Value(modes) = &auth.modes {
            check(reader, modes);
        }
        auth
    }
}

/// What each mode needs.
fn check(reader: &mut Reader<'_>, modes: &[AuthMode]) {
    let exclusive = [AuthMode::Bearer, AuthMode::Basic, AuthMode::OAuth];
    if modes.iter().filter(|mode| exclusive.contains(mode)).count() > 1 {
        reader.fault(
            "authModes",
            FaultKind::Conflict,
            "authModes must contain only one of bearer, basic, oauth".to_owned(),
            "Keep the one the server expects.",
        );
    }
    for mode in modes {
        let needs: &[Param] = match mode {
            AuthMode::Bearer => &[param(&["bearerToken", "token"], A)],
            AuthMode::Basic => &[param(&["username"], A)],
            AuthMode::Tls => &[param(&["cert"], A), param(&["key"], A)],
            AuthMode::OAuth => &[param(&["oauthTokenURI"], A), param(&["clientID"], A)],
            AuthMode::Custom => &[param(&["customAuthHeader"], A), param(&["customAuthValue"], A)],
            AuthMode::ApiKey => &[param(&["apiKey"], MA)],
        };
        for need in needs {
            require(reader, *need, &format!("when {} auth is enabled", mode.as_str()));
        }
    }
}

/// Faults a parameter that is nowhere, though something else needs it.
pub(super) fn require(reader: &mut Reader<'_>, need: Param, when: &str) {
    if !reader.lacks(need) {
        return;
    }
    let name = need.names[0];
    let help = match need.places {
        A => format!("Provide the parameter {name} in the TriggerAuthentication."),
        MA | AM => {
            format!("Set {name} in the trigger's metadata or provide it in the TriggerAuthentication.")
        }
        _ => format!(
            "Set {name}, or {name}FromEnv with a variable of the target's container, or provide it in the \
             TriggerAuthentication."
        ),
    };
    reader.faults.push(Fault {
        key: Some(name.to_owned()),
        field: None,
        kind: FaultKind::MissingRequired,
        message: format!("{name} is required {when}"),
        help,
    });
}
