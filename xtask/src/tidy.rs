//! What no compiler checks: sizes that stay readable, words that do not belong, links that lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Lines of a Rust file, tests included.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function: a screen and a half. A ratchet: lower it when the longest gets shorter.
const FUNCTION_LINES_MAX: usize = 80;

/// Longer ones, each with the reason why it is one function.
const LONG_FUNCTIONS: &[(&str, &str)] =
    // One sentence a reason, in a match that the compiler keeps whole.
    &[(
        "crates/core/src/scale/decision.rs",
        "fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {",
    )];

/// Code that is only a promise, and tests that do not run.
const FORBIDDEN: &[(&str, &str)] = &[
    ("todo!(", "write it or leave it out"),
    ("unimplemented!(", "write it or leave it out"),
    ("#[ignore", "a test that needs a server starts it"),
    ("thread::sleep", "wait for the event, not for the clock"),
    ("FIXME", "mend it, or describe it in an issue"),
    ("PLACEHOLDER", "fill it in"),
];

/// Checks every file that git knows.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    let files = tracked(root)?;
    for path in &files {
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        let name = path.display().to_string();
        let extension = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        if extension == "rs" {
            rust(&name, &text, &mut wrong);
        } else if extension == "md" {
            if text.contains("PLACEHOLDER") {
                wrong.push(format!("{name}: a PLACEHOLDER is left"));
            }
            links(root, path, &text, &mut wrong);
        }
        let seed = path.starts_with("fuzz/corpus");
        if !seed && matches!(extension, "rs" | "md" | "toml" | "yaml") {
            whitespace(&name, &text, &mut wrong);
        }
    }
    if !wrong.is_empty() {
        bail!("tidy:\n{}", wrong.join("\n"));
    }
    crate::say(&format!("tidy: {} files", files.len()));
    Ok(())
}

fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot start git")?;
    let text = String::from_utf8(output.stdout).context("a file name that is not UTF-8")?;
    Ok(text.lines().map(PathBuf::from).filter(|path| root.join(path).is_file()).collect())
}

fn rust(name: &str, text: &str, wrong: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        wrong.push(format!("{name}: {lines} lines, more than {FILE_LINES_MAX}: one idea a file"));
    }
    if name != "xtask/src/tidy.rs" {
        for (number, line) in text.lines().enumerate() {
            for (word, instead) in FORBIDDEN.iter().filter(|(word, _)| line.contains(word)) {
                wrong.push(format!("{name}:{}: {word}: {instead}", number + 1));
            }
        }
    }
    functions(name, text, wrong);
}

/// Functions by indentation: from a line with `fn ` to the closing brace in the same column.
fn functions(name: &str, text: &str, wrong: &mut Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let declares = code.starts_with("fn ") || code.contains(" fn ");
        if !declares || code.starts_with("//") || code.ends_with(';') {
            continue;
        }
        let indent = &line[..line.len() - code.len()];
        let closing = format!("{indent}}}");
        let length = lines[start..].iter().position(|line| *line == closing).unwrap_or(0) + 1;
        if length > FUNCTION_LINES_MAX && !LONG_FUNCTIONS.contains(&(name, code)) {
            let number = start + 1;
            wrong.push(format!(
                "{name}:{number}: a function of {length} lines, more than {FUNCTION_LINES_MAX}"
            ));
        }
    }
}

/// Relative links of Markdown must lead to a file.
fn links(root: &Path, path: &Path, text: &str, wrong: &mut Vec<String>) {
    let directory = path.parent().unwrap_or(Path::new(""));
    for (number, line) in text.lines().enumerate() {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            if !root.join(directory).join(file).exists() {
                wrong.push(format!("{}:{}: the link to {file} leads nowhere", path.display(), number + 1));
            }
        }
    }
}

fn whitespace(name: &str, text: &str, wrong: &mut Vec<String>) {
    if let Some(number) = text.lines().position(|line| line.ends_with([' ', '\t'])) {
        wrong.push(format!("{name}:{}: a blank at the end of the line", number + 1));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        wrong.push(format!("{name}: no newline at the end"));
    }
}
