//! Finds the model in a multipart form, as audio transcriptions are sent.

use memchr::memmem;

/// Longest name looked at.
const NAME_BYTES_MAX: usize = 512;

/// The value of the field `model`, where it is whole in what is here.
#[must_use]
pub fn model(body: &[u8]) -> Option<String> {
    field(body, b"name=\"model\"")
}

/// Whether the field `stream` says so.
#[must_use]
pub fn stream(body: &[u8]) -> bool {
    field(body, b"name=\"stream\"").is_some_and(|v| v.eq_ignore_ascii_case("true"))
}

fn field(body: &[u8], name: &[u8]) -> Option<String> {
    let after = &body[memmem::find(body, name)? + name.len()..];
    let start = memmem::find(after, b"\r\n\r\n")? + 4;
    let value = &after[start..];
    let end = memmem::find(value, b"\r\n")?;
    if end > NAME_BYTES_MAX {
        return None;
    }
    std::str::from_utf8(&value[..end]).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_found_once_its_line_is_whole() {
        let form = b"--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--x--\r\n";
        assert_eq!(model(form).as_deref(), Some("whisper"));
        assert_eq!(model(&form[..60]), None);
        assert!(!stream(form));
    }
}
