//! Which backend runs the network, in which precision and how many pictures at once: decided at
//! run time, in this one place. Nothing else names a backend.

use burn::DispatchDevice;

use crate::error::DeviceError;
use crate::job::{BatchSize, DeviceChoice, Precision};
use crate::model::config::FiloConfig;

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
/// If this build, or the device, does not have it.
pub fn device(choice: DeviceChoice, precision: Precision) -> Result<Device, DeviceError> {
    match choice {
        DeviceChoice::Auto | DeviceChoice::Cpu => {}
        DeviceChoice::Cuda(_) | DeviceChoice::Wgpu(_) => {
            return Err(DeviceError::NotBuiltIn { device: choice.to_string() });
        }
    }
    match precision {
        Precision::F32 => Ok(cpu()),
        _ => Err(DeviceError::Precision { precision: precision.to_string() }),
    }
}

/// Activations that a batch may have on the CPU, in floats per block: larger batches only cost
/// memory, since one picture at the published size already fills both operands of a product.
const CPU_BATCH_FLOATS: usize = 8 << 20;

/// Most pictures that `auto` puts into a batch.
const MAX_AUTO_BATCH: usize = 16;

/// Pictures per batch.
pub fn batch_size(choice: BatchSize, config: &FiloConfig) -> usize {
    let tokens = 1 + config.vision.grid() * config.vision.grid();
    let hidden = tokens * config.vision.mlp_width();
    match choice {
        BatchSize::Fixed(n) => n.get(),
        BatchSize::Auto => (CPU_BATCH_FLOATS / hidden).clamp(1, MAX_AUTO_BATCH),
    }
}

/// What `--device` calls the CPU.
pub const CPU_NAME: &str = "cpu";
