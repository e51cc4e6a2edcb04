//! What a batch costs, counted from the dimensions alone: the arithmetic of the products, and the
//! bytes that must pass through memory. In: a configuration. Out: a cost per stage; what a machine
//! makes of it is a division by its limits.

use std::iter::Sum;
use std::ops::{Add, Mul};

use super::config::{FiloConfig, VisionConfig};
use super::filo::mmci::MERGED_KERNEL;

/// Arithmetic and traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Operations of products; a multiplication with its addition counts two.
    pub flops: f64,
    /// Bytes that products read and write: weights once per batch, activations once per product.
    pub bytes: f64,
    /// Bytes that operators without a product read and write; no arithmetic hides them.
    pub passes: f64,
}

impl Cost {
    /// Seconds on a machine of so many operations and bytes per second: products wait for the slower
    /// of the two, the other operators come between them.
    pub fn seconds(&self, flops_per_second: f64, bytes_per_second: f64) -> f64 {
        (self.flops / flops_per_second).max(self.bytes / bytes_per_second)
            + self.passes / bytes_per_second
    }
}

impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost {
            flops: self.flops + other.flops,
            bytes: self.bytes + other.bytes,
            passes: self.passes + other.passes,
        }
    }
}

impl Mul<usize> for Cost {
    type Output = Cost;

    fn mul(self, times: usize) -> Cost {
        let times = times as f64;
        Cost { flops: self.flops * times, bytes: self.bytes * times, passes: self.passes * times }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), Add::add)
    }
}

/// How the operators between products run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operators {
    /// In one pass over memory, scores of attention in the cache: as all devices run them here.
    Fused,
    /// As burn's GPU backends by themselves take them apart: a kernel for each elementary operation.
    Apart,
}

impl Operators {
    /// Numbers that an operator in one pass reads and writes for each of its operand, or in as many
    /// passes as it is taken apart into.
    fn passes(self, apart: usize) -> usize {
        match self {
            Operators::Fused => 2,
            Operators::Apart => apart,
        }
    }
}

/// What counting must know besides the dimensions.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    pub pictures: usize,
    /// Bytes of a number that a product reads.
    pub product_bytes: usize,
    /// Of the detector. The towers are counted as fused everywhere.
    pub operators: Operators,
}

/// Bytes of a number between products.
const SUM_BYTES: f64 = 4.0;

impl Batch {
    /// `rows` of every image, `[rows, inner]·[inner, columns]`, the right side shared by all.
    pub(super) fn product(&self, rows: usize, inner: usize, columns: usize) -> Cost {
        let (rows, inner, columns) = ((self.pictures * rows) as f64, inner as f64, columns as f64);
        Cost {
            flops: 2.0 * rows * inner * columns,
            bytes: self.product_bytes as f64 * (inner * columns + rows * (inner + columns)),
            passes: 0.0,
        }
    }

    /// Attention of `queries` over `keys`, all heads; scores stay on the chip.
    pub(super) fn attention(&self, queries: usize, keys: usize, width: usize) -> Cost {
        let (pictures, width) = (self.pictures as f64, width as f64);
        let (queries, keys) = (queries as f64, keys as f64);
        Cost {
            flops: pictures * 4.0 * queries * keys * width,
            bytes: pictures * self.product_bytes as f64 * 2.0 * width * (queries + keys),
            passes: 0.0,
        }
    }

    /// Numbers of every image that an operator without a product reads or writes.
    pub(super) fn pass(&self, numbers: usize) -> Cost {
        let passes = self.pictures as f64 * numbers as f64 * SUM_BYTES;
        Cost { passes, ..Cost::default() }
    }

    /// A layer or group norm: two means, difference, square, quotient, scale, shift.
    pub(super) fn norm(&self, numbers: usize) -> Cost {
        self.pass(self.operators.passes(13) * numbers)
    }

    /// Erf GELU.
    pub(super) fn gelu(&self, numbers: usize) -> Cost {
        self.pass(self.operators.passes(11) * numbers)
    }

    /// A comparison, and a mask that is read with what it masks.
    pub(super) fn relu(&self, numbers: usize) -> Cost {
        self.pass(self.operators.passes(5) * numbers)
    }

    /// Maximum, difference, exponential, sum, quotient.
    pub(super) fn softmax(&self, numbers: usize) -> Cost {
        self.pass(self.operators.passes(8) * numbers)
    }

    /// A row added to every row.
    pub(super) fn bias(&self, numbers: usize) -> Cost {
        self.pass(2 * numbers)
    }

    /// Two tensors to one: a sum, or numbers behind a mask.
    pub(super) fn combine(&self, numbers: usize) -> Cost {
        self.pass(3 * numbers)
    }

    /// Each number to one other, or to another place.
    pub(super) fn each(&self, numbers: usize) -> Cost {
        self.pass(2 * numbers)
    }

    /// A linear layer with its bias.
    pub(super) fn linear(&self, rows: usize, inner: usize, columns: usize) -> Cost {
        self.product(rows, inner, columns) + self.bias(rows * columns)
    }

    /// A block of either tower: `streams` ways of attention over one projection.
    fn block(&self, tokens: usize, width: usize, hidden: usize, streams: usize) -> Cost {
        let norm = self.pass(2 * tokens * width);
        let add = self.pass(3 * tokens * width);
        norm * 2
            + self.product(tokens, width, 3 * width)
            + (self.attention(tokens, tokens, width) + add) * streams
            + self.product(streams * tokens, width, width)
            + self.product(tokens, width, hidden)
            + self.pass(2 * tokens * hidden)
            + self.product(tokens, hidden, width)
            + add
    }

    /// From pixels to tokens.
    fn patches(&self, vision: &VisionConfig) -> Cost {
        let grid = vision.grid();
        let Some(layers) = &vision.stem else {
            return self.product(grid * grid, 3 * vision.patch_size.pow(2), vision.width);
        };
        let (mut side, mut channels) = (vision.image_size, 3);
        let mut costs = Vec::new();
        for layer in layers {
            side /= layer.stride;
            costs.push(self.product(side * side, 9 * channels, layer.channels));
            costs.push(self.pass(2 * side * side * layer.channels));
            channels = layer.channels;
        }
        costs.into_iter().sum()
    }

    /// Pixels `[3, size, size]` to tokens of all captures.
    pub fn image_tower(&self, config: &FiloConfig) -> Cost {
        let vision = &config.vision;
        let tokens = 1 + vision.grid().pow(2);
        let dual = vision.layers - config.first_dual_block_index;
        let block = |streams| self.block(tokens, vision.width, vision.mlp_width(), streams);
        self.patches(vision)
            + self.pass(2 * tokens * vision.width)
            + block(1) * config.first_dual_block_index
            + block(2) * dual
            + self.product(1, vision.width, config.embed_dim)
    }

    /// Tokens to similarities: linear heads, and MMCI as one 7×7 convolution.
    pub fn map_heads(&self, config: &FiloConfig) -> Cost {
        let (patches, width) = (config.vision.grid().pow(2), config.vision.width);
        let embed = config.embed_dim;
        let heads = config.linear_heads() + config.mmci_heads();
        self.product(patches, width, embed) * config.linear_heads()
            + self.product(patches, MERGED_KERNEL.pow(2) * width, embed * config.mmci_heads())
            + self.pass(3 * patches * embed) * heads
            + self.product(patches, embed, 2) * heads
    }

    /// A prompt tree of `nodes` tokens with `ends` prompts. Prompts depend on the image, so every
    /// image has its own.
    pub fn text_tower(&self, config: &FiloConfig, nodes: usize, ends: usize) -> Cost {
        let width = config.text.width;
        self.pass(2 * nodes * width)
            + self.block(nodes, width, 4 * width, 1) * config.text.layers
            + self.product(ends, width, config.embed_dim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gflop(cost: Cost) -> f64 {
        cost.flops / 1e9
    }

    /// The figures that were counted by hand for the published size.
    #[test]
    fn the_published_size_is_counted_as_by_hand() {
        let config = FiloConfig::published();
        let one = Batch { pictures: 1, product_bytes: 4, operators: Operators::Fused };
        assert!((gflop(one.image_tower(&config)) - 1206.0).abs() < 6.0);
        // Linear heads 8.6, MMCI 317, similarities next to nothing.
        assert!((gflop(one.map_heads(&config)) - 325.6).abs() < 1.0);
        // 22 prompts of about 22 tokens; as one tree every token is compared with every other.
        assert!((gflop(one.text_tower(&config, 22 * 22, 22)) - 85.0).abs() < 8.5);
    }

    #[test]
    fn products_wait_for_the_slower_limit_and_passes_come_between() {
        let cost = Cost { flops: 6.0, bytes: 4.0, passes: 5.0 };
        assert_eq!([cost.seconds(2.0, 2.0), cost.seconds(6.0, 2.0)], [3.0 + 2.5, 2.0 + 2.5]);
    }

    #[test]
    fn arithmetic_grows_with_the_batch_and_weights_are_read_once() {
        let config = FiloConfig::published();
        let operators = Operators::Fused;
        let batch = |pictures| Batch { pictures, product_bytes: 4, operators };
        let [one, many] = [1, 8].map(batch);
        let [one, many] = [one, many].map(|batch| batch.image_tower(&config));
        assert_eq!(many.flops, 8.0 * one.flops);
        let weights = 8.0 * one.bytes - many.bytes;
        // Seven times the matrices: 24 blocks of 12 · 1024², patches and the projection.
        let matrices = 24 * 12 * 1024 * 1024 + 3 * 14 * 14 * 1024 + 1024 * 768;
        assert!((weights / 7.0 / 4.0 - f64::from(matrices)).abs() < 1.0, "{weights}");
    }
}
