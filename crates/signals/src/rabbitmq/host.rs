//! `host`: a URI with user, password and virtual host in it.

use percent_encoding::percent_decode_str;
use tidegate_manifest::trigger::Protocol;

/// The schemes `host` may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Amqp,
    Amqps,
    Http,
    Https,
}

impl Scheme {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Scheme::Amqp => "amqp",
            Scheme::Amqps => "amqps",
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    pub(super) const fn protocol(self) -> Protocol {
        match self {
            Scheme::Amqp | Scheme::Amqps => Protocol::Amqp,
            Scheme::Http | Scheme::Https => Protocol::Http,
        }
    }
}

/// Its parts. It has no `Debug`, for it may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) scheme: Scheme,
    /// User and password.
    pub(super) login: Option<(String, String)>,
    /// A host name or an address, without brackets.
    pub(super) name: String,
    pub(super) port: Option<u16>,
    /// As written, with its first slash; empty where there is none.
    pub(super) path: String,
}

impl Host {
    pub(super) fn parse(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.trim().split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "amqp" => Scheme::Amqp,
            "amqps" => Scheme::Amqps,
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split(['?', '#']).next().unwrap_or_default().to_owned();
        // A password may itself hold an @.
        let (login, address) = match authority.rsplit_once('@') {
            None => (None, authority),
            Some((login, address)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                (Some((decoded(user)?, decoded(password)?)), address)
            }
        };
        let (name, port) = match address.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                (name, Some(port.parse().ok()?))
            }
            _ => (address, None),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        (!name.is_empty()).then_some(Host { scheme, login, name, port, path })
    }

    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(match self.scheme {
            Scheme::Amqp => 5672,
            Scheme::Amqps => 5671,
            Scheme::Http => 80,
            Scheme::Https => 443,
        })
    }

    /// Host and port, as in a URI.
    pub(super) fn server(&self) -> String {
        let port = self.port();
        if self.name.contains(':') {
            format!("[{}]:{port}", self.name)
        } else {
            format!("{}:{port}", self.name)
        }
    }

    /// The virtual host of an AMQP URI: all of its path. None, or a slash alone, is `/`.
    pub(super) fn amqp_vhost(&self) -> String {
        named(self.path.strip_prefix('/').unwrap_or_default())
    }

    /// What stands before `/api`, and the virtual host: the last part of the path.
    pub(super) fn management_path(&self) -> (String, String) {
        let (prefix, last) = self.path.rsplit_once('/').unwrap_or_default();
        (prefix.trim_end_matches('/').to_owned(), named(last))
    }
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

fn named(vhost: &str) -> String {
    match decoded(vhost) {
        Some(name) if !name.is_empty() => name,
        _ => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(uri: &str) -> Host {
        Host::parse(uri).unwrap_or_else(|| panic!("{uri} is fine"))
    }

    #[test]
    fn user_password_and_virtual_host_stand_in_the_uri_escaped() {
        let rabbit = host("amqps://us%40er:pa%2Fss@rabbit:5000/%2fteam");
        assert_eq!(rabbit.login, Some(("us@er".to_owned(), "pa/ss".to_owned())));
        assert_eq!((rabbit.server().as_str(), rabbit.amqp_vhost().as_str()), ("rabbit:5000", "/team"));
        assert_eq!(host("amqp://rabbit").amqp_vhost(), "/");
        assert_eq!(host("amqp://rabbit/").amqp_vhost(), "/");
        assert_eq!(host("amqp://[::1]:7/x").server(), "[::1]:7");
    }

    #[test]
    fn the_management_api_may_stand_below_a_path() {
        let split = |uri: &str| host(uri).management_path();
        let pair = |prefix: &str, vhost: &str| (prefix.to_owned(), vhost.to_owned());
        assert_eq!(split("http://rabbit:15672"), pair("", "/"));
        assert_eq!(split("http://rabbit:15672/"), pair("", "/"));
        assert_eq!(split("http://rabbit:15672/team"), pair("", "team"));
        assert_eq!(split("http://rabbit/proxied/rabbit/team"), pair("/proxied/rabbit", "team"));
        assert_eq!(split("http://rabbit/proxied/%2F"), pair("/proxied", "/"));
    }

    #[test]
    fn what_is_no_uri_of_rabbitmq_is_refused() {
        for wrong in ["", "rabbit:5672", "ftp://rabbit", "amqp://", "amqp://rabbit:port/", "http://u:p@/"] {
            assert!(Host::parse(wrong).is_none(), "{wrong}");
        }
    }
}
