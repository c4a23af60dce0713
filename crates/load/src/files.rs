//! Room for many connections at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises this process' limit of open files as far as it may without privileges, and says what it is then.
///
/// Each request in flight holds a socket, and many systems start a program with 1,024. When the limit
/// cannot be raised, the old one stays and is returned. `None`: there is no limit.
#[must_use]
pub fn raise_open_files() -> Option<u64> {
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: now.maximum, maximum: now.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => wanted.current,
        Err(_) => now.current,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn raising_the_limit_never_lowers_it() {
        let first = super::raise_open_files();
        assert_eq!(super::raise_open_files(), first);
    }
}
