//! The folder for what can be made again: copies of weights, compiled kernels.

use std::path::{Path, PathBuf};

const VARIABLE: &str = "FILO_CACHE";

/// `$FILO_CACHE`, or the user's own folder for such things.
pub fn cache_folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let user = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let user = user.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")));
    let user = user.or_else(|| variable("LOCALAPPDATA").map(PathBuf::from));
    let user = user.unwrap_or_else(std::env::temp_dir).join("filo");
    variable(VARIABLE).map_or(user, PathBuf::from)
}
