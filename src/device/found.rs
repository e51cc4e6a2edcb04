//! What this machine offers. In: nothing. Out: a listing per kind of device, with the reason where
//! something cannot be used, and the one device that a choice means. Asking never panics.

use super::{Device, cpu, memory};
use crate::error::DeviceError;
use crate::job::{DeviceChoice, Precision};

/// What `--device` calls the kinds.
const CPU_NAME: &str = "cpu";
pub(super) const CUDA: &str = "cuda";
pub(super) const WGPU: &str = "wgpu";

/// What torchrun and Ray, Open MPI, MPICH and Slurm call a worker's number on its machine; the
/// innermost first, since `mpirun` hands on what Slurm has told it.
const LOCAL_RANKS: [&str; 4] =
    ["LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"];

/// A device that can be used.
#[derive(Debug, Clone)]
pub struct Found {
    /// As `--device` takes it.
    pub name: String,
    /// Make, driver and such, for people.
    pub what: String,
    /// Bytes of its own memory.
    pub memory: Option<u64>,
    /// Bytes of it, or of the machine's, that can be had now.
    pub free: Option<u64>,
    /// Precisions in which it computes: a small kernel of each gave the right numbers.
    pub precisions: Vec<Precision>,
    /// A program that only acts as a GPU: exact, slow, and never chosen by `auto`.
    pub software: bool,
    pub device: Device,
}

/// Why a device, or all of a kind, cannot be used.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// What is wrong, and what would help.
    pub why: String,
    /// There is nothing, rather than something that does not work.
    pub absent: bool,
}

impl Trouble {
    pub(super) fn absent(why: impl Into<String>) -> Self {
        Trouble { why: why.into(), absent: true }
    }

    #[cfg(any(feature = "cuda-untuned", feature = "wgpu"))]
    pub(super) fn broken(why: impl Into<String>) -> Self {
        Trouble { why: why.into(), absent: false }
    }
}

/// Devices of one kind, numbered from 0, none of which was opened: a GPU that is opened keeps a part
/// of its memory for this process.
pub(super) struct Kind {
    pub count: usize,
    /// The first so many are no software.
    pub hardware: usize,
    /// Opens one.
    pub open: Box<dyn Fn(usize) -> Result<Found, String>>,
}

/// All devices of one kind.
#[derive(Debug)]
pub struct Listing {
    /// As `--device` calls the kind.
    pub kind: &'static str,
    /// Those that can be used.
    pub found: Vec<Found>,
    pub troubles: Vec<Trouble>,
}

impl Listing {
    fn of(kind: &'static str, known: Result<Kind, Trouble>) -> Self {
        let mut listing = Listing { kind, found: Vec::new(), troubles: Vec::new() };
        match known {
            Err(trouble) => listing.troubles.push(trouble),
            Ok(kind) => (0..kind.count).for_each(|number| match (kind.open)(number) {
                Ok(found) => listing.found.push(found),
                Err(why) => listing.troubles.push(Trouble { why, absent: false }),
            }),
        }
        listing
    }
}

/// Every kind of device, best first.
pub fn listings() -> Vec<Listing> {
    let the_cpu = Listing { kind: CPU_NAME, found: vec![the_cpu()], troubles: Vec::new() };
    vec![Listing::of(CUDA, cuda()), Listing::of(WGPU, wgpu()), the_cpu]
}

/// The device that `choice` means.
pub(super) fn chosen(choice: DeviceChoice) -> Result<Found, DeviceError> {
    let numbered = |kind, number| {
        opened(kind, number)
            .map_err(|why| DeviceError::Unusable { device: choice.to_string(), why })
    };
    match choice {
        DeviceChoice::Cpu => Ok(the_cpu()),
        DeviceChoice::Auto => Ok(by_auto()),
        DeviceChoice::Cuda(number) => numbered(cuda(), number),
        DeviceChoice::Wgpu(number) => numbered(wgpu(), number),
    }
}

fn opened(kind: Result<Kind, Trouble>, number: usize) -> Result<Found, String> {
    let kind = kind.map_err(|trouble| trouble.why)?;
    if number >= kind.count {
        return Err(format!("there are {}, numbered from 0", kind.count));
    }
    (kind.open)(number)
}

/// What `auto` takes: of the first kind that has one that works, the device of this worker's number
/// on the machine, or the next; never software. Later kinds are not asked then. What is there and
/// does not work is a warning.
pub fn by_auto() -> Found {
    own(cuda(), local_rank()).or_else(|| own(wgpu(), local_rank())).unwrap_or_else(the_cpu)
}

fn own(kind: Result<Kind, Trouble>, rank: usize) -> Option<Found> {
    let kind = match kind {
        Ok(kind) => kind,
        Err(Trouble { absent: true, .. }) => return None,
        Err(Trouble { why, .. }) => {
            tracing::warn!("--device auto: {why}");
            return None;
        }
    };
    let numbers = (0..kind.hardware).map(|next| (rank + next) % kind.hardware);
    let working = |number: usize| {
        let opened = (kind.open)(number);
        opened.inspect_err(|why| tracing::warn!("--device auto: {why}")).ok()
    };
    numbers.filter_map(working).next()
}

/// Which of this machine's workers this is, from 0, as engines tell it: each takes a GPU of its own.
fn local_rank() -> usize {
    let told = |name: &str| std::env::var(name).ok()?.trim().parse().ok();
    LOCAL_RANKS.iter().find_map(|name| told(name)).unwrap_or(0)
}

fn the_cpu() -> Found {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    Found {
        name: CPU_NAME.into(),
        what: format!("{cores} cores"),
        memory: None,
        free: memory::free(),
        precisions: vec![Precision::F32, Precision::F16, Precision::Bf16],
        software: false,
        device: cpu(),
    }
}

#[cfg(feature = "cuda-untuned")]
use super::cuda::kind as cuda;

#[cfg(feature = "wgpu")]
use super::wgpu::kind as wgpu;

#[cfg(not(feature = "cuda-untuned"))]
fn cuda() -> Result<Kind, Trouble> {
    Err(not_built_in(CUDA))
}

#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Result<Kind, Trouble> {
    Err(not_built_in(WGPU))
}

#[cfg(not(all(feature = "cuda-untuned", feature = "wgpu")))]
fn not_built_in(feature: &str) -> Trouble {
    Trouble::absent(format!("not in this program: build it with --features {feature}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three GPUs and a program that acts as one; GPU 1 is broken.
    fn kind() -> Result<Kind, Trouble> {
        let open = |number| match number {
            1 => Err("GPU 1 is hot".to_owned()),
            _ => Ok(Found { name: format!("cuda:{number}"), software: number == 3, ..the_cpu() }),
        };
        Ok(Kind { count: 4, hardware: 3, open: Box::new(open) })
    }

    fn none() -> Result<Kind, Trouble> {
        Err(Trouble::absent("no driver"))
    }

    #[test]
    fn a_broken_device_hides_no_other_and_keeps_its_number() {
        assert_eq!(opened(kind(), 2).unwrap().name, "cuda:2");
        assert_eq!(opened(kind(), 1).unwrap_err(), "GPU 1 is hot");
        assert_eq!(opened(kind(), 4).unwrap_err(), "there are 4, numbered from 0");
        assert_eq!(opened(none(), 0).unwrap_err(), "no driver");
        let listing = Listing::of(CUDA, kind());
        assert_eq!((listing.found.len(), listing.troubles.len()), (3, 1));
        assert!(!listing.troubles[0].absent);
    }

    #[test]
    fn every_worker_takes_its_own_device_or_the_next_that_works() {
        let names = (0..5).map(|rank| own(kind(), rank).unwrap().name).collect::<Vec<_>>();
        assert_eq!(names, ["cuda:0", "cuda:2", "cuda:2", "cuda:0", "cuda:2"]);
        assert!(own(none(), 0).is_none());
    }
}
