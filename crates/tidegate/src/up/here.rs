//! What this process may take of the machine, for those who look after it.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};
use tidegate_dashboard::model::MachineView;

/// Now; what cannot be told is absent.
pub(crate) fn view(state_dir: &Path) -> MachineView {
    let free = rustix::fs::statvfs(state_dir).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    // Since Linux 6.2 the directory's size is the number of open files; before it is 0, and counting
    // twenty thousand entries each second would cost more than it tells.
    let open = fs::metadata("/proc/self/fd").ok().map(|fds| fds.len()).filter(|open| *open > 0);
    MachineView {
        open_files_max: getrlimit(Resource::Nofile).current,
        open_files: open,
        state_dir: state_dir.display().to_string(),
        state_dir_free_bytes: free,
    }
}
