//! Text into markup without becoming markup.

/// Appends `text` so that it is safe between tags and inside quoted attributes, in HTML and in SVG.
///
/// Control characters that XML refuses, even as references, become U+FFFD; a tab and line ends stay.
pub fn push(out: &mut String, text: &str) {
    out.reserve(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(character),
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
}

/// The same as a new string.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    push(&mut out, text);
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;
    use proptest::prelude::*;

    #[test]
    fn markup_and_quotes_come_out_as_text() {
        assert_eq!(escaped(r#"<a href="x" on='y'>&"#), "&lt;a href=&quot;x&quot; on=&#39;y&#39;&gt;&amp;");
    }

    #[test]
    fn a_control_character_does_not_break_the_document() {
        assert_eq!(escaped("a\0b\u{1b}c\nd"), "a\u{fffd}b\u{fffd}c\nd");
    }

    proptest! {
        #[test]
        fn no_text_opens_a_tag_or_closes_an_attribute(text in any::<String>()) {
            let out = escaped(&text);
            prop_assert!(!out.contains(['<', '>', '"', '\'']));
        }
    }
}
