//! Every dimension of a backbone. In: the `config.json` beside its weights. Out: a validated
//! configuration, the shapes of its outputs, and the operations it takes. No network file holds a
//! literal.

use serde::{Deserialize, Serialize};

use crate::model::config::ConfigError;
use crate::model::kernels::DEPTHWISE_KERNELS;

/// Bounds far beyond any network that exists: they keep out a slip in a `config.json`.
const MAX_CHANNELS: usize = 1 << 14;
const MAX_BLOCKS: usize = 256;
const MAX_STEM_KERNEL: usize = 15;

/// A network of inverted residual blocks (Sandler et al. 2018, "MobileNetV2", section 3.2) without
/// squeeze-and-excitation, as EfficientNet-Lite has them; ReLU6 throughout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneConfig {
    /// What it is called, such as `lite0`.
    pub name: String,
    pub normalisation: Normalisation,
    pub stem: StemConfig,
    pub blocks: Vec<BlockConfig>,
    /// Indices of the blocks whose outputs are the features, rising; the last block is one of them.
    pub taps: Vec<usize>,
}

/// What turns 8-bit RGB values into the input: `(value - mean) / standard_deviation`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Of red, green and blue, 0 to 255.
    pub mean: [f32; 3],
    pub standard_deviation: [f32; 3],
}

/// The convolution from three channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StemConfig {
    /// Edge length of its kernel, pixels.
    pub kernel: usize,
    /// 1, or 2 to halve the image.
    pub stride: usize,
    /// Output channels.
    pub channels: usize,
}

/// An inverted residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockConfig {
    /// Edge length of the depthwise kernel, 3 or 5.
    pub kernel: usize,
    /// 1, or 2 to halve height and width.
    pub stride: usize,
    /// Hidden channels per input channel; with 1 there is no expansion.
    pub expansion: usize,
    /// Output channels.
    pub channels: usize,
}

#[cfg(test)]
impl BlockConfig {
    /// A block of these dimensions, for the networks of tests.
    pub fn of(kernel: usize, stride: usize, expansion: usize, channels: usize) -> Self {
        BlockConfig { kernel, stride, expansion, channels }
    }
}

#[cfg(test)]
impl Normalisation {
    /// That of the embedded backbone.
    pub const USUAL: Self = Normalisation { mean: [127.0; 3], standard_deviation: [128.0; 3] };
}

impl BackboneConfig {
    /// Whether a network can be built from it.
    ///
    /// # Errors
    /// Names the first rule that does not hold.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let strides = self.blocks.iter().map(|block| block.stride).chain([self.stem.stride]);
        let channels = self.blocks.iter().map(|block| block.channels).chain([self.stem.channels]);
        let hidden = (0..self.blocks.len()).map(|i| self.hidden_channels(i));
        let Normalisation { mean, standard_deviation } = self.normalisation;
        let deviates = |deviation: &f32| *deviation > 0.0 && deviation.is_finite();
        let rules = [
            (!self.name.is_empty(), "name must not be empty"),
            (
                mean.iter().all(|mean| mean.is_finite()) && standard_deviation.iter().all(deviates),
                "normalisation must have finite means and positive standard deviations",
            ),
            (
                (1..=MAX_BLOCKS).contains(&self.blocks.len()),
                "blocks must have from 1 to 256 entries",
            ),
            (
                self.blocks.iter().all(|block| DEPTHWISE_KERNELS.contains(&block.kernel)),
                "kernels of blocks must be 3 or 5",
            ),
            (
                self.stem.kernel % 2 == 1 && self.stem.kernel <= MAX_STEM_KERNEL,
                "stem.kernel must be odd, at most 15",
            ),
            (strides.into_iter().all(|stride| (1..=2).contains(&stride)), "strides must be 1 or 2"),
            (
                channels.chain(hidden).all(|channels| (1..=MAX_CHANNELS).contains(&channels)),
                "channels, also expanded ones, must be from 1 to 16384",
            ),
            (
                self.taps.is_sorted_by(|a, b| a < b)
                    && self.taps.last().map(|tap| tap + 1) == Some(self.blocks.len()),
                "taps must rise and end with the last block",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(ConfigError { what: (*what).to_string() }),
            None => Ok(()),
        }
    }

    /// Channels that go into block `index`.
    pub fn input_channels(&self, index: usize) -> usize {
        match index.checked_sub(1) {
            Some(before) => self.blocks[before].channels,
            None => self.stem.channels,
        }
    }

    /// Channels between the convolutions of block `index`.
    pub fn hidden_channels(&self, index: usize) -> usize {
        self.input_channels(index).saturating_mul(self.blocks[index].expansion)
    }

    /// Channels of each tap.
    pub fn tap_channels(&self) -> Vec<usize> {
        self.taps.iter().map(|&tap| self.blocks[tap].channels).collect()
    }

    /// Input pixels per output pixel along one edge, of each tap.
    pub fn tap_strides(&self) -> Vec<usize> {
        let stride = |tap: usize| {
            self.blocks[..=tap].iter().fold(self.stem.stride, |stride, block| stride * block.stride)
        };
        self.taps.iter().map(|&tap| stride(tap)).collect()
    }

    /// Operations of the convolutions for one image of `size` × `size` pixels; a multiplication with
    /// its addition counts two.
    pub fn flops(&self, size: usize) -> f64 {
        let mut side = size.div_ceil(self.stem.stride);
        let stem = 3 * self.stem.kernel.pow(2) * self.stem.channels;
        let mut sum = (side * side * stem) as f64;
        for (i, block) in self.blocks.iter().enumerate() {
            let (inputs, hidden) = (self.input_channels(i), self.hidden_channels(i));
            if block.expansion != 1 {
                sum += (side * side * inputs * hidden) as f64;
            }
            side = side.div_ceil(block.stride);
            sum += (side * side * hidden * (block.kernel.pow(2) + block.channels)) as f64;
        }
        2.0 * sum
    }
}

/// Zeros before the first and behind the last of `length` pixels, so that a convolution has
/// `length / stride` outputs, rounded up: TensorFlow's "SAME". With stride 2 and an even length
/// there is one more behind than before.
pub fn same_padding(length: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let covered = (length.div_ceil(stride).max(1) - 1) * stride + kernel;
    let padding = covered.saturating_sub(length);
    (padding / 2, padding - padding / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> BackboneConfig {
        let block = BlockConfig::of;
        BackboneConfig {
            name: "small".into(),
            normalisation: Normalisation::USUAL,
            stem: StemConfig { kernel: 3, stride: 2, channels: 8 },
            blocks: vec![block(3, 1, 1, 4), block(5, 2, 6, 6)],
            taps: vec![0, 1],
        }
    }

    #[test]
    fn padding_is_that_of_tensorflow() {
        assert_eq!(same_padding(256, 3, 2), (0, 1));
        assert_eq!(same_padding(64, 5, 2), (1, 2));
        assert_eq!(same_padding(65, 3, 2), (1, 1));
        assert_eq!(same_padding(7, 5, 1), (2, 2));
        assert_eq!(same_padding(1, 1, 2), (0, 0));
    }

    #[test]
    fn shapes_and_operations_are_counted_as_by_hand() {
        let config = config();
        assert_eq!((config.tap_channels(), config.tap_strides()), (vec![4, 6], vec![2, 4]));
        // Stem 4·4·27·8; block 0: 16·(8·9 + 8·4); block 1: 16·4·24 + 4·24·(25 + 6).
        assert_eq!(config.flops(8), 2.0 * (3456.0 + 1664.0 + 1536.0 + 2976.0));
    }

    #[test]
    fn a_configuration_that_describes_no_network_is_refused() {
        assert_eq!(config().validate(), Ok(()));
        let broken: [fn(&mut BackboneConfig); 7] = [
            |config| config.taps = vec![1, 0],
            |config| config.taps = vec![0],
            |config| config.blocks.clear(),
            |config| config.blocks[0].kernel = 4,
            |config| config.blocks[1].stride = 3,
            |config| config.blocks[1].expansion = 0,
            |config| config.normalisation.standard_deviation[1] = 0.0,
        ];
        for change in broken {
            let mut config = config();
            change(&mut config);
            assert!(config.validate().is_err(), "{config:?}");
        }
    }
}
