//! What this machine offers. In: nothing. Out: a listing per kind of device, with the reason where
//! something cannot be used, and the one device that a choice means. Asking never panics.

use std::iter;

use super::{Device, cpu};
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
    /// As `--device` takes it.
    pub name: String,
    /// Make, driver and such, for people.
    pub what: String,
    /// Bytes of its own memory.
    pub memory: Option<u64>,
    /// Precisions in which it computes.
    pub precisions: Vec<Precision>,
    /// A program that only acts as a GPU: exact, slow, and never chosen by `auto`.
    pub software: bool,
    pub device: Device,
}

/// All devices of one kind.
#[derive(Debug)]
pub struct Listing {
    /// As `--device` calls the kind.
    pub kind: &'static str,
    /// `Err`: why there are none, and what would help.
    pub devices: Result<Vec<Found>, String>,
}

/// Every kind of device, best first; `auto` takes the first that is no software, or, among several of
/// its kind, the one of this worker's number on the machine.
pub fn listings() -> Vec<Listing> {
    vec![
        Listing { kind: "cuda", devices: cuda() },
        Listing { kind: "wgpu", devices: wgpu() },
        Listing { kind: CPU_NAME, devices: Ok(vec![the_cpu()]) },
    ]
}

/// The device that `choice` means.
pub(super) fn chosen(choice: DeviceChoice) -> Result<Found, DeviceError> {
    let (devices, number) = match choice {
        DeviceChoice::Cpu => return Ok(the_cpu()),
        DeviceChoice::Auto => {
            // Later kinds are not asked where an earlier one answers.
            let kinds = iter::once_with(cuda).chain(iter::once_with(wgpu)).flatten();
            let hardware = |kind: Vec<Found>| {
                kind.into_iter().filter(|found| !found.software).collect::<Vec<_>>()
            };
            let mut gpus = kinds.map(hardware).find(|gpus| !gpus.is_empty()).unwrap_or_default();
            if gpus.is_empty() {
                return Ok(the_cpu());
            }
            let own = local_rank() % gpus.len();
            return Ok(gpus.swap_remove(own));
        }
        DeviceChoice::Cuda(number) => (cuda(), number),
        DeviceChoice::Wgpu(number) => (wgpu(), number),
    };
    let unusable = |why| DeviceError::Unusable { device: choice.to_string(), why };
    let mut devices = devices.map_err(unusable)?;
    let count = devices.len();
    if number >= count {
        return Err(unusable(format!("there are {count}, numbered from 0")));
    }
    Ok(devices.swap_remove(number))
}

/// Which of this machine's workers this is, from 0, as engines tell it: each takes a GPU of its own.
fn local_rank() -> usize {
    let told = LOCAL_RANKS.iter().find_map(|name| std::env::var(name).ok());
    told.and_then(|rank| rank.trim().parse().ok()).unwrap_or(0)
}

fn the_cpu() -> Found {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    Found {
        name: CPU_NAME.into(),
        what: format!("{cores} cores"),
        memory: None,
        precisions: vec![Precision::F32, Precision::F16, Precision::Bf16],
        software: false,
        device: cpu(),
    }
}

#[cfg(feature = "cuda-untuned")]
fn cuda() -> Result<Vec<Found>, String> {
    super::cuda::devices()
}

#[cfg(feature = "wgpu")]
fn wgpu() -> Result<Vec<Found>, String> {
    super::wgpu::devices()
}

#[cfg(not(feature = "cuda-untuned"))]
fn cuda() -> Result<Vec<Found>, String> {
    Err(not_built_in("cuda"))
}

#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Result<Vec<Found>, String> {
    Err(not_built_in("wgpu"))
}

#[cfg(not(all(feature = "cuda-untuned", feature = "wgpu")))]
fn not_built_in(feature: &str) -> String {
    format!("not in this program: build it with --features {feature}")
}
