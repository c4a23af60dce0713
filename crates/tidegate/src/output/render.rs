//! Findings for people: the line, a caret, the reason and the fix, as rustc shows them.

use std::io::IsTerminal;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use tidegate_manifest::{Finding, Severity, Source};

use crate::args::Colour;

/// All findings and a closing line that counts them.
pub(crate) fn findings(findings: &[Finding], sources: &[Source], colour: Colour) -> String {
    let renderer = if coloured(colour) { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for finding in findings {
        let source = sources.iter().find(|source| source.name == finding.file);
        text.push_str(&one(&renderer, finding, source));
        text.push_str("\n\n");
    }
    text.push_str(&count(findings, sources.len()));
    text
}

fn coloured(colour: Colour) -> bool {
    match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

fn one(renderer: &Renderer, finding: &Finding, source: Option<&Source>) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let title = level.primary_title(&*finding.message).id(finding.code);
    let text = source.map(|source| String::from_utf8_lossy(&source.bytes)).unwrap_or_default();
    let span = span(&text, finding.line, finding.column);
    let label = if finding.object.is_empty() { "here" } else { finding.object.as_str() };
    let snippet = Snippet::source(&*text)
        .path(&*finding.file)
        .annotation(AnnotationKind::Primary.span(span).label(label));
    let group = Group::with_title(title).element(snippet).element(Level::HELP.message(&*finding.help));
    renderer.render(&[group]).to_string()
}

/// From the place to the end of the word there, in bytes.
fn span(text: &str, line: u32, column: u32) -> std::ops::Range<usize> {
    let start_of_line: usize =
        text.split_inclusive('\n').take(line.saturating_sub(1) as usize).map(str::len).sum();
    let rest = text.get(start_of_line..).unwrap_or_default();
    let this_line = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
    let offset: usize = this_line.chars().take(column.saturating_sub(1) as usize).map(char::len_utf8).sum();
    let after = &this_line[offset..];
    let word = after.find([':', ' ', '#', ',', '}']).filter(|&end| end > 0).unwrap_or(after.len());
    let start = start_of_line + offset;
    start..(start + word).max((start + 1).min(text.len())).max(start)
}

fn count(findings: &[Finding], files: usize) -> String {
    let of = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let files = plural(files, "file");
    if findings.is_empty() {
        return format!("{files}: nothing found\n");
    }
    let (errors, warnings, infos) = (of(Severity::Error), of(Severity::Warning), of(Severity::Info));
    let mut parts = vec![plural(errors, "error"), plural(warnings, "warning")];
    if infos > 0 {
        parts.push(format!("{infos} info"));
    }
    format!("{files}: {}; `tidegate lint --explain CODE` tells more\n", parts.join(", "))
}
