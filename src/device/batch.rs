//! Images per batch. In: the choice, the device and the network's dimensions. Out: a number. It is
//! an estimate on the careful side; what does not fit after all is halved where it is computed.

use super::{Device, cpu, free_memory, memory, release_freed, rounds_operands, settled};
use crate::job::BatchSize;
use crate::model::config::FiloConfig;
use crate::model::filo::mmci::MERGED_KERNEL;
use crate::model::grounding::GroundingConfig;

/// Activations that a batch may have on the CPU, in floats per block: larger batches only cost
/// memory, since one image at the published size already fills both operands of a product.
const CPU_BATCH_FLOATS: usize = 8 << 20;

/// Most images that `auto` puts into a batch. On an H200 the published network gains 2 % from 16
/// to 64 images; smaller ones need more to keep a GPU busy.
const MAX_CPU_BATCH: usize = 16;
const MAX_GPU_BATCH: usize = 64;

/// Bytes that are free on a device that does not tell.
const GPU_MEMORY: u64 = 4 << 30;

/// A detector and the largest images that it gets, pixels.
#[derive(Debug, Clone, Copy)]
pub struct Detecting<'a> {
    pub config: &'a GroundingConfig,
    pub height: usize,
    pub width: usize,
}

/// Images per batch on `device`, on which the weights lie already.
pub fn batch_size(
    choice: BatchSize,
    config: &FiloConfig,
    detector: Option<Detecting>,
    device: &Device,
) -> usize {
    match choice {
        BatchSize::Fixed(n) => n.get(),
        BatchSize::Auto if *device == cpu() => cpu_batch(config, detector, memory::free()),
        BatchSize::Auto => {
            // What loading has left. A fault would be met again with the first batch.
            release_freed(device);
            let _ = settled(device);
            // A third is left to what is freed late and to pages that are not full.
            let room = free_memory(device).unwrap_or(GPU_MEMORY) / 3 * 2;
            let beside = if rounds_operands(device) { in_parts_bytes(config) } else { 0 };
            let each = picture_bytes(config).max(detector.map_or(0, detector_bytes));
            let fitting = room.saturating_sub(beside) / each;
            usize::try_from(fitting).unwrap_or(MAX_GPU_BATCH).clamp(1, MAX_GPU_BATCH)
        }
    }
}

/// The same of a detector: inside a layer of its encoder, where the feed-forward net's hidden channels
/// stand beside some copies of the tokens of all levels.
fn detector_bytes(detector: Detecting) -> u64 {
    let Detecting { config, height, width } = detector;
    // The first level that is read has one token for so many pixels a side; each further half as many.
    let first = config.swin.patch << config.swin.out_stages.first().copied().unwrap_or(0);
    let level = |i| height.div_ceil(first << i) * width.div_ceil(first << i);
    let tokens = (0..config.levels).map(level).sum::<usize>();
    4 * (tokens * (12 * config.d_model + 3 * config.ffn)) as u64
}

/// Images per batch on a CPU of which so many bytes are free.
fn cpu_batch(config: &FiloConfig, detector: Option<Detecting>, free: Option<u64>) -> usize {
    let hidden = tokens(config) * config.vision.mlp_width();
    let worth = (CPU_BATCH_FLOATS / hidden).clamp(1, MAX_CPU_BATCH);
    // Half is left to decoded images, tables, and whoever else is there.
    let each = cpu_picture_bytes(config).max(detector.map_or(0, detector_bytes));
    let fitting = free.map_or(u64::MAX, |free| free / 2 / each);
    let batch = worth.min(usize::try_from(fitting).unwrap_or(worth)).max(1);
    if batch < worth {
        tracing::info!("batches of {batch} instead of {worth} images: little memory is free");
    }
    batch
}

fn tokens(config: &FiloConfig) -> usize {
    1 + config.vision.grid() * config.vision.grid()
}

/// Most bytes of activations that one image needs at a time: inside a block, where hidden
/// channels or attention scores stand beside the streams and what is captured of them.
fn picture_bytes(config: &FiloConfig) -> u64 {
    let tokens = tokens(config);
    let streams = tokens * config.vision.width * (8 + config.linear_heads());
    let hidden = 3 * tokens * config.vision.mlp_width();
    let scores = 2 * config.vision.heads() * tokens * tokens;
    4 * (streams + hidden.max(scores)) as u64
}

/// The same on a CPU, where no more scores are held than those of some queries, but the lines of the
/// grid that the convolutions read. Measured: 139 MB at the published size, batches of 1 and 3; 7 MB
/// of the embedded network, batches of 16 and 64.
fn cpu_picture_bytes(config: &FiloConfig) -> u64 {
    let (tokens, width, grid) = (tokens(config), config.vision.width, config.vision.grid());
    let streams = tokens * width * (8 + config.linear_heads());
    let hidden = 3 * tokens * config.vision.mlp_width();
    let lines = (grid + MERGED_KERNEL - 1) * grid * MERGED_KERNEL * width;
    let heads = 2 * grid * grid * config.mmci_heads() * config.embed_dim;
    4 * (streams + hidden.max(lines + heads)) as u64
}

/// What products in parts hold beside, however many images there are: the matrices of the blocks and
/// the MMCI kernel in parts, the surroundings of one image's patches with theirs, and the scores of one
/// image. Other matrices are small beside the third that is left.
fn in_parts_bytes(config: &FiloConfig) -> u64 {
    let taps = MERGED_KERNEL * MERGED_KERNEL * config.vision.width;
    let kernel = taps * config.embed_dim * config.mmci_heads();
    let rows = taps * config.vision.grid() * config.vision.grid();
    let scores = config.vision.heads() * tokens(config) * tokens(config);
    let (vision, text) = (&config.vision, &config.text);
    let blocks = vision.layers * vision.width * (4 * vision.width + 2 * vision.mlp_width())
        + text.layers * 12 * text.width * text.width;
    4 * (3 * blocks + 3 * kernel + 4 * rows + 5 * scores) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_the_published_size_needs_a_third_of_a_gibibyte() {
        let bytes = picture_bytes(&FiloConfig::published());
        assert!((280 << 20..360 << 20).contains(&bytes), "{bytes}");
        let auto = batch_size(BatchSize::Auto, &FiloConfig::published(), None, &cpu());
        assert_eq!(auto, 1);
    }

    /// 518 × 518 pixels have 65² + 33² + 17² + 9² tokens.
    #[test]
    fn a_wide_picture_needs_half_a_gibibyte_in_the_detector() {
        let config = &GroundingConfig::swin_t_ogc();
        let bytes = |width| detector_bytes(Detecting { config, height: 518, width });
        assert_eq!(bytes(518), 5684 * 9216 * 4);
        assert!((500 << 20..560 << 20).contains(&bytes(1333)), "{}", bytes(1333));
    }

    #[test]
    fn products_in_parts_need_seven_gibibytes_beside() {
        let bytes = in_parts_bytes(&FiloConfig::published());
        assert!((13 << 29..15 << 29).contains(&bytes), "{bytes}");
    }

    #[test]
    fn on_a_cpu_it_needs_what_was_measured_and_batches_follow_what_is_free() {
        let published = FiloConfig::published();
        let bytes = cpu_picture_bytes(&published);
        assert!((125_000_000..155_000_000).contains(&bytes), "{bytes}");
        assert_eq!(cpu_batch(&published, None, Some(0)), 1);
        let mut small = published;
        small.vision.image_size = 140;
        let each = cpu_picture_bytes(&small);
        assert_eq!(cpu_batch(&small, None, None), 16);
        assert_eq!(cpu_batch(&small, None, Some(64 * each)), 16);
        assert_eq!(cpu_batch(&small, None, Some(10 * each)), 5);
        assert_eq!(cpu_batch(&small, None, Some(each)), 1);
        let config = &GroundingConfig::swin_t_ogc();
        let detecting = Some(Detecting { config, height: 518, width: 518 });
        assert_eq!(cpu_batch(&small, detecting, Some(1 << 30)), 2);
    }
}
