//! Every dimension of the CLIP side of FiLo. `tiny` models of tests, the embedded default and the
//! published ViT-L/14-336 at 518 px are values of one type; no network file holds a literal.
//! The JSON form is the `config.json` that lies beside a weights file; unknown keys are ignored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clip::tokenizer::{CONTEXT_LENGTH, END_ID};

/// Bounds far beyond any network that exists: what they keep out is a slip in a `config.json` that
/// would ask for more memory than there is before the first tensor is compared.
const MAX_SIZE: usize = 1 << 20;
const MAX_BLOCKS: usize = 256;
const MAX_GRID: usize = 512;

/// Image tower: a ViT whose last blocks also carry a value-value stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VisionConfig {
    /// Edge length of the square input, pixels. A multiple of `patch_size`.
    pub image_size: usize,
    /// Edge length of a patch, pixels.
    pub patch_size: usize,
    /// Channels of a token.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Channels of one attention head; `width` is a multiple of it.
    pub head_width: usize,
    /// Hidden channels of a block's MLP; 4 × `width` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mlp_width: Option<usize>,
    /// Convolutions of the stem: the last one has `width` channels, and the strides multiply to
    /// `patch_size`. Absent: patches are made by one convolution, as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stem: Option<Vec<StemLayer>>,
}

/// A 3×3 convolution of the stem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StemLayer {
    /// Channels behind it.
    pub channels: usize,
    /// 1, or 2 to halve the image.
    pub stride: usize,
}

impl VisionConfig {
    /// Patches along one side of the image.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Attention heads per block.
    pub fn heads(&self) -> usize {
        self.width / self.head_width
    }

    /// Hidden channels of a block's MLP.
    pub fn mlp_width(&self) -> usize {
        self.mlp_width.unwrap_or(self.width.saturating_mul(4))
    }

    /// Whether the stem, if there is one, makes patches of `patch_size` with `width` channels.
    fn stem_fits(&self) -> bool {
        let Some(layers) = &self.stem else { return true };
        let side = layers.iter().try_fold(1usize, |side, layer| side.checked_mul(layer.stride));
        side == Some(self.patch_size)
            && layers.len() <= MAX_BLOCKS
            && layers.last().is_some_and(|layer| layer.channels == self.width)
            && layers.iter().all(|layer| {
                (1..=MAX_SIZE).contains(&layer.channels) && (1..=2).contains(&layer.stride)
            })
    }
}

/// Text tower: a causal transformer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TextConfig {
    /// Longest prompt, tokens, start and end token included.
    pub context_length: usize,
    /// Rows of the token table.
    pub vocab_size: usize,
    /// Channels of a token.
    pub width: usize,
    /// Attention heads per block.
    pub heads: usize,
    /// Number of blocks.
    pub layers: usize,
}

/// The activation inside the MLPs of both towers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x·Φ(x)`: what the published release runs at 518 px, although its backbone was trained
    /// with [`Activation::QuickGelu`].
    #[default]
    GeluErf,
    /// `x·sigmoid(1.702·x)`: OpenAI's own, which the release would use at exactly 336 px.
    QuickGelu,
}

/// FiLo without its detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FiloConfig {
    pub vision: VisionConfig,
    pub text: TextConfig,
    /// Channels in which images and texts meet.
    pub embed_dim: usize,
    #[serde(default)]
    pub activation: Activation,
    #[serde(default = "default_layer_norm_eps")]
    pub layer_norm_eps: f64,
    /// Blocks, counted from 1, after which tokens are captured for the map heads. The first is
    /// the last ordinary block, which is where the value-value stream starts.
    pub features_list: Vec<usize>,
    /// Index, counted from 0, of the first block with a value-value stream.
    pub first_dual_block_index: usize,
    /// Learnable context tokens in front of every prompt.
    pub n_ctx: usize,
    /// Hidden channels of the net that turns the image feature into a shift of the context.
    pub meta_net_hidden: usize,
    /// Hidden channels of the image adapter.
    pub adapter_hidden: usize,
    /// Share of a map's pixels, the highest ones, whose mean is the map's part in the image score.
    /// Absent: the highest pixel alone, as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_share: Option<f64>,
}

fn default_layer_norm_eps() -> f64 {
    1e-5
}

/// A configuration that no network can be built from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config: {what}: correct config.json beside the weights")]
pub struct ConfigError {
    pub what: String,
}

impl FiloConfig {
    /// The published size: CLIP ViT-L/14-336 at 518 px (518 = 37 patches).
    pub fn published() -> Self {
        FiloConfig {
            vision: VisionConfig {
                image_size: 518,
                patch_size: 14,
                width: 1024,
                layers: 24,
                head_width: 64,
                mlp_width: None,
                stem: None,
            },
            text: TextConfig {
                context_length: 77,
                vocab_size: 49_408,
                width: 768,
                heads: 12,
                layers: 12,
            },
            embed_dim: 768,
            activation: Activation::GeluErf,
            layer_norm_eps: default_layer_norm_eps(),
            features_list: vec![6, 12, 18, 24],
            first_dual_block_index: 6,
            n_ctx: 12,
            meta_net_hidden: 48,
            adapter_hidden: 384,
            peak_share: None,
        }
    }

    /// Map heads of the linear kind: one per capture.
    pub fn linear_heads(&self) -> usize {
        self.features_list.len()
    }

    /// Map heads of the convolutional kind: one per capture after the first.
    pub fn mmci_heads(&self) -> usize {
        self.features_list.len() - 1
    }

    /// Checks what the networks take for granted.
    ///
    /// # Errors
    /// Names the first rule that does not hold.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some((key, _)) = self.sizes().iter().find(|(_, n)| !(1..=MAX_SIZE).contains(n)) {
            return Err(ConfigError { what: format!("{key} must be from 1 to {MAX_SIZE}") });
        }
        let rules = [
            (
                self.vision.image_size.is_multiple_of(self.vision.patch_size),
                "vision.image_size must be a multiple of vision.patch_size",
            ),
            (
                self.vision.width.is_multiple_of(self.vision.head_width),
                "vision.width must be a multiple of vision.head_width",
            ),
            (
                self.vision.stem_fits(),
                "vision.stem must end with vision.width channels, its strides (1 or 2) multiply to \
                 vision.patch_size",
            ),
            (
                self.text.width.is_multiple_of(self.text.heads),
                "text.width must be a multiple of text.heads",
            ),
            (self.vision.layers <= MAX_BLOCKS, "vision.layers must be at most 256"),
            (self.text.layers <= MAX_BLOCKS, "text.layers must be at most 256"),
            (self.vision.grid() <= MAX_GRID, "vision.image_size must be at most 512 patches"),
            (
                self.features_list.first() == Some(&self.first_dual_block_index),
                "features_list must start at first_dual_block_index",
            ),
            (
                self.features_list.windows(2).all(|pair| pair[0] < pair[1])
                    && self.features_list.last() == Some(&self.vision.layers),
                "features_list must rise and end at vision.layers",
            ),
            (
                self.peak_share.is_none_or(|share| share > 0.0 && share <= 1.0),
                "peak_share must be above 0 and at most 1",
            ),
            (self.first_dual_block_index > 0, "first_dual_block_index must be above 0"),
            (self.features_list.len() > 1, "features_list needs two captures or more"),
            (
                (self.n_ctx + 3..=MAX_SIZE).contains(&self.text.context_length),
                "text.context_length must leave room for n_ctx and a prompt",
            ),
        ];
        first_broken(&rules)
    }

    /// Checks that the embedded tokenizer's prompts fit the text tower.
    ///
    /// # Errors
    /// Names the first rule that does not hold.
    pub fn validate_for_tokenizer(&self) -> Result<(), ConfigError> {
        first_broken(&[
            (
                self.text.context_length == CONTEXT_LENGTH && self.n_ctx < CONTEXT_LENGTH - 2,
                "text.context_length must be 77, the tokenizer's, with room beside n_ctx",
            ),
            (
                self.text.vocab_size > END_ID as usize,
                "text.vocab_size must hold the tokenizer's 49408 tokens",
            ),
        ])
    }

    /// Every dimension with its key; zero is no size.
    fn sizes(&self) -> [(&'static str, usize); 14] {
        [
            ("vision.image_size", self.vision.image_size),
            ("vision.patch_size", self.vision.patch_size),
            ("vision.width", self.vision.width),
            ("vision.layers", self.vision.layers),
            ("vision.head_width", self.vision.head_width),
            ("vision.mlp_width", self.vision.mlp_width()),
            ("text.vocab_size", self.text.vocab_size),
            ("text.width", self.text.width),
            ("text.heads", self.text.heads),
            ("text.layers", self.text.layers),
            ("embed_dim", self.embed_dim),
            ("n_ctx", self.n_ctx),
            ("meta_net_hidden", self.meta_net_hidden),
            ("adapter_hidden", self.adapter_hidden),
        ]
    }
}

fn first_broken(rules: &[(bool, &str)]) -> Result<(), ConfigError> {
    match rules.iter().find(|(holds, _)| !holds) {
        Some((_, what)) => Err(ConfigError { what: (*what).to_string() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_size_is_valid_and_has_37_patches_a_side() {
        let config = FiloConfig::published();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.vision.grid(), 37);
        assert_eq!((config.linear_heads(), config.mmci_heads()), (4, 3));
    }

    #[test]
    fn a_picture_side_that_patches_do_not_divide_is_refused() {
        let mut config = FiloConfig::published();
        config.vision.image_size = 512;
        assert!(config.validate().unwrap_err().what.contains("image_size"));
    }

    #[test]
    fn a_stem_that_makes_other_patches_is_refused() {
        let mut config = FiloConfig::published();
        let stem = |last: usize| {
            let layers = [(32, 2), (64, 2), (64, 1), (last, 2)];
            Some(layers.map(|(channels, stride)| StemLayer { channels, stride }).to_vec())
        };
        config.vision.stem = stem(1024);
        assert!(config.validate().unwrap_err().what.starts_with("vision.stem"));
        config.vision.patch_size = 8;
        config.vision.image_size = 512;
        assert_eq!(config.validate(), Ok(()));
        config.vision.stem = stem(512);
        assert!(config.validate().unwrap_err().what.starts_with("vision.stem"));
    }

    #[test]
    fn a_peak_is_a_share_of_the_map() {
        let what = |share| {
            let config = FiloConfig { peak_share: Some(share), ..FiloConfig::published() };
            config.validate().map_err(|error| error.what)
        };
        assert_eq!([what(0.02), what(1.0)], [Ok(()), Ok(())]);
        for share in [0.0, -0.5, 1.5, f64::NAN] {
            assert!(what(share).unwrap_err().starts_with("peak_share"), "{share}");
        }
    }

    #[test]
    fn a_size_of_nothing_or_beyond_reason_is_refused() {
        let refused = |change: fn(&mut FiloConfig)| {
            let mut config = FiloConfig::published();
            change(&mut config);
            config.validate().unwrap_err().what
        };
        assert_eq!(refused(|config| config.embed_dim = 0), "embed_dim must be from 1 to 1048576");
        assert!(refused(|config| config.text.width = 1 << 40).starts_with("text.width"));
        assert!(refused(|config| config.text.layers = 1000).starts_with("text.layers"));
        assert!(refused(|config| config.vision.image_size = 14 << 10).contains("512 patches"));
    }
}
