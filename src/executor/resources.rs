//! What a machine has, what tasks hold of it, and what is left.

use crate::manifest::Resources;
use serde::{Deserialize, Serialize};

/// Parts of a GPU that fractions are rounded up to.
const GPU_UNITS: u32 = 1000;

/// One GPU, by the number that programs see in `CUDA_VISIBLE_DEVICES`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// An ordinal, or a UUID as the machine's administrator wrote it.
    pub name: String,
    /// Bytes of memory, where that is known.
    pub mem: Option<u64>,
}

/// Everything that tasks of one run can hold at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Tasks at once.
    pub jobs: u32,
    pub cpus: u32,
    /// Bytes.
    pub mem: Option<u64>,
    pub gpus: Vec<Gpu>,
}

/// What a task holds while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub cpus: u32,
    pub mem: u64,
    /// Names of the GPUs.
    pub gpus: Vec<String>,
    /// Which devices, how many thousandths of each, and how many bytes of its memory.
    #[serde(skip)]
    shares: Vec<(usize, u32, u64)>,
}

/// Why a task can never run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    #[error("it needs {wanted} GPUs, this machine has {there}; declare them with `--gpus` or choose another profile")]
    Gpus { wanted: u32, there: usize },
    #[error("it needs {wanted} bytes of GPU memory, the largest GPU has {there}")]
    GpuMemory { wanted: u64, there: u64 },
}

/// A task's demand in whole units, comparable: tasks of one demand stand in one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Demand {
    cpus: u32,
    mem: u64,
    /// Whole devices, or 0 and a share of one.
    gpus: u32,
    gpu_share: u32,
    gpu_mem: u64,
}

impl Demand {
    /// What a task asks for; more cpus or memory than there are counts as all there are.
    ///
    /// # Errors
    /// No amount of waiting would give it the GPUs.
    pub fn of(resources: &Resources, capacity: &Capacity) -> Result<Self, Impossible> {
        let wanted = resources.gpus.max(0.0);
        let (gpus, gpu_share) = if wanted >= 1.0 {
            (wanted.ceil() as u32, 0)
        } else {
            // Rounded up, so that shares never add up to more than a device.
            (0, (wanted * f64::from(GPU_UNITS)).ceil() as u32)
        };
        let needed = gpus.max(u32::from(gpu_share > 0));
        if needed as usize > capacity.gpus.len() {
            return Err(Impossible::Gpus { wanted: needed, there: capacity.gpus.len() });
        }
        let gpu_mem = if needed > 0 { resources.gpu_mem.unwrap_or(0) } else { 0 };
        let roomy = capacity.gpus.iter().filter(|gpu| gpu.mem.is_none_or(|mem| mem >= gpu_mem)).count();
        if roomy < needed as usize {
            let there = capacity.gpus.iter().filter_map(|gpu| gpu.mem).max().unwrap_or(0);
            return Err(Impossible::GpuMemory { wanted: gpu_mem, there });
        }
        Ok(Self {
            cpus: resources.cpus.max(1).min(capacity.cpus.max(1)),
            mem: capacity.mem.map_or(0, |there| resources.mem.unwrap_or(0).min(there)),
            gpus,
            gpu_share,
            gpu_mem,
        })
    }
}

#[derive(Debug, Clone)]
struct FreeGpu {
    units: u32,
    mem: Option<u64>,
}

/// What is left of a capacity.
#[derive(Debug, Clone)]
pub struct Free {
    capacity: Capacity,
    jobs: u32,
    cpus: u32,
    mem: Option<u64>,
    gpus: Vec<FreeGpu>,
}

impl Free {
    #[must_use]
    pub fn all(capacity: Capacity) -> Self {
        let gpus = capacity.gpus.iter().map(|gpu| FreeGpu { units: GPU_UNITS, mem: gpu.mem }).collect();
        Self { jobs: capacity.jobs.max(1), cpus: capacity.cpus.max(1), mem: capacity.mem, gpus, capacity }
    }

    #[must_use]
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// Whether no task at all could start.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.jobs == 0 || self.cpus == 0
    }

    /// Takes what `demand` asks for, or nothing if it does not fit now.
    pub fn take(&mut self, demand: &Demand) -> Option<Grant> {
        if self.jobs == 0 || self.cpus < demand.cpus || self.mem.is_some_and(|mem| mem < demand.mem) {
            return None;
        }
        let shares = self.choose_gpus(demand)?;
        self.jobs -= 1;
        self.cpus -= demand.cpus;
        self.mem = self.mem.map(|mem| mem - demand.mem);
        for (device, units, mem) in &shares {
            let free = &mut self.gpus[*device];
            free.units -= units;
            free.mem = free.mem.map(|there| there - mem);
        }
        let gpus = shares.iter().map(|(device, ..)| self.capacity.gpus[*device].name.clone()).collect();
        Some(Grant { cpus: demand.cpus, mem: demand.mem, gpus, shares })
    }

    fn choose_gpus(&self, demand: &Demand) -> Option<Vec<(usize, u32, u64)>> {
        let (count, units) = match (demand.gpus, demand.gpu_share) {
            (0, 0) => return Some(Vec::new()),
            (0, share) => (1, share),
            (whole, _) => (whole as usize, GPU_UNITS),
        };
        let mut fitting: Vec<usize> = (0..self.gpus.len())
            .filter(|device| {
                let free = &self.gpus[*device];
                free.units >= units && free.mem.is_none_or(|mem| mem >= demand.gpu_mem)
            })
            .collect();
        // The fullest device that still has room, so that whole devices stay whole.
        fitting.sort_by_key(|device| (self.gpus[*device].units, *device));
        fitting.truncate(count);
        (fitting.len() == count).then(|| fitting.into_iter().map(|device| (device, units, demand.gpu_mem)).collect())
    }

    /// Gives back what a task held.
    pub fn give_back(&mut self, grant: &Grant) {
        self.jobs += 1;
        self.cpus += grant.cpus;
        self.mem = self.mem.map(|mem| mem + grant.mem);
        for (device, units, mem) in &grant.shares {
            let free = &mut self.gpus[*device];
            free.units += units;
            free.mem = free.mem.map(|there| there + mem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity() -> Capacity {
        let gpu = |name: &str, mem| Gpu { name: name.to_owned(), mem };
        Capacity { jobs: 8, cpus: 4, mem: Some(100), gpus: vec![gpu("0", Some(40)), gpu("1", Some(80))] }
    }

    fn demand(resources: Resources) -> Demand {
        Demand::of(&resources, &capacity()).unwrap()
    }

    #[test]
    fn shares_pack_onto_one_device_and_whole_devices_stay_whole() {
        let mut free = Free::all(capacity());
        let half = demand(Resources { gpus: 0.5, ..Resources::default() });
        let a = free.take(&half).unwrap();
        let b = free.take(&half).unwrap();
        assert_eq!((a.gpus.as_slice(), b.gpus.as_slice()), (&["0".to_owned()][..], &["0".to_owned()][..]));
        let whole = demand(Resources { gpus: 1.0, ..Resources::default() });
        assert_eq!(free.take(&whole).unwrap().gpus, ["1"]);
        assert_eq!(free.take(&half), None);
        free.give_back(&b);
        assert!(free.take(&half).is_some());
    }

    #[test]
    fn gpu_memory_chooses_the_device() {
        let mut free = Free::all(capacity());
        let large = demand(Resources { gpus: 0.1, gpu_mem: Some(60), ..Resources::default() });
        assert_eq!(free.take(&large).unwrap().gpus, ["1"]);
        assert_eq!(free.take(&large), None);
    }

    #[test]
    fn what_can_never_fit_is_said_and_what_is_merely_large_is_cut() {
        let gpus = Demand::of(&Resources { gpus: 3.0, ..Resources::default() }, &capacity());
        assert_eq!(gpus, Err(Impossible::Gpus { wanted: 3, there: 2 }));
        let mem = Demand::of(&Resources { gpus: 2.0, gpu_mem: Some(50), ..Resources::default() }, &capacity());
        assert_eq!(mem, Err(Impossible::GpuMemory { wanted: 50, there: 80 }));
        let mut free = Free::all(capacity());
        let huge = demand(Resources { cpus: 64, mem: Some(1 << 40), ..Resources::default() });
        assert_eq!(free.take(&huge).map(|grant| (grant.cpus, grant.mem)), Some((4, 100)));
    }
}
