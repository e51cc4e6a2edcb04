//! Which backend runs the network, in which precision and how many images at once: decided at
//! run time, in this folder. Nothing else names a backend.
//!
//! - `found` tells what this machine offers; `cuda` and `wgpu` ask for it, where they are built in.
//! - `faults` keeps what goes wrong on a device's own thread; whoever uses its numbers asks first.
//! - `typed` chooses the backend that networks run on.
//! - `batch` tells how many images go through the network together.
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
mod typed;
#[cfg(feature = "wgpu")]
mod wgpu;

use burn::DispatchDevice;
use burn::tensor::DType;

use crate::error::DeviceError;
use crate::job::{DeviceChoice, Precision};

pub use batch::{Detecting, batch_size};
pub use faults::take_fault;
pub use found::{Found, Listing, Trouble, by_auto, listings};
pub use heap::{give_back_freed, keep_freed};
#[cfg(feature = "cuda-untuned")]
pub(crate) use quietly::quietly;
#[cfg(feature = "cuda-untuned")]
pub use typed::Cuda;
#[cfg(feature = "wgpu")]
pub use typed::Wgpu;
pub use typed::{NetworkBackend, OnBackend, on_backend};

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
        DispatchDevice::Cuda(device) => cuda::rounds_operands(device.index),
        _ => false,
    }
}

/// Waits until `device` has done all that this thread has asked of it, such as taking weights.
///
/// # Errors
/// If something went wrong on the way: numbers on it are void.
pub fn settled(device: &Device) -> Result<(), DeviceError> {
    use burn::tensor::backend::Backend as _;

    let waited = Backend::sync(device).map_err(|error| error.to_string());
    match faults::take_fault().or(waited.err()) {
        None => Ok(()),
        Some(why) => Err(DeviceError::Loading { why }),
    }
}

/// Gives memory that a GPU keeps for later tensors of this thread back to it: pages of one size are
/// never used for another. It happens some time later; [`settled`] waits for it.
pub fn release_freed(device: &Device) {
    #[cfg(any(feature = "cuda-untuned", feature = "wgpu"))]
    use burn::tensor::backend::Backend as _;
    match device {
        #[cfg(feature = "cuda-untuned")]
        DispatchDevice::Cuda(device) => burn::backend::Cuda::<f32>::memory_cleanup(device),
        #[cfg(feature = "wgpu")]
        DispatchDevice::Wgpu(device) => burn::backend::Wgpu::<f32>::memory_cleanup(device),
        _ => {}
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

/// Precisions in which `device` computes, f32 among them: those that it claims, and in which a small
/// kernel gives the right numbers. A driver may be older than the compiler, and load no kernel.
#[cfg(any(feature = "cuda-untuned", feature = "wgpu"))]
fn precisions(device: &Device) -> Result<Vec<Precision>, String> {
    use burn::tensor::backend::{Backend as _, DTypeUsage};

    let all = [Precision::F32, Precision::F16, Precision::Bf16];
    let claims = |precision: &Precision| {
        let usage = Backend::dtype_usage(device, products_in(*precision));
        usage.contains(DTypeUsage::Arithmetic)
    };
    let claimed = quietly::quietly(|| all.into_iter().filter(claims).collect::<Vec<Precision>>())?;
    let mut works = Vec::new();
    for precision in claimed {
        match runs_a_kernel(device, products_in(precision)) {
            Ok(()) => works.push(precision),
            Err(why) if precision == Precision::F32 => return Err(why),
            Err(why) => tracing::debug!(%precision, "not on this device: {why}"),
        }
    }
    if works.first() == Some(&Precision::F32) {
        return Ok(works);
    }
    Err("it does not compute in f32".into())
}

/// Numbers go to the device, are computed with in `format`, and come back. On a thread, and so in a
/// queue, of its own: what goes wrong there stays there.
#[cfg(any(feature = "cuda-untuned", feature = "wgpu"))]
fn runs_a_kernel(device: &Device, format: DType) -> Result<(), String> {
    use burn::tensor::{FloatDType, Tensor};

    let compute = || {
        // Whole numbers that all formats have.
        let x = Tensor::<Backend, 1>::from_floats([1., 2., 3., 4., 5., 6., 7., 8.], device);
        let x = x.cast(FloatDType::from(format));
        let sums = (x.clone() * x.clone() + x).cast(FloatDType::F32);
        sums.into_data().into_vec::<f32>().map_err(|error| format!("{error:?}"))
    };
    let computed = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("device check".into());
        let asked = thread.spawn_scoped(scope, || quietly::quietly(compute));
        let asked = asked.map_err(|error| error.to_string())?;
        asked.join().unwrap_or_else(|_| Err("the check of the device broke".into()))
    });
    match computed?? == [2., 6., 12., 20., 30., 42., 56., 72.] {
        true => Ok(()),
        false => Err("a small kernel gives wrong numbers".into()),
    }
}
