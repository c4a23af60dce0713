//! Small pieces that several pages show.

use maud::{Markup, html};

use super::format;
use crate::model::{Fleet, Note, Severity, TargetState, TargetView};

/// Squares drawn for one target at the most; beyond it a number says how many more there are.
const BLOCKS_MAX: u32 = 48;

/// A state as a coloured word.
pub(super) fn pill(state: TargetState) -> Markup {
    html! { span class={ "pill " (state.name()) } { (state.name()) } }
}

/// Where a target has its own page.
pub(super) fn target_path(name: &str) -> String {
    // A path segment keeps letters, digits and -_.~; Kubernetes names have no others.
    let mut path = String::from("/targets/");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

/// The colour of a target: its place in the list, so that devices and cards agree.
pub(super) fn hue(fleet: &Fleet, target: &str) -> String {
    let place = fleet.targets.iter().position(|one| one.name == target);
    place.map_or_else(String::new, |place| format!("hue-{}", place % 8))
}

/// Replicas as squares, by state, and outlines up to the maximum.
pub(super) fn blocks(target: &TargetView) -> Markup {
    let kinds = [
        ("ready", target.ready),
        ("starting", target.starting),
        ("pending", target.pending),
        ("draining", target.draining),
    ];
    let there: u32 = kinds.iter().map(|(_, count)| count).sum();
    let rest = target.max.saturating_sub(there);
    let said = kinds.iter().filter(|(_, count)| *count > 0);
    let said: Vec<String> = said.map(|(state, count)| format!("{count} {state}")).collect();
    let label = if said.is_empty() { "no replicas".to_owned() } else { said.join(", ") };
    let mut room = BLOCKS_MAX;
    let mut squares: Vec<&str> = Vec::new();
    for (state, count) in kinds.into_iter().chain([("free", rest)]) {
        let drawn = count.min(room);
        room -= drawn;
        squares.extend((0..drawn).map(|_| state));
    }
    let beyond = (there + rest).saturating_sub(BLOCKS_MAX);
    html! {
        span class="blocks" role="img" aria-label=(label) title=(label) {
            @for state in squares { i class={ "block " (state) } {} }
            @if beyond > 0 { span class="more" { "+" (beyond) } }
        }
    }
}

/// A number with what it is.
pub(super) fn stat(label: &str, value: &str, aside: Option<&str>) -> Markup {
    html! {
        div class="stat" {
            dt { (label) }
            dd { (value) @if let Some(aside) = aside { small { (aside) } } }
        }
    }
}

/// What somebody should know.
pub(super) fn notes(notes: &[Note]) -> Markup {
    html! {
        @for note in notes {
            @let class = match note.severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Error => "error",
            };
            div class={ "note " (class) } role=[(note.severity == Severity::Error).then_some("alert")] {
                p { (note.text) }
                (format::time(note.at_unix_s, true))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_replicas_are_48_squares_and_a_number() {
        let target = TargetView { max: 1000, ready: 1000, ..TargetView::default() };
        let text = blocks(&target).into_string();
        assert_eq!(text.matches("<i class=\"block ready\">").count(), 48);
        assert!(text.contains("+952"));
        assert!(text.contains("aria-label=\"1000 ready\""));
    }

    #[test]
    fn a_path_keeps_names_and_encodes_everything_else() {
        assert_eq!(target_path("default/llama-3.1"), "/targets/default/llama-3.1");
        assert_eq!(target_path("a/\"><b"), "/targets/a/%22%3E%3Cb");
    }
}
