//! Where the programs of a test cluster come from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::Error;

/// The programs that `tests/controlplane` builds.
pub(super) struct Tools {
    pub(super) controlplane: PathBuf,
    pub(super) kubectl: PathBuf,
}

/// How build.sh ends where nothing can build it.
const NO_GO: i32 = 3;

/// The kubeconfig of a cluster that the tests are told to use.
pub(super) fn foreign() -> Option<PathBuf> {
    let told = std::env::var_os("TIDEGATE_E2E_CLUSTER")?;
    (told == "1").then(|| std::env::var_os("KUBECONFIG").map(PathBuf::from))?
}

/// Somebody else's cluster comes with somebody else's kubectl; where there is none, ours.
pub(super) async fn kubectl_for_foreign() -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let theirs = std::env::split_paths(&path).map(|directory| directory.join("kubectl"));
    match theirs.into_iter().find(|program| program.is_file()) {
        Some(program) => Ok(program),
        None => built().await.map(|tools| tools.kubectl),
    }
}

/// Builds the cluster unless it is there: long for the first time (some 2,600 packages), nothing afterwards.
pub(super) async fn built() -> Result<Tools, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directory = root.join("target/tools/controlplane");
    let failed = |source| Error::Io { what: format!("a build in {}", directory.display()), source };
    fs::create_dir_all(&directory).map_err(failed)?;
    let lock = File::create(directory.join("lock")).map_err(failed)?;
    // Several tests want it at once; the others wait for the first. Closing the file lets it go.
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
        .await
        .map_err(|ended| failed(ended.into()))?
        .map_err(failed)?;
    let script = root.join("tests/controlplane/build.sh");
    let output = Command::new(&script).arg(&directory).output().await.map_err(failed)?;
    drop(lock);
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => {
            Ok(Tools { controlplane: directory.join("controlplane"), kubectl: directory.join("kubectl") })
        }
        Some(NO_GO) => Err(Error::NoGo { said }),
        _ => Err(Error::Build { said }),
    }
}
