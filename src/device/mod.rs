//! Which backend runs the network, in which precision and how many pictures at once: decided at
//! run time, in this folder. Nothing else names a backend.
//!
//! - `found` tells what this machine offers; `cuda` and `wgpu` ask for it, where they are built in.
//! - `faults` keeps what goes wrong on a device's own thread; whoever uses its numbers asks first.
//! - `batch` tells how many pictures go through the network together.
//! - `memory` tells what the machine has left.
//! - `heap` tells the allocator what to do with freed memory.

mod batch;
#[cfg(feature = "cuda-untuned")]
mod cuda;
mod faults;
mod found;
mod heap;
#[cfg(any(feature = "cuda-untuned", feature = "wgpu"))]
mod kernels;
mod memory;
#[cfg(any(feature = "cuda-untuned", feature = "wgpu"))]
mod quietly;
#[cfg(feature = "wgpu")]
mod wgpu;

use burn::DispatchDevice;
use burn::tensor::DType;

use crate::error::DeviceError;
use crate::job::{DeviceChoice, Precision};

pub use batch::batch_size;
pub use faults::take_fault;
pub use found::{Found, Listing, listings};
pub use heap::{give_back_freed, keep_freed};

/// The one backend the program is compiled for; it hands each operation to the device's own.
pub type Backend = burn::Dispatch;

/// The same backend with gradients: what training computes with.
pub type TrainBackend = burn::backend::Autodiff<Backend>;

/// A place where tensors live; tensors with and without gradients share it.
pub type Device = DispatchDevice;

/// The CPU, always there.
pub fn cpu() -> Device {
    DispatchDevice::Flex(burn_flex::FlexDevice)
}

/// The device that `choice` and `precision` ask for.
///
/// # Errors
/// If this build, or the machine, does not have it, or it does not compute in `precision`.
pub fn device(choice: DeviceChoice, precision: Precision) -> Result<Device, DeviceError> {
    let found = found::chosen(choice)?;
    if !found.precisions.contains(&precision) {
        return Err(DeviceError::Precision {
            device: found.name,
            precision: precision.to_string(),
            known: found.precisions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        });
    }
    if found.device != cpu() {
        faults::watch();
    }
    tracing::info!(device = found.name, %precision, "computing on {}", found.what);
    Ok(found.device)
}

/// Whether products of f32 on `device` round their operands.
pub fn rounds_operands(device: &Device) -> bool {
    match device {
        #[cfg(feature = "cuda-untuned")]
        DispatchDevice::Cuda(_) => true,
        _ => false,
    }
}

/// Bytes of memory that are free on `device`, if it is a GPU that tells.
fn free_memory(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda-untuned")]
        DispatchDevice::Cuda(device) => cuda::free_memory(device.index),
        _ => None,
    }
}

/// The number format of the large products of a network in `precision`.
pub fn products_in(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::F16 => DType::F16,
        Precision::Bf16 => DType::BF16,
    }
}

/// Precisions in which `device` computes.
#[cfg(any(feature = "cuda-untuned", feature = "wgpu"))]
fn precisions(device: &Device) -> Vec<Precision> {
    use burn::tensor::backend::{Backend as _, DTypeUsage};

    let all = [Precision::F32, Precision::F16, Precision::Bf16];
    let computes = |precision: &Precision| {
        let usage = Backend::dtype_usage(device, products_in(*precision));
        usage.contains(DTypeUsage::Arithmetic)
    };
    all.into_iter().filter(computes).collect()
}
