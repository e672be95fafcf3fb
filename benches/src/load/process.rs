//! What processes use, as `/proc` tells.

use std::fs;
use std::time::Duration;

/// How many ticks of `/proc/*/stat` a second has on Linux, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of a process, with that of its children that have ended.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    // From the state of the process on: its 12th to 15th field are its own times and its children's.
    let stat = stat(pid)?;
    let ticks: f64 = stat.split(' ').skip(11).take(4).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Some(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
}

/// Processor time that the whole machine has spent on anything.
pub(crate) fn machine_cpu() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let mut ticks =
        stat.lines().next()?.split_whitespace().skip(1).map(|ticks| ticks.parse::<f64>().unwrap_or(0.0));
    // User, nice and system; then idle and waiting for the disk, which are no work; then interrupts.
    let ticks: f64 = ticks.by_ref().take(3).sum::<f64>() + ticks.skip(2).take(2).sum::<f64>();
    Some(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
}

/// A process and those that it started and that still run.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let others = fs::read_dir("/proc").into_iter().flatten().flatten();
    let others = others.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    others.filter(|other| *other == pid || parent(*other) == Some(pid)).collect()
}

/// The process that started another.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.split(' ').nth(1)?.parse().ok()
}

/// What a process has sent to the disk, in bytes: whole pages, and nothing of memory disks.
pub(crate) fn disk_bytes(pid: u32) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/io")).ok()?, "write_bytes:")
}

/// How much memory a process has now, and how much it had at most, in bytes.
pub(crate) fn memory_bytes(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some((field(&status, "VmRSS:")? * 1_024, field(&status, "VmHWM:")? * 1_024))
}

/// The name of the processor.
pub(crate) fn processor() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(": ")?.1.to_owned())
}

/// The status line of a process from its state on: its name, which comes first, may hold anything.
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
    fn a_process_knows_itself() {
        let me = std::process::id();
        let (mine, all) = (cpu(me).unwrap(), machine_cpu().unwrap());
        assert!(mine <= all);
        assert!(disk_bytes(me).is_some());
        let (now, most) = memory_bytes(me).unwrap();
        assert!(0 < now && now <= most);
        assert!(family(parent(me).unwrap()).contains(&me));
    }
}
