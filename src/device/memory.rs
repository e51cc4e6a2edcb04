//! Memory of the machine that is free for this process, as Linux tells it: of the machine itself,
//! and of the container that it runs in. Elsewhere unknown.

use std::path::Path;

/// Bytes that can still be had; `None` where nobody tells.
pub fn free() -> Option<u64> {
    free_below(Path::new("/"))
}

/// As [`free`], with the system's files below `root`.
fn free_below(root: &Path) -> Option<u64> {
    let text = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let number = |path: &str| text(path)?.trim().parse::<u64>().ok();
    let machine = text("proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kibibytes = line.split_whitespace().next()?.parse::<u64>().ok()?;
        kibibytes.checked_mul(1024)
    });
    // No number, `max`, where the container has no limit.
    let container = number("sys/fs/cgroup/memory.max").map(|limit| {
        limit.saturating_sub(number("sys/fs/cgroup/memory.current").unwrap_or_default())
    });
    machine.into_iter().chain(container).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tighter_of_machine_and_container_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(free_below(root), None);
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("proc/meminfo", "MemTotal:  9000 kB\nMemAvailable:    2000 kB\nBuffers: 1 kB\n");
        assert_eq!(free_below(root), Some(2000 * 1024));
        write("sys/fs/cgroup/memory.max", "max\n");
        assert_eq!(free_below(root), Some(2000 * 1024));
        write("sys/fs/cgroup/memory.max", "1000000\n");
        write("sys/fs/cgroup/memory.current", "400000\n");
        assert_eq!(free_below(root), Some(600_000));
        write("sys/fs/cgroup/memory.current", "1400000\n");
        assert_eq!(free_below(root), Some(0));
    }
}
