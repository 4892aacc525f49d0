//! What the program takes from its environment, read once.
//!
//! Invariant: nothing else in the project reads a variable or asks for the working directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The longest path of a socket that every system takes.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// Variables of a pod or of kubectl that matter to us under their own names.
const OTHERS: [&str; 5] = ["NAMESPACE", "POD_NAME", "HOSTNAME", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"];

/// The environment of this process.
pub(crate) struct Environment {
    /// Where we were started; `.` when that directory is gone.
    pub(crate) working_dir: PathBuf,
    /// Our own binary, which is the launcher of user code as well.
    pub(crate) own_binary: Option<PathBuf>,
    /// `PATH`.
    pub(crate) search_path: Option<OsString>,
    /// `RUST_LOG`.
    pub(crate) log_filter: Option<String>,
    /// Those that are about us or what we run.
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
    state_home: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
}

impl Environment {
    pub(crate) fn read() -> Self {
        Self {
            working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            own_binary: own_binary(),
            search_path: std::env::var_os("PATH"),
            log_filter: std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty()),
            variables: variables(),
            home: absolute("HOME"),
            state_home: absolute("XDG_STATE_HOME"),
            runtime_dir: absolute("XDG_RUNTIME_DIR"),
        }
    }

    /// A variable that says something about a worker or its broker; none when it is not set or empty.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        debug_assert!(is_ours(name), "{name} is asked for and never kept");
        self.variables.get(name).cloned()
    }

    /// Where kubectl looks when nobody says.
    pub(crate) fn kubeconfig_default(&self) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(".kube/config"))
    }

    /// Where state directories are when none is given; `None` without a home directory.
    pub(crate) fn state_home(&self) -> Option<PathBuf> {
        let of_home = || self.home.as_ref().map(|home| home.join(".local/state"));
        self.state_home.clone().or_else(of_home).map(|path| path.join("tidegate"))
    }

    /// Where a site is kept when nobody says; `None` without a home directory.
    pub(crate) fn site_dir(&self) -> Option<PathBuf> {
        self.state_home().map(|home| home.join("site"))
    }

    /// Where a site that is kept in a directory answers: beside its state, or where paths are short.
    pub(crate) fn socket_of(&self, directory: &Path) -> PathBuf {
        let beside = directory.join("api.sock");
        if beside.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return beside;
        }
        let name = platform::local::state::default_name("tidegate-site", directory);
        self.runtime_dir().join(name).join("api.sock")
    }

    /// Where sockets may lie: a short path.
    pub(crate) fn runtime_dir(&self) -> &Path {
        let is_there = |path: &&PathBuf| path.is_dir();
        self.runtime_dir.as_ref().filter(is_there).map_or(Path::new("/tmp"), PathBuf::as_path)
    }
}

/// Whether a variable is one that we look at.
fn is_ours(name: &str) -> bool {
    name.starts_with("TIDEGATE_") || name.starts_with("NUMAFLOW_") || OTHERS.contains(&name)
}

/// Variables with our names or the reference's that are not empty.
fn variables() -> BTreeMap<String, String> {
    let all = std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
    all.filter(|(name, text)| is_ours(name) && !text.is_empty()).collect()
}

/// On Linux a name that stays right when the file is replaced or removed while we run.
fn own_binary() -> Option<PathBuf> {
    let by_kernel = PathBuf::from("/proc/self/exe");
    if by_kernel.exists() { Some(by_kernel) } else { std::env::current_exe().ok() }
}

/// A variable that holds an absolute path; others do not count, as the XDG rules want it.
fn absolute(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}
