//! Pictures per batch. In: the choice, the device and the network's dimensions. Out: a number. It is
//! an estimate on the careful side; what does not fit after all is halved where it is computed.

use super::{Device, cpu, free_memory};
use crate::job::BatchSize;
use crate::model::config::FiloConfig;

/// Activations that a batch may have on the CPU, in floats per block: larger batches only cost
/// memory, since one picture at the published size already fills both operands of a product.
const CPU_BATCH_FLOATS: usize = 8 << 20;

/// Most pictures that `auto` puts into a batch. On an H200 the published network gains 2 % from 16
/// to 64 pictures; smaller ones need more to keep a GPU busy.
const MAX_CPU_BATCH: usize = 16;
const MAX_GPU_BATCH: usize = 64;

/// Bytes that are free on a device that does not tell.
const GPU_MEMORY: u64 = 4 << 30;

/// Pictures per batch on `device`, on which the weights lie already.
pub fn batch_size(choice: BatchSize, config: &FiloConfig, device: &Device) -> usize {
    match choice {
        BatchSize::Fixed(n) => n.get(),
        BatchSize::Auto if *device == cpu() => {
            let hidden = tokens(config) * config.vision.mlp_width();
            (CPU_BATCH_FLOATS / hidden).clamp(1, MAX_CPU_BATCH)
        }
        BatchSize::Auto => {
            // A third is left to what is freed late and to pages that are not full.
            let room = free_memory(device).unwrap_or(GPU_MEMORY) / 3 * 2;
            let fitting = room / picture_bytes(config);
            usize::try_from(fitting).unwrap_or(MAX_GPU_BATCH).clamp(1, MAX_GPU_BATCH)
        }
    }
}

fn tokens(config: &FiloConfig) -> usize {
    1 + config.vision.grid() * config.vision.grid()
}

/// Most bytes of activations that one picture needs at a time: inside a block, where hidden
/// channels or attention scores stand beside the streams and what is captured of them.
fn picture_bytes(config: &FiloConfig) -> u64 {
    let tokens = tokens(config);
    let streams = tokens * config.vision.width * (8 + config.linear_heads());
    let hidden = 3 * tokens * config.vision.mlp_width();
    let scores = 2 * config.vision.heads() * tokens * tokens;
    4 * (streams + hidden.max(scores)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_the_published_size_needs_a_third_of_a_gibibyte() {
        let bytes = picture_bytes(&FiloConfig::published());
        assert!((280 << 20..360 << 20).contains(&bytes), "{bytes}");
        let auto = batch_size(BatchSize::Auto, &FiloConfig::published(), &cpu());
        assert_eq!(auto, 1);
    }
}
