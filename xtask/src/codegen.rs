//! Documents that are made from code, so that they cannot lie.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tidegate_core::scale::Rule;
use tidegate_manifest::crd;
use tidegate_manifest::lint::RULES;
use tidegate_manifest::lower::ANNOTATIONS;
use tidegate_manifest::object::Kind;
use tidegate_sim::scenario;

/// Writes each document, or tells which is stale.
pub(crate) fn run(root: &Path, check: bool) -> Result<()> {
    let mut documents = vec![
        ("docs/reference/rules.md", rules()),
        ("docs/reference/lint.md", lint()),
        ("docs/reference/annotations.md", annotations()),
        ("docs/reference/kinds.md", kinds()),
        ("deploy/crds/keda.sh.yaml", crd::yaml()),
        ("crates/signals/src/external/proto.rs", contract(root)?),
        ("crates/kube/src/demand/proto.rs", demand(root)?),
    ];
    let plots = plots(root)?;
    documents.extend(plots.iter().map(|(path, svg)| (path.as_str(), svg.clone())));
    documents.extend(crate::chart::manifests(root)?);
    let mut stale = Vec::new();
    for (path, text) in &documents {
        let file = root.join(path);
        if fs::read_to_string(&file).is_ok_and(|known| known == *text) {
            continue;
        }
        if check {
            stale.push(*path);
        } else {
            if let Some(directory) = file.parent() {
                fs::create_dir_all(directory)?;
            }
            fs::write(&file, text)?;
            crate::say(&format!("codegen: wrote {path}"));
        }
    }
    if !stale.is_empty() {
        bail!("stale: {}; run `cargo xtask codegen`", stale.join(", "));
    }
    Ok(())
}

/// The picture of each scenario of a whole fleet, of the run that its table is held against.
fn plots(root: &Path) -> Result<Vec<(String, String)>> {
    let directory = root.join("scenarios");
    let mut plots = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if scenario::is_one(&text) && name != "README" {
            let played =
                scenario::run(name, &text).with_context(|| format!("cannot play {}", path.display()))?;
            plots.push((format!("docs/scenarios/{name}.svg"), format!("{}\n", played.chart().svg())));
        }
    }
    plots.sort();
    Ok(plots)
}

/// The Rust of KEDA's contract with external scalers.
fn contract(root: &Path) -> Result<String> {
    generated(&root.join("crates/signals/proto"), "externalscaler.proto", "externalscaler.rs", false)
}

/// The Rust of what gateways and operator tell each other.
fn demand(root: &Path) -> Result<String> {
    generated(&root.join("crates/kube/proto"), "demand.proto", "tidegate.demand.v1.rs", true)
}

fn generated(directory: &Path, proto: &str, made_as: &str, server: bool) -> Result<String> {
    let files = protox::compile([proto], [directory])
        .with_context(|| format!("cannot compile {}", directory.display()))?;
    let made = tempfile::tempdir()?;
    tonic_prost_build::configure()
        .build_server(server)
        .build_transport(false)
        .out_dir(made.path())
        .compile_fds(files)?;
    let code = fs::read_to_string(made.path().join(made_as))?;
    Ok(format!("// Made by `cargo xtask codegen` of proto/{proto}; edit that instead.\n{code}"))
}

const MADE: &str = "<!-- Made by `cargo xtask codegen`; edit the code instead. -->\n\n";

fn rules() -> String {
    let mut text = format!(
        "{MADE}# Rules of a decision\n\n\
         Every step of a decision names one of these; a decision itself names the one that settled its \
         number. The list is closed.\n\n| rule | what it does |\n|---|---|\n"
    );
    for rule in Rule::ALL {
        let _ = writeln!(text, "| `{}` | {} |", rule.name(), rule.about());
    }
    text
}

fn lint() -> String {
    let mut text = format!(
        "{MADE}# Codes of `tidegate lint`\n\n\
         `tidegate lint --explain CODE` prints a code's page: what it finds, why that hurts, what to do, \
         and a manifest with and one without it.\n\n| code | name | severity |\n|---|---|---|\n"
    );
    for rule in RULES {
        let code = rule.code;
        let page = format!("../../crates/manifest/src/lint/pages/{code}.md");
        let _ = writeln!(text, "| [{code}]({page}) | {} | {} |", rule.name, rule.severity);
    }
    text
}

fn annotations() -> String {
    let mut text = format!(
        "{MADE}# Annotations under `tidegate.dev/`\n\n\
         \"Checked only\" is read by parts that are still to come; a wrong value is told today.\n\n\
         | annotation | what it says | in this version |\n|---|---|---|\n"
    );
    for annotation in ANNOTATIONS {
        let _ = writeln!(text, "| `{}` | {} | {} |", annotation.name, annotation.about, annotation.now);
    }
    text
}

fn kinds() -> String {
    let mut text = format!("{MADE}# Kinds that are read\n\n| kind | apiVersion |\n|---|---|\n");
    for kind in Kind::ALL {
        let _ = writeln!(text, "| {} | `{}` |", kind.name(), kind.api_version());
    }
    text
}
