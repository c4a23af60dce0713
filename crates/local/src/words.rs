//! Small languages of commands: `$(NAME)` as Kubernetes fills it in, and our `$PORT`.

/// Fills `$(NAME)` in as Kubernetes does: an unknown name stays as it is written, `$$` is a `$`.
pub(crate) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|open| open.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// Replaces `$PORT` and `${PORT}`, for commands that were written for a shell; `$PORTS` is another name.
pub(crate) fn fill_port(text: &str, port: u16) -> String {
    let text = text.replace("${PORT}", &port.to_string());
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("$PORT") {
        let after = &rest[at + 5..];
        out.push_str(&rest[..at]);
        if after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            out.push_str("$PORT");
        } else {
            out.push_str(&port.to_string());
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in_as_kubernetes_fills_them_in() {
        let lookup = |name: &str| (name == "MODEL").then(|| "qwen$(X)".to_owned());
        for (text, expanded) in [
            ("--model=$(MODEL)", "--model=qwen$(X)"),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("$$(MODEL)", "$(MODEL)"),
            ("$$$(MODEL)", "$qwen$(X)"),
            ("$MODEL", "$MODEL"),
            ("$(MODEL", "$(MODEL"),
            ("100$", "100$"),
            ("", ""),
        ] {
            assert_eq!(expand(text, lookup), expanded, "{text}");
        }
    }

    #[test]
    fn the_port_is_filled_in_wherever_a_shell_would() {
        for (text, filled) in [
            ("$PORT", "7001"),
            ("--port=${PORT}", "--port=7001"),
            ("serve $PORT $PORTS $PORT_A", "serve 7001 $PORTS $PORT_A"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(fill_port(text, 7001), filled, "{text}");
        }
    }
}
