//! Patch features, by which images are compared with references. In: a batch, and what the image tower
//! made of it. Out: for each image features `[grid², channels]` on the grid of the references. From the
//! embedded backbone, or from FiLo's own patch tokens, which cost no pass of their own.

use burn::tensor::{Tensor, TensorData};

use super::batch::Prepared;
use super::localise::floats;
use super::prepare::ReferredPlanes;
use crate::device::{Device, NetworkBackend};
use crate::error::WeightsError;
use crate::image::ChannelStats;
use crate::model::clip::vision::ImageTokens;
use crate::model::config::FiloConfig;
use crate::reference::{Grid, IMAGE_SIZE, on_grid, projection};
use crate::weights::backbone::{LoadedBackbone, embedded_backbone};

/// Channels that each stream of patch tokens is projected to.
const TOKEN_CHANNELS: usize = 64;

/// What makes patch features.
pub enum FeatureMaker<B: NetworkBackend> {
    Backbone(Box<LoadedBackbone<B>>),
    PatchTokens(Box<PatchTokens<B>>),
}

/// FiLo's own tokens and how they are projected.
pub struct PatchTokens<B: NetworkBackend> {
    /// `[1, width, TOKEN_CHANNELS]`.
    projection: Tensor<B, 3>,
    id: String,
}

impl<B: NetworkBackend> FeatureMaker<B> {
    /// The embedded backbone.
    ///
    /// # Errors
    /// If its weights are damaged.
    pub fn backbone(device: &Device) -> Result<Self, WeightsError> {
        embedded_backbone(device).map(Box::new).map(FeatureMaker::Backbone)
    }

    /// FiLo's own tokens, each stream projected by fixed random signs: distances between projections
    /// are those between tokens, but for a spread that falls with the number of channels.
    pub fn patch_tokens(config: &FiloConfig, device: &Device) -> Self {
        let width = config.vision.width;
        let numbers = projection(width, TOKEN_CHANNELS);
        let data = TensorData::new(numbers, [1, width, TOKEN_CHANNELS]);
        let projection = Tensor::from_data(data, &B::own(device));
        let id = format!("tokens-{width}-{TOKEN_CHANNELS}");
        FeatureMaker::PatchTokens(Box::new(PatchTokens { projection, id }))
    }

    /// Tells these features from all others.
    pub fn id(&self) -> &str {
        match self {
            FeatureMaker::Backbone(backbone) => &backbone.id,
            FeatureMaker::PatchTokens(tokens) => &tokens.id,
        }
    }

    /// What images must bring.
    pub fn planes(&self) -> ReferredPlanes {
        match self {
            FeatureMaker::PatchTokens(_) => ReferredPlanes::None,
            FeatureMaker::Backbone(backbone) => {
                let of_bytes = backbone.network.config().normalisation;
                let unit = |values: [f32; 3]| values.map(|value| value / 255.0);
                let (mean, std) = (unit(of_bytes.mean), unit(of_bytes.standard_deviation));
                ReferredPlanes::Backbone { size: IMAGE_SIZE, stats: ChannelStats { mean, std } }
            }
        }
    }

    /// The features of each image of a batch, whose tokens are `tokens`.
    pub fn features(
        &self,
        images: &[Prepared],
        tokens: &ImageTokens<B>,
        device: &Device,
    ) -> Vec<Vec<f32>> {
        let taps = match self {
            FeatureMaker::Backbone(backbone) => {
                let size = IMAGE_SIZE;
                let planes =
                    images.iter().flat_map(|image| &image.referred).flat_map(|of| &of.planes);
                let planes = TensorData::new::<f32, _>(
                    planes.copied().collect(),
                    [images.len(), 3, size, size],
                );
                backbone.network.features(Tensor::from_data(planes, &B::own(device)))
            }
            FeatureMaker::PatchTokens(of) => {
                // The value-value stream has the detail, the first ordinary capture the texture.
                let streams = std::iter::once(&tokens.value_value).chain(tokens.ordinary.first());
                let project = |stream: &Tensor<B, 3>| {
                    let [batch, tokens, _] = stream.dims();
                    let patches = stream.clone().narrow(1, 1, tokens - 1);
                    let side = (tokens - 1).isqrt();
                    let patches = normalised(patches).matmul(of.projection.clone());
                    patches.reshape([batch, side, side, TOKEN_CHANNELS])
                };
                streams.map(project).collect()
            }
        };
        let taps = taps.into_iter().map(|tap| {
            let [_, side, _, channels] = tap.dims();
            (side, channels, floats(tap))
        });
        let taps = taps.collect::<Vec<_>>();
        let of_image = |image: usize| {
            let grids = taps.iter().map(|(side, channels, values)| {
                let length = side * side * channels;
                let values = &values[image * length..][..length];
                Grid { side: *side, channels: *channels, values }
            });
            on_grid(&grids.collect::<Vec<_>>())
        };
        (0..images.len()).map(of_image).collect()
    }
}

/// Each token to length 1, times the root of its width.
fn normalised<B: NetworkBackend>(tokens: Tensor<B, 3>) -> Tensor<B, 3> {
    let width = tokens.dims()[2] as f64;
    let length = tokens.clone().powi_scalar(2).sum_dim(2).sqrt().clamp_min(1e-6);
    tokens / length * width.sqrt()
}
