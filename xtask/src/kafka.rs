//! Kafka's broker from Maven Central, by Maven, and only if every byte is the one that was looked at.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::{fresh, text};
use crate::{run, say};

/// Puts the jars of `coordinates` into `directory/lib`; `sha256` is over the list of their checksums.
pub(crate) fn install(directory: &Path, coordinates: &str, sha256: &str) -> Result<()> {
    let mark = directory.join("installed");
    let version = format!("{coordinates} {sha256}");
    if fresh(&mark, &version) {
        return Ok(());
    }
    say("Kafka's broker is fetched once: 43 MB");
    let lib = directory.join("lib");
    if lib.exists() {
        fs::remove_dir_all(&lib).with_context(|| format!("cannot remove {}", lib.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let project = directory.join("pom.xml");
    fs::write(&project, pom(coordinates)?).with_context(|| format!("cannot write {}", project.display()))?;
    let into = format!("-DoutputDirectory={}", text(&lib)?);
    let goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
    run("mvn", &["-q", "-B", "-f", text(&project)?, goal, "-DincludeScope=runtime", &into], &[])?;
    let found = checksum(&lib)?;
    if found != sha256 {
        bail!("{} is not what was expected: {found} instead of {sha256}", lib.display());
    }
    fs::write(&mark, version).with_context(|| format!("cannot write {}", mark.display()))
}

fn pom(coordinates: &str) -> Result<String> {
    let [group, artifact, version] = coordinates.split(':').collect::<Vec<_>>()[..] else {
        bail!("{coordinates} is not group:artifact:version");
    };
    Ok(format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>tidegate</groupId><artifactId>tools</artifactId><version>1</version><dependencies><dependency>\
         <groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>\
         </dependency></dependencies></project>\n"
    ))
}

/// One checksum of all jars, in the order of their names.
fn checksum(lib: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(lib).with_context(|| format!("cannot read {}", lib.display()))? {
        names.push(entry?.file_name().into_string().ok().context("a jar's name is text")?);
    }
    names.sort_unstable();
    let mut list = String::new();
    for name in names {
        let output = Command::new("sha256sum").arg(&name).current_dir(lib).output();
        let output = output.context("sha256sum, of coreutils, does not run")?;
        write!(list, "{}", String::from_utf8_lossy(&output.stdout)).context("a text grows")?;
    }
    let file = lib.with_file_name("checksums");
    fs::write(&file, list).with_context(|| format!("cannot write {}", file.display()))?;
    let output = Command::new("sha256sum").arg(&file).output().context("sha256sum does not run")?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(printed.split(' ').next().unwrap_or_default().to_owned())
}
