//! How much memory the processes of a task hold, and whether the kernel ran out of it.

use std::fs;

/// Resident bytes of a process and everything below it.
#[must_use]
pub fn resident(pid: i32) -> u64 {
    // SAFETY: asks for a constant of the system and touches no memory of ours.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let mut total = 0;
    let mut stack = vec![pid];
    while let Some(pid) = stack.pop() {
        // The second field of statm counts resident pages; a process that just ended holds none.
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        total += statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * page;
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            stack.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
    }
    total
}

/// How often the kernel has killed a process for memory since it started.
#[must_use]
pub fn oom_kills() -> u64 {
    let statistics = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    statistics
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_memory() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(resident(own) > 100_000);
        assert_eq!(resident(i32::MAX), 0);
    }
}
