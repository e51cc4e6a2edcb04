//! Pictures per batch. In: the choice, the device and the network's dimensions. Out: a number.

use super::{Device, cpu};
use crate::job::BatchSize;
use crate::model::config::FiloConfig;

/// Activations that a batch may have on the CPU, in floats per block: larger batches only cost
/// memory, since one picture at the published size already fills both operands of a product.
const CPU_BATCH_FLOATS: usize = 8 << 20;

/// The same on a GPU, which needs more to be busy: 12 pictures at the published size.
const GPU_BATCH_FLOATS: usize = 64 << 20;

/// Most pictures that `auto` puts into a batch.
const MAX_CPU_BATCH: usize = 16;
const MAX_GPU_BATCH: usize = 256;

/// Pictures per batch.
pub fn batch_size(choice: BatchSize, config: &FiloConfig, device: &Device) -> usize {
    let tokens = 1 + config.vision.grid() * config.vision.grid();
    let hidden = tokens * config.vision.mlp_width();
    let (floats, most) = match *device == cpu() {
        true => (CPU_BATCH_FLOATS, MAX_CPU_BATCH),
        false => (GPU_BATCH_FLOATS, MAX_GPU_BATCH),
    };
    match choice {
        BatchSize::Fixed(n) => n.get(),
        BatchSize::Auto => (floats / hidden).clamp(1, most),
    }
}
