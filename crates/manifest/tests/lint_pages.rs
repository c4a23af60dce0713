//! The pages of the rules are their tests: each shows a manifest on which its rule fires and one on which
//! it does not, and both are linted here.

use std::collections::BTreeSet;

use tidegate_manifest::lint::{RULES, Rule, lint};
use tidegate_manifest::{Finding, Severity, Source, load};

/// One block of a page: under which heading it stands, and what it holds.
struct Block {
    fires: bool,
    heading: String,
    line: usize,
    yaml: String,
}

/// The ```yaml blocks below `## Fires…` and `## Does not fire…`.
fn blocks(rule: &Rule) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut heading = String::new();
    let mut open: Option<(bool, usize, String)> = None;
    for (index, line) in rule.page.lines().enumerate() {
        match (&mut open, line) {
            (Some((shown, start, text)), "```") => {
                let fires = heading.starts_with("Fires");
                let counts = fires || heading.starts_with("Does not fire");
                assert!(!*shown || counts, "{}:{}: yaml outside Fires and Does not fire", rule.code, *start);
                if *shown {
                    let (heading, yaml) = (heading.clone(), std::mem::take(text));
                    blocks.push(Block { fires, heading, line: *start, yaml });
                }
                open = None;
            }
            (Some((_, _, text)), _) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, _) if line.starts_with("```") => {
                open = Some((line == "```yaml", index + 1, String::new()))
            }
            (None, _) => {
                if let Some(text) = line.strip_prefix("## ") {
                    text.clone_into(&mut heading);
                }
            }
        }
    }
    assert!(open.is_none(), "{}: a block is not closed", rule.code);
    blocks
}

fn findings(rule: &Rule, block: &Block) -> Vec<Finding> {
    let name = format!("{}.md:{}", rule.code, block.line);
    lint(&load(&[Source::new(&name, block.yaml.as_bytes())]))
}

fn show(findings: &[Finding]) -> String {
    let line = |f: &Finding| format!("  {} {} {}:{} {}", f.code, f.severity, f.line, f.column, f.message);
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What is wrong with one block, if anything.
fn judge(rule: &Rule, block: &Block) -> Option<String> {
    let found = findings(rule, block);
    let mine: Vec<&Finding> = found.iter().filter(|finding| finding.code == rule.code).collect();
    let lines = block.yaml.lines().count();
    let outside = |f: &&&Finding| f.line == 0 || f.column == 0 || f.line as usize > lines.max(1);
    let why = if block.fires && mine.is_empty() {
        "does not fire"
    } else if let Some(finding) = mine.iter().find(outside) {
        return Some(format!("{} is outside its block:\n{}", rule.code, show(&[(**finding).clone()])));
    } else if mine.iter().any(|finding| finding.severity > rule.severity) {
        "is worse than its catalogue entry"
    } else if mine.iter().any(|finding| finding.message.is_empty() || finding.help.is_empty()) {
        "has no message or no help"
    } else if !block.fires && !mine.is_empty() {
        "fires"
    } else if !block.is_clean_enough(&found) {
        "is beside an error"
    } else {
        return None;
    };
    Some(format!("{}.md:{} ({}) {why}; found:\n{}", rule.code, block.line, block.heading, show(&found)))
}

impl Block {
    fn is_clean_enough(&self, found: &[Finding]) -> bool {
        self.fires || found.iter().all(|finding| finding.severity < Severity::Error)
    }
}

#[test]
fn every_page_shows_where_its_rule_fires_and_where_it_does_not() {
    let mut wrong = Vec::new();
    for rule in RULES {
        let blocks = blocks(rule);
        for (fires, heading) in [(true, "Fires"), (false, "Does not fire")] {
            if !blocks.iter().any(|block| block.fires == fires) {
                wrong.push(format!("{}.md has no yaml below ## {heading}", rule.code));
            }
        }
        wrong.extend(blocks.iter().filter_map(|block| judge(rule, block)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_page_is_headed_by_its_code_and_name_and_has_its_parts() {
    for rule in RULES {
        let title = format!("# {}: {}", rule.code, rule.name);
        assert_eq!(rule.page.lines().next(), Some(title.as_str()));
        for part in ["## Why it hurts", "## What to do", "## Fires", "## Does not fire"] {
            let has = rule.page.lines().any(|line| line == part);
            assert!(has, "{}.md has no {part:?}", rule.code);
        }
    }
}

#[test]
fn codes_and_names_are_unique_and_codes_are_sorted() {
    assert!(RULES.len() >= 50, "only {} rules: the other tests would pass on none", RULES.len());
    let codes: Vec<&str> = RULES.iter().map(|rule| rule.code).collect();
    let mut sorted = codes.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(codes, sorted);
    for code in codes {
        let number = code.strip_prefix("TG").filter(|number| number.len() == 3);
        assert!(number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())), "{code}");
    }
    let names: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), RULES.len(), "two rules have one name");
    for name in names {
        let plain =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        assert!(plain, "{name}: write it in lower case with hyphens");
    }
}
