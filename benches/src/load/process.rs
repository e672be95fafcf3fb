//! The resources that processes use, from `/proc`.

use std::fs;
use std::time::Duration;

/// The ticks of `/proc/*/stat` in a second, which are the same for all kernels.
const TICKS_PER_SECOND: f64 = 100.0;

/// Returns the processor time of a process and of its children that have ended.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    // Counted from the state of the process, fields 12 to 15 are its own times and those of its children.
    let stat = stat(pid)?;
    let ticks: f64 = stat.split(' ').skip(11).take(4).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Some(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
}

/// Returns the processor time that the machine has spent on all processes.
pub(crate) fn machine_cpu() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let mut ticks =
        stat.lines().next()?.split_whitespace().skip(1).map(|ticks| ticks.parse::<f64>().unwrap_or(0.0));
    // The fields are user, nice and system, then idle and iowait, which are no work, then the interrupts.
    let ticks: f64 = ticks.by_ref().take(3).sum::<f64>() + ticks.skip(2).take(2).sum::<f64>();
    Some(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
}

/// Returns a process and its children that still run.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let others = fs::read_dir("/proc").into_iter().flatten().flatten();
    let others = others.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    others.filter(|other| *other == pid || parent(*other) == Some(pid)).collect()
}

/// Returns the parent of a process.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.split(' ').nth(1)?.parse().ok()
}

/// Returns the bytes that a process has sent to the disk: whole pages, without those of memory disks.
pub(crate) fn disk_bytes(pid: u32) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/io")).ok()?, "write_bytes:")
}

/// Returns the present and the largest resident memory of a process, in bytes.
pub(crate) fn memory_bytes(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some((field(&status, "VmRSS:")? * 1_024, field(&status, "VmHWM:")? * 1_024))
}

/// Returns the name of the processor.
pub(crate) fn processor() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(": ")?.1.to_owned())
}

/// Returns the status line of a process from its state on. The name before it may contain any character.
fn stat(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.to_owned())
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resources_of_this_process_are_found() {
        let me = std::process::id();
        let (mine, all) = (cpu(me).unwrap(), machine_cpu().unwrap());
        assert!(mine <= all);
        assert!(disk_bytes(me).is_some());
        let (now, most) = memory_bytes(me).unwrap();
        assert!(0 < now && now <= most);
        assert!(family(parent(me).unwrap()).contains(&me));
    }
}
