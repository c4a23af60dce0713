//! The cluster autoscaler's priority expander: which node group is bought first.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Container;

use super::facts::{Facts, Pods};
use super::image::Reference;
use super::serving::CommandLine;
use crate::finding::{Finding, Severity};
use crate::load::Document;
use crate::node::{Node, Value};
use crate::object::Object;
use crate::{path, yaml};

/// The one name the cluster autoscaler looks for.
const CONFIG_MAP: &str = "cluster-autoscaler-priority-expander";
/// The one key it reads there.
const KEY: &str = "priorities";

/// A ConfigMap with priorities of node groups.
struct Priorities<'a> {
    document: &'a Document,
    /// Its text, with comments.
    text: &'a str,
    /// Patterns of node groups' names by priority.
    groups: BTreeMap<i64, Vec<String>>,
}

/// Every such ConfigMap, whatever its name.
fn priorities<'a>(facts: &Facts<'a>) -> Vec<Priorities<'a>> {
    let read = |document: &'a Document| {
        let Object::ConfigMap(map) = &document.object else { return None };
        let text = map.data.as_ref()?.get(KEY)?;
        let roots = yaml::parse(text.as_bytes()).ok()?;
        let groups = groups(roots.first()?)?;
        let patterns = || groups.values().flatten().any(|pattern| pattern.contains(".*"));
        let named = ["autoscaler", "expander"].iter().any(|part| document.name.contains(part));
        (named || patterns()).then(|| Priorities { document, text, groups: groups.clone() })
    };
    facts.manifests.documents.iter().filter_map(read).collect()
}

/// Whole numbers, each with a list of patterns.
fn groups(root: &Node) -> Option<BTreeMap<i64, Vec<String>>> {
    let Value::Map(entries) = &root.value else { return None };
    let entry = |(key, value): &(crate::node::Key, Node)| {
        let Value::List(items) = &value.value else { return None };
        let patterns: Option<Vec<String>> = items.iter().map(Node::scalar_text).collect();
        Some((key.text.parse().ok()?, patterns?))
    };
    let groups: Option<BTreeMap<i64, Vec<String>>> = entries.iter().map(entry).collect();
    groups.filter(|groups| !groups.is_empty())
}

/// What a group of patterns buys.
#[derive(Clone, Copy, PartialEq)]
enum Capacity {
    Spot,
    OnDemand,
}

fn capacity(patterns: &[String]) -> Option<Capacity> {
    let text = patterns.join(" ").to_ascii_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match (any(&["spot", "preempt"]), any(&["on-demand", "ondemand", "on_demand"])) {
        (true, false) => Some(Capacity::Spot),
        (false, true) => Some(Capacity::OnDemand),
        _ => None,
    }
}

/// TG403: spot nodes under on-demand ones, as if the lowest number were bought first.
pub(super) fn expander_upside_down(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for priorities in priorities(facts) {
        let highest = |wanted: Capacity| {
            let of_kind =
                priorities.groups.iter().rev().filter(|(_, patterns)| capacity(patterns) == Some(wanted));
            of_kind.map(|(number, patterns)| (*number, patterns.join(", "))).next()
        };
        let (Some(spot), Some(on_demand)) = (highest(Capacity::Spot), highest(Capacity::OnDemand)) else {
            continue;
        };
        if spot.0 >= on_demand.0 {
            continue;
        }
        let meant = means_lowest_first(priorities.text);
        let severity = if meant { Severity::Error } else { Severity::Warning };
        let says = if meant { ", against what its comment says" } else { "" };
        findings.push(priorities.document.finding(
            "TG403",
            severity,
            path!["data", KEY],
            format!(
                "the highest number is bought first, so {} ({}) comes before {} ({}){says}",
                on_demand.1, on_demand.0, spot.1, spot.0
            ),
            format!("for spot first write {}: [{}] and {}: [{}]", on_demand.0, spot.1, spot.0, on_demand.1),
        ));
    }
}

/// Whether a comment shows that its author takes the lowest number for the first choice: it says so, or
/// it calls a group preferred that has not the highest number.
fn means_lowest_first(text: &str) -> bool {
    let lines: Vec<(&str, String)> = text
        .lines()
        .map(|line| {
            line.split_once('#')
                .map_or((line, String::new()), |(code, said)| (code, said.to_ascii_lowercase()))
        })
        .collect();
    let number = |code: &str| code.split(':').next().and_then(|key| key.trim().parse::<i64>().ok());
    let highest = lines.iter().filter_map(|(code, _)| number(code)).max();
    let has = |said: &str, words: &[&str]| {
        said.split(|c: char| !c.is_alphanumeric())
            .any(|word| words.iter().any(|known| word.starts_with(known)))
    };
    lines.iter().any(|(code, said)| {
        let preferred = has(said, &["prefer", "first", "favour", "favor"]);
        let of_lower = number(code).is_some_and(|number| Some(number) < highest);
        preferred && !has(said, &["not", "less", "least"]) && (of_lower || has(said, &["low"]))
    })
}

/// TG404: priorities where the cluster autoscaler does not look.
pub(super) fn expander_wrong_name(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let autoscaler = autoscalers(facts).next();
    for Priorities { document, .. } in priorities(facts) {
        if document.name != CONFIG_MAP {
            findings.push(document.finding(
                "TG404",
                Severity::Error,
                path!["metadata", "name"],
                format!(
                    "the cluster autoscaler reads its priorities from the ConfigMap {CONFIG_MAP} only; \
                     nobody reads {}",
                    document.name
                ),
                format!(
                    "name it {CONFIG_MAP}, in the namespace of the cluster autoscaler (usually \
                     kube-system), and run that with --expander=priority"
                ),
            ));
            continue;
        }
        let Some((pods, _)) = &autoscaler else { continue };
        let theirs = &pods.document.namespace;
        if document.namespace != *theirs {
            findings.push(document.finding(
                "TG404",
                Severity::Error,
                path!["metadata", "namespace"],
                format!(
                    "the cluster autoscaler runs in {theirs} and reads its priorities there; nobody \
                     reads those in {}",
                    document.namespace
                ),
                format!("write namespace: {theirs}"),
            ));
        }
    }
}

/// TG405: a cluster autoscaler that was not told to use the priorities.
pub(super) fn expander_ignored(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    if priorities(facts).is_empty() {
        return;
    }
    for (pods, index) in autoscalers(facts) {
        let Some((_, container)) = pods.containers().nth(index) else { continue };
        let line = CommandLine::of(container);
        let readable = line.words.iter().any(|word| word.starts_with("--")) && !line.hidden;
        let expander = line.option("--expander");
        if !readable || expander.is_some_and(|names| names.split(',').any(|name| name == "priority")) {
            continue;
        }
        let says = match expander {
            Some(names) => format!("--expander={names}"),
            None => "no --expander".to_owned(),
        };
        let field = if has_flags(container.command.as_deref()) { "command" } else { "args" };
        findings.push(pods.document.finding(
            "TG405",
            Severity::Error,
            &pods.path(path!["spec", "containers", index, field]),
            format!("the cluster autoscaler has {says}, so the priorities are never read"),
            "write --expander=priority, or --expander=priority,least-waste to settle ties",
        ));
    }
}

fn has_flags(words: Option<&[String]>) -> bool {
    words.is_some_and(|words| words.iter().any(|word| word.starts_with("--")))
}

/// The cluster autoscalers among the workloads, each with the index of its container.
fn autoscalers<'a>(facts: &Facts<'a>) -> impl Iterator<Item = (Pods<'a>, usize)> {
    let is_one = |container: &Container| {
        container.image.as_deref().is_some_and(|image| Reference::of(image).name() == "cluster-autoscaler")
    };
    facts.pods().filter_map(move |pods| {
        let found = pods.containers().find(|(_, container)| is_one(container)).map(|(index, _)| index);
        found.map(|index| (pods, index))
    })
}

#[cfg(test)]
mod tests {
    use super::means_lowest_first;

    #[test]
    fn a_comment_tells_which_end_its_author_takes_for_the_first() {
        for (text, expected) in [
            ("10: # low priority = prefer\n  - .*spot.*\n50:\n  - .*on-demand.*", true),
            ("# lower numbers are preferred\n10: [.*spot.*]\n50:\n  - .*od.*", true),
            ("10: # try first\n  - .*spot.*\n50:\n  - .*od.*", true),
            ("10:\n  - .*spot.*\n50: # preferred, spot breaks streams\n  - .*od.*", false),
            ("10: # not preferred\n  - .*spot.*\n50:\n  - .*od.*", false),
            ("10:\n  - .*spot.*\n50:\n  - .*od.*", false),
        ] {
            assert_eq!(means_lowest_first(text), expected, "{text}");
        }
    }
}
