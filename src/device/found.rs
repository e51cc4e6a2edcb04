//! What this machine offers. In: nothing. Out: a listing per kind of device, with the reason where
//! something cannot be used, and the one device that a choice means. Asking never panics.

use super::{Device, cpu, memory};
use crate::error::DeviceError;
use crate::job::{DeviceChoice, Precision};

/// What `--device` calls the CPU.
const CPU_NAME: &str = "cpu";

/// What torchrun and Ray, Slurm, Open MPI and MPICH call a worker's number on its machine.
const LOCAL_RANKS: [&str; 4] =
    ["LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID"];

/// A device that can be used.
#[derive(Debug, Clone)]
pub struct Found {
    /// Among those of its kind, from 0.
    pub number: usize,
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
    /// The device's number; `None`: the whole kind.
    pub number: Option<usize>,
    /// What is wrong, and what would help.
    pub why: String,
    /// There is nothing, rather than something that does not work.
    pub absent: bool,
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
    /// A kind of which there is nothing.
    pub(super) fn absent(kind: &'static str, why: impl Into<String>) -> Self {
        let trouble = Trouble { number: None, why: why.into(), absent: true };
        Listing { kind, found: Vec::new(), troubles: vec![trouble] }
    }

    /// A kind of which nothing works.
    #[cfg(any(feature = "cuda-untuned", feature = "wgpu"))]
    pub(super) fn broken(kind: &'static str, why: String) -> Self {
        let trouble = Trouble { number: None, why, absent: false };
        Listing { kind, found: Vec::new(), troubles: vec![trouble] }
    }

    /// Devices of a kind, each as it answers, in the order of their numbers.
    #[cfg(any(feature = "cuda-untuned", feature = "wgpu"))]
    pub(super) fn of(
        kind: &'static str,
        answers: impl IntoIterator<Item = Result<Found, String>>,
    ) -> Self {
        let mut listing = Listing { kind, found: Vec::new(), troubles: Vec::new() };
        for (number, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(found) => listing.found.push(found),
                Err(why) => {
                    let number = Some(number);
                    listing.troubles.push(Trouble { number, why, absent: false });
                }
            }
        }
        listing
    }

    /// Device `number`, or why it cannot be had.
    fn numbered(self, number: usize) -> Result<Found, String> {
        let count = self.found.len() + self.troubles.iter().filter(|t| t.number.is_some()).count();
        if let Some(found) = self.found.into_iter().find(|found| found.number == number) {
            return Ok(found);
        }
        let concerns = |trouble: &Trouble| trouble.number.is_none_or(|own| own == number);
        let trouble = self.troubles.into_iter().find(concerns);
        Err(trouble.map_or(format!("there are {count}, numbered from 0"), |trouble| trouble.why))
    }

    /// Of those that are no software the one of this worker's number on the machine.
    fn own(&self) -> Option<&Found> {
        let hardware = self.found.iter().filter(|found| !found.software).collect::<Vec<_>>();
        hardware.get(local_rank() % hardware.len().max(1)).copied()
    }
}

/// Every kind of device, best first.
pub fn listings() -> Vec<Listing> {
    let found = vec![the_cpu()];
    vec![cuda(), wgpu(), Listing { kind: CPU_NAME, found, troubles: Vec::new() }]
}

/// What `auto` takes: of the first kind that has any, the device of this worker's number on the
/// machine; never software.
pub fn by_auto(listings: &[Listing]) -> Option<&Found> {
    listings.iter().find_map(Listing::own)
}

/// The device that `choice` means.
pub(super) fn chosen(choice: DeviceChoice) -> Result<Found, DeviceError> {
    let numbered = |listing: Listing, number| {
        let unusable = |why| DeviceError::Unusable { device: choice.to_string(), why };
        listing.numbered(number).map_err(unusable)
    };
    match choice {
        DeviceChoice::Cpu => Ok(the_cpu()),
        DeviceChoice::Auto => {
            // Later kinds are not asked where an earlier one answers.
            for ask in [cuda, wgpu] {
                let listing = ask();
                for trouble in listing.troubles.iter().filter(|trouble| !trouble.absent) {
                    tracing::warn!("{} cannot be used: {}", listing.kind, trouble.why);
                }
                if let Some(own) = listing.own() {
                    return Ok(own.clone());
                }
            }
            Ok(the_cpu())
        }
        DeviceChoice::Cuda(number) => numbered(cuda(), number),
        DeviceChoice::Wgpu(number) => numbered(wgpu(), number),
    }
}

/// Which of this machine's workers this is, from 0, as engines tell it: each takes a GPU of its own.
fn local_rank() -> usize {
    let told = LOCAL_RANKS.iter().find_map(|name| std::env::var(name).ok());
    told.and_then(|rank| rank.trim().parse().ok()).unwrap_or(0)
}

fn the_cpu() -> Found {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    Found {
        number: 0,
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
use super::cuda::listing as cuda;

#[cfg(feature = "wgpu")]
use super::wgpu::listing as wgpu;

#[cfg(not(feature = "cuda-untuned"))]
fn cuda() -> Listing {
    not_built_in("cuda")
}

#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Listing {
    not_built_in("wgpu")
}

#[cfg(not(all(feature = "cuda-untuned", feature = "wgpu")))]
fn not_built_in(feature: &'static str) -> Listing {
    Listing::absent(feature, format!("not in this program: build it with --features {feature}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(number: usize, software: bool) -> Found {
        Found { number, name: format!("cuda:{number}"), software, ..the_cpu() }
    }

    #[test]
    #[cfg(any(feature = "cuda-untuned", feature = "wgpu"))]
    fn one_broken_device_hides_no_other_and_keeps_its_number() {
        let listing =
            || Listing::of("cuda", [Ok(gpu(0, true)), Err("it is hot".into()), Ok(gpu(2, false))]);
        assert_eq!(listing().own().unwrap().name, "cuda:2");
        assert_eq!(listing().numbered(2).unwrap().name, "cuda:2");
        assert_eq!(listing().numbered(1).unwrap_err(), "it is hot");
        assert_eq!(listing().numbered(3).unwrap_err(), "there are 3, numbered from 0");
        assert_eq!(Listing::broken("cuda", "no".into()).numbered(0).unwrap_err(), "no");
        assert_eq!(by_auto(&[listing()]).unwrap().name, "cuda:2");
    }

    #[test]
    fn auto_takes_the_first_kind_that_has_a_device() {
        let of = |kind, found| Listing { kind, found, troubles: Vec::new() };
        let none = || Listing::absent("cuda", "no driver");
        let software = || of("wgpu", vec![gpu(0, true)]);
        let listings = [none(), software(), of("cpu", vec![the_cpu()])];
        assert_eq!(by_auto(&listings).unwrap().name, "cpu");
        assert!(by_auto(&[none(), software()]).is_none());
        assert_eq!(none().numbered(0).unwrap_err(), "no driver");
    }
}
