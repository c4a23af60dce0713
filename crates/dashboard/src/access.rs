//! Who may look.
//!
//! Bound to loopback, whoever is on the machine may; but a web page elsewhere may not get at it through
//! the visitor's browser with a name that resolves to 127.0.0.1, so the request must name a loopback
//! host. Bound to anything else, every read needs the token. The one write, a pushed number, needs its own
//! everywhere ([`crate::push`]).

use std::net::{IpAddr, SocketAddr};

use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::uri::Authority;
use http::{HeaderMap, Uri};

/// The cookie `/login` sets.
const COOKIE_NAME: &str = "tidegate_token";

/// Fewer characters are guessed: 16 of hex are 64 bits.
pub const TOKEN_CHARS_MIN: usize = 16;

/// What a request must show.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// A loopback host name.
    Loopback,
    /// The token.
    Token(String),
}

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It names a host that is not this machine's loopback.
    Host,
    /// It has no token, or another.
    Token,
}

impl Access {
    /// What holds for an address; `None` where the address needs a token and there is no usable one.
    pub(crate) fn of(addr: SocketAddr, token: Option<String>) -> Option<Self> {
        if addr.ip().is_loopback() {
            return Some(Access::Loopback);
        }
        // A cookie value: no blanks, quotes, commas, semicolons, backslashes.
        let plain = |token: &String| {
            token.len() >= TOKEN_CHARS_MIN
                && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
        };
        token.filter(plain).map(Access::Token)
    }

    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        match self {
            Access::Loopback => {
                let named = headers.get_all(HOST).iter().collect::<Vec<_>>();
                let [host] = named.as_slice() else { return Err(Refused::Host) };
                let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
                let loopback =
                    host.is_some_and(|host| is_loopback(&host)) && uri.authority().is_none_or(is_loopback);
                loopback.then_some(()).ok_or(Refused::Host)
            }
            Access::Token(token) => {
                let shown = bearer(headers).into_iter().chain(cookies(headers));
                shown.into_iter().any(|one| same(one, token)).then_some(()).ok_or(Refused::Token)
            }
        }
    }

    /// The cookie for somebody who knows the token.
    pub(crate) fn login(&self, shown: &str) -> Option<String> {
        match self {
            Access::Token(token) if same(shown, token) => {
                Some(format!("{COOKIE_NAME}={token}; Path=/; HttpOnly; SameSite=Lax"))
            }
            _ => None,
        }
    }
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
    // Browsers resolve *.localhost themselves, so no name server can point it elsewhere.
    host == "localhost"
        || host.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    lists
        .flat_map(|list| list.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(|(name, value)| (name == COOKIE_NAME).then_some(value))
}

/// Compares without telling by its time how far two agree.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn host(name: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HOST, HeaderValue::from_static(name))])
    }

    #[test]
    fn loopback_hosts_are_let_in_and_every_other_name_is_not() {
        let access = Access::of(SocketAddr::from(([127, 0, 0, 1], 8081)), None).unwrap();
        let uri = Uri::from_static("/");
        for good in
            ["localhost", "LOCALHOST:8081", "127.0.0.1:8081", "127.3.2.1", "[::1]:8081", "a.localhost"]
        {
            assert_eq!(access.check(&uri, &host(good)), Ok(()), "{good}");
        }
        for bad in
            ["evil.example:8081", "localhost.evil.example", "10.0.0.1", "0.0.0.0", "", "127.0.0.1.nip.io"]
        {
            assert_eq!(access.check(&uri, &host(bad)), Err(Refused::Host), "{bad}");
        }
        assert_eq!(access.check(&uri, &HeaderMap::new()), Err(Refused::Host));
        let absolute = Uri::from_static("http://evil.example/");
        assert_eq!(access.check(&absolute, &host("localhost")), Err(Refused::Host));
    }

    #[test]
    fn an_open_address_without_a_long_token_is_no_address() {
        let open = SocketAddr::from(([0, 0, 0, 0], 8081));
        assert!(Access::of(open, None).is_none());
        assert!(Access::of(open, Some("short".to_owned())).is_none());
        assert!(Access::of(open, Some("0123456789; abcdef".to_owned())).is_none());
    }

    #[test]
    fn the_token_counts_as_bearer_or_as_the_cookie_of_a_login() {
        let token = "0123456789abcdef";
        let access = Access::of(SocketAddr::from(([0, 0, 0, 0], 1)), Some(token.to_owned())).unwrap();
        let uri = Uri::from_static("/");
        let with = |name, value: &str| HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
        assert_eq!(access.check(&uri, &with(AUTHORIZATION, &format!("bearer {token}"))), Ok(()));
        assert_eq!(access.check(&uri, &with(COOKIE, &format!("a=b; tidegate_token={token}"))), Ok(()));
        assert_eq!(access.check(&uri, &with(COOKIE, "tidegate_token=0123456789abcdeF")), Err(Refused::Token));
        assert_eq!(access.check(&uri, &host("localhost")), Err(Refused::Token));
        assert!(access.login("0123456789abcdeF").is_none());
        assert!(access.login(token).unwrap().contains("HttpOnly"));
    }
}
