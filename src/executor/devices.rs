//! What this machine has: cores, memory, GPUs.

use super::resources::{Capacity, Gpu};
use std::{fs, process::Command, thread};

/// GPUs as the person declares them, or as they are found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum GpuChoice {
    /// What `CUDA_VISIBLE_DEVICES` shows of what the driver finds.
    #[default]
    Detect,
    /// This many: the first that `CUDA_VISIBLE_DEVICES` names, else 0, 1, …
    Count(u32),
    /// These, by ordinal or UUID; `CUDA_VISIBLE_DEVICES` must not hide them.
    Names(Vec<String>),
}

/// `--gpus` is neither a number nor a list of names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a number of GPUs nor a list like `0,1`")]
pub struct ParseGpusError(String);

impl std::str::FromStr for GpuChoice {
    type Err = ParseGpusError;

    /// `2` is a count; `0,2` and `GPU-8f…` are names; a single device is written `2,`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(count) = text.parse() {
            return Ok(Self::Count(count));
        }
        let names: Vec<_> =
            text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect();
        let plain = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if names.is_empty() || !names.iter().all(plain) {
            Err(ParseGpusError(text.to_owned()))
        } else {
            Ok(Self::Names(names))
        }
    }
}

/// `--gpus` asks for more than this process may use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`--gpus` asks for {asked}, but CUDA_VISIBLE_DEVICES leaves {visible}; ask for fewer or widen the variable")]
pub struct GpusHidden {
    asked: String,
    visible: String,
}

/// The names of declared GPUs; an inherited list of devices is honoured.
fn declared(choice: &GpuChoice, visible: Option<&str>) -> Result<Vec<String>, GpusHidden> {
    let visible: Option<Vec<&str>> =
        visible.map(|list| list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect());
    let hidden = |asked: String, visible: &[&str]| GpusHidden {
        asked,
        visible: if visible.is_empty() { "none".to_owned() } else { format!("`{}`", visible.join(",")) },
    };
    match (choice, visible) {
        (GpuChoice::Detect, _) => Ok(Vec::new()),
        (GpuChoice::Count(count), None) => Ok((0..*count).map(|ordinal| ordinal.to_string()).collect()),
        (GpuChoice::Count(count), Some(visible)) if *count as usize > visible.len() => {
            Err(hidden(format!("{count} GPUs"), &visible))
        }
        (GpuChoice::Count(count), Some(visible)) => {
            Ok(visible.into_iter().take(*count as usize).map(ToOwned::to_owned).collect())
        }
        (GpuChoice::Names(names), visible) => {
            let missing = visible.as_ref().and_then(|list| names.iter().find(|name| !list.contains(&name.as_str())));
            match missing {
                Some(name) => Err(hidden(format!("`{name}`"), &visible.unwrap_or_default())),
                None => Ok(names.clone()),
            }
        }
    }
}

/// What tasks can hold on this machine. `jobs`: tasks at once, by default one per core.
///
/// # Errors
/// GPUs are declared that an inherited `CUDA_VISIBLE_DEVICES` hides.
pub fn capacity(jobs: Option<u32>, gpus: &GpuChoice) -> Result<Capacity, GpusHidden> {
    let cores = thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    let jobs = jobs.unwrap_or(cores).max(1);
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let gpus = match gpus {
        GpuChoice::Detect => detect(visible.as_deref()),
        declares => declared(declares, visible.as_deref())?.into_iter().map(|name| Gpu { name, mem: None }).collect(),
    };
    // More jobs than cores are the person's wish; each of them counts as a core then.
    Ok(Capacity { jobs, cpus: cores.max(jobs), mem: memory(), gpus })
}

fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes: u64 =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().split(' ').next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The GPUs that may be used: the driver is asked only where there is one.
fn detect(visible: Option<&str>) -> Vec<Gpu> {
    let present = fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, Iterator::count);
    if present == 0 {
        return Vec::new();
    }
    choose(query(present), visible)
}

fn query(present: usize) -> Vec<(Gpu, String)> {
    let output = Command::new("nvidia-smi")
        .args(["--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"])
        .output();
    let listed: Vec<_> = output
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).lines().filter_map(parse_line).collect())
        .unwrap_or_default();
    if listed.is_empty() {
        // The driver is there but its tool is not: names without memory.
        return (0..present).map(|ordinal| (Gpu { name: ordinal.to_string(), mem: None }, String::new())).collect();
    }
    listed
}

/// `0, GPU-1234, 143771`: ordinal, UUID, MiB.
fn parse_line(line: &str) -> Option<(Gpu, String)> {
    let mut fields = line.split(',').map(str::trim);
    let name = fields.next()?.to_owned();
    let uuid = fields.next()?.to_owned();
    let mem = fields.next()?.parse::<u64>().ok().map(|mebibytes| mebibytes << 20);
    Some((Gpu { name, mem }, uuid))
}

/// Those of `all` that an inherited `CUDA_VISIBLE_DEVICES` leaves, in its order and by its names.
fn choose(all: Vec<(Gpu, String)>, visible: Option<&str>) -> Vec<Gpu> {
    let Some(visible) = visible else { return all.into_iter().map(|(gpu, _)| gpu).collect() };
    visible
        .split(',')
        .map(str::trim)
        // As CUDA does: the first name that means nothing ends the list.
        .map_while(|name| {
            let found = all.iter().find(|(gpu, uuid)| gpu.name == name || (name.len() >= 8 && uuid.starts_with(name)));
            found.map(|(gpu, _)| Gpu { name: name.to_owned(), mem: gpu.mem })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_list_of_devices_is_honoured() {
        let all: Vec<_> = ["0, GPU-aaaa1111, 100", "1, GPU-bbbb2222, 200"].into_iter().filter_map(parse_line).collect();
        let names = |visible| choose(all.clone(), visible).into_iter().map(|gpu| gpu.name).collect::<Vec<_>>();
        assert_eq!(names(None), ["0", "1"]);
        assert_eq!(names(Some("1")), ["1"]);
        assert_eq!(names(Some("GPU-bbbb2222,0")), ["GPU-bbbb2222", "0"]);
        assert_eq!(names(Some("1,7,0")), ["1"]);
        assert!(names(Some("")).is_empty());
        assert_eq!(choose(all.clone(), Some("1"))[0].mem, Some(200 << 20));
    }

    #[test]
    fn gpus_are_declared_by_number_or_name() {
        assert_eq!("2".parse(), Ok(GpuChoice::Count(2)));
        assert_eq!("2,".parse(), Ok(GpuChoice::Names(vec!["2".into()])));
        assert_eq!("0,GPU-1".parse(), Ok(GpuChoice::Names(vec!["0".into(), "GPU-1".into()])));
        assert!("many of them".parse::<GpuChoice>().is_err());
        let names = |choice: &str, visible| declared(&choice.parse().unwrap(), visible);
        assert_eq!(names("2", None), Ok(vec!["0".into(), "1".into()]));
        // Somebody who was given two devices of many must not take another's.
        assert_eq!(names("2", Some("4,5")), Ok(vec!["4".into(), "5".into()]));
        assert_eq!(names("5,", Some("4,5")), Ok(vec!["5".into()]));
        assert!(names("3", Some("4,5")).unwrap_err().to_string().contains("`4,5`"));
        assert!(names("0,", Some("4,5")).unwrap_err().to_string().contains("`0`"));
        assert!(names("1", Some("")).unwrap_err().to_string().contains("none"));
    }
}
