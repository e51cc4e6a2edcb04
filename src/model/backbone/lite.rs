//! EfficientNet-Lite up to its last tapped block (Tan and Le 2019, "EfficientNet"; Lite has no
//! squeeze-and-excitation, and ReLU6 for swish). In: normalised images, channels first. Out: features
//! of the tapped blocks, channels last. Batch norms were folded into the convolutions when the
//! weights were converted.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::module::conv2d;
use burn::tensor::ops::{PadMode, PaddedConvOptions};
use burn::tensor::{Tensor, backend::Backend};

use super::config::{BackboneConfig, BlockConfig, StemConfig, same_padding};
use super::fused;
use crate::model::kernels::{linear, parts_of, unfold};

/// The network of a [`BackboneConfig`].
#[derive(Module, Debug)]
pub struct Backbone<B: Backend> {
    pub stem: StemConv<B>,
    pub blocks: Vec<Block<B>>,
    #[module(skip)]
    config: BackboneConfig,
}

/// `relu6(conv(x))` from three channels.
#[derive(Module, Debug)]
pub struct StemConv<B: Backend> {
    /// `[kernel, kernel, 3, channels]`, `(y, x, input, output)`.
    pub weight: Param<Tensor<B, 4>>,
    /// `[channels]`.
    pub bias: Param<Tensor<B, 1>>,
}

/// `x·W + b` for each pixel.
#[derive(Module, Debug)]
pub struct PointwiseConv<B: Backend> {
    /// `[inputs, outputs]`.
    pub weight: Param<Tensor<B, 2>>,
    /// `[outputs]`.
    pub bias: Param<Tensor<B, 1>>,
}

/// A convolution of each channel by itself.
#[derive(Module, Debug)]
pub struct DepthwiseConv<B: Backend> {
    /// `[kernel, kernel, channels]`, `(y, x, channel)`.
    pub weight: Param<Tensor<B, 3>>,
    /// `[channels]`.
    pub bias: Param<Tensor<B, 1>>,
}

/// An inverted residual block: `h = relu6(expand(x))`, or `x` without an expansion;
/// `y = project(relu6(depthwise(h)))`, plus `x` where it has the shape of `y`.
#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    pub expand: Option<PointwiseConv<B>>,
    pub depthwise: DepthwiseConv<B>,
    pub project: PointwiseConv<B>,
}

impl<B: Backend> Backbone<B> {
    /// A network with random weights, to be loaded over. `config` is valid.
    pub fn new(config: &BackboneConfig, device: &B::Device) -> Self {
        let pointwise = |inputs, outputs| PointwiseConv {
            weight: normal(inputs).init([inputs, outputs], device),
            bias: Initializer::Zeros.init([outputs], device),
        };
        let blocks = config.blocks.iter().enumerate().map(|(i, block)| {
            let (inputs, hidden) = (config.input_channels(i), config.hidden_channels(i));
            let kernel = block.kernel;
            Block {
                expand: (block.expansion != 1).then(|| pointwise(inputs, hidden)),
                depthwise: DepthwiseConv {
                    weight: normal(kernel * kernel).init([kernel, kernel, hidden], device),
                    bias: Initializer::Zeros.init([hidden], device),
                },
                project: pointwise(hidden, block.channels),
            }
        });
        let StemConfig { kernel, channels, .. } = config.stem;
        Backbone {
            stem: StemConv {
                weight: normal(3 * kernel * kernel).init([kernel, kernel, 3, channels], device),
                bias: Initializer::Zeros.init([channels], device),
            },
            blocks: blocks.collect(),
            config: config.clone(),
        }
    }

    /// Its dimensions.
    pub fn config(&self) -> &BackboneConfig {
        &self.config
    }

    /// `images` `[batch, 3, height, width]`, normalised by [`BackboneConfig::normalisation`], to the
    /// features of each tap, `[batch, height / stride, width / stride, channels]` with lengths rounded
    /// up. On a CPU an image's features are the same bits in any batch and with any number of threads.
    ///
    /// # Panics
    /// If the images have not three channels, or no pixels.
    pub fn features(&self, images: Tensor<B, 4>) -> Vec<Tensor<B, 4>> {
        fused::features(self, images).unwrap_or_else(|images| self.composed(images))
    }

    /// The same of the backend's own operators.
    pub(super) fn composed(&self, images: Tensor<B, 4>) -> Vec<Tensor<B, 4>> {
        let mut x = self.stem.forward(images.permute([0, 2, 3, 1]), &self.config.stem);
        let mut features = Vec::with_capacity(self.config.taps.len());
        for (i, (block, config)) in self.blocks.iter().zip(&self.config.blocks).enumerate() {
            x = block.forward(x, config);
            if self.config.taps.contains(&i) {
                features.push(x.clone());
            }
        }
        features
    }
}

/// Keeps the variance of what ReLU lets half of through (He et al. 2015).
fn normal(fan_in: usize) -> Initializer {
    Initializer::Normal { mean: 0.0, std: (2.0 / fan_in as f64).sqrt() }
}

fn relu6<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    x.clamp(0.0, 6.0)
}

impl<B: Backend> StemConv<B> {
    /// `[batch, height, width, 3]` → `[batch, rows, columns, channels]`.
    fn forward(&self, x: Tensor<B, 4>, config: &StemConfig) -> Tensor<B, 4> {
        let StemConfig { kernel, stride, channels } = *config;
        let [_, height, width, inputs] = x.dims();
        let padding = [height, width].map(|length| same_padding(length, kernel, stride));
        let x = x.pad(vec![padding[0], padding[1], (0, 0)], PadMode::Constant(0.0));
        let weight = self.weight.val().reshape([kernel * kernel * inputs, channels]);
        relu6(linear(unfold(x, kernel, stride, 0), weight, Some(self.bias.val()), parts_of))
    }
}

impl<B: Backend> PointwiseConv<B> {
    /// `[batch, height, width, inputs]` → `[batch, height, width, outputs]`.
    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        linear(x, self.weight.val(), Some(self.bias.val()), parts_of)
    }
}

impl<B: Backend> DepthwiseConv<B> {
    /// `[batch, height, width, channels]` → `[batch, rows, columns, channels]`.
    fn forward(&self, x: Tensor<B, 4>, config: &BlockConfig) -> Tensor<B, 4> {
        let BlockConfig { kernel, stride, .. } = *config;
        let [_, height, width, channels] = x.dims();
        let [rows, columns] = [height, width].map(|length| same_padding(length, kernel, stride));
        let options = PaddedConvOptions::asymmetric(
            [stride; 2],
            [rows.0, columns.0],
            [rows.1, columns.1],
            [1; 2],
            channels,
        );
        let weight = self.weight.val().permute([2, 0, 1]).unsqueeze_dim(1);
        let x = conv2d(x.permute([0, 3, 1, 2]), weight, Some(self.bias.val()), options);
        x.permute([0, 2, 3, 1])
    }
}

impl<B: Backend> Block<B> {
    /// `[batch, height, width, inputs]` → `[batch, rows, columns, outputs]`.
    fn forward(&self, x: Tensor<B, 4>, config: &BlockConfig) -> Tensor<B, 4> {
        let hidden = match &self.expand {
            Some(expand) => relu6(expand.forward(x.clone())),
            None => x.clone(),
        };
        let y = self.project.forward(relu6(self.depthwise.forward(hidden, config)));
        match config.stride == 1 && x.dims() == y.dims() {
            true => x + y,
            false => y,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend as Own, cpu};
    use crate::model::backbone::config::Normalisation;
    use burn::tensor::Distribution;

    /// Every kernel and stride, channels that fill no vector register, bands of one row and of many.
    fn config() -> BackboneConfig {
        let block = BlockConfig::of;
        BackboneConfig {
            name: "odd".into(),
            normalisation: Normalisation::USUAL,
            stem: StemConfig { kernel: 3, stride: 2, channels: 7 },
            blocks: vec![
                block(3, 1, 1, 5),
                block(5, 1, 67, 5),
                block(3, 2, 6, 12),
                block(3, 1, 3, 12),
                block(5, 2, 2, 9),
            ],
            taps: vec![1, 3, 4],
        }
    }

    fn network() -> Backbone<Own> {
        let mut network = Backbone::new(&config(), &cpu());
        let shifted = |bias: &Param<Tensor<Own, 1>>| {
            Param::from_tensor(bias.val().random_like(Distribution::Uniform(-0.5, 1.0)))
        };
        network.stem.bias = shifted(&network.stem.bias);
        for block in &mut network.blocks {
            block.depthwise.bias = shifted(&block.depthwise.bias);
            block.project.bias = shifted(&block.project.bias);
            if let Some(expand) = &mut block.expand {
                expand.bias = shifted(&expand.bias);
            }
        }
        network
    }

    fn noise(batch: usize, height: usize, width: usize) -> Tensor<Own, 4> {
        Tensor::random([batch, 3, height, width], Distribution::Uniform(-1.0, 1.0), &cpu())
    }

    #[test]
    fn the_fused_form_gives_what_the_operators_give_at_any_size() {
        let network = network();
        for (height, width) in [(64, 64), (37, 50), (129, 128), (8, 3), (1, 1)] {
            let images = noise(2, height, width);
            let plain = network.composed(images.clone());
            let fused = network.features(images);
            for ((plain, fused), stride) in plain.into_iter().zip(fused).zip(config().tap_strides())
            {
                let [_, rows, columns, _] = fused.dims();
                assert_eq!([rows, columns], [height.div_ceil(stride), width.div_ceil(stride)]);
                let largest = plain.clone().abs().max().into_scalar();
                let apart = (plain - fused).abs().max().into_scalar();
                assert!(apart <= 1e-5 * largest, "{height} × {width}: {apart:e} of {largest}");
            }
        }
    }

    #[test]
    fn an_image_has_the_same_bits_in_any_batch_and_with_any_number_of_threads() {
        let network = network();
        let images = noise(5, 48, 48);
        let together = network.features(images.clone());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for i in 0..5 {
            let image = images.clone().narrow(0, i, 1);
            let alone = pool.install(|| network.features(image));
            for (together, alone) in together.iter().zip(alone) {
                assert_eq!(together.clone().narrow(0, i, 1).into_data(), alone.into_data());
            }
        }
    }

    #[test]
    fn no_images_have_no_features() {
        let features = network().features(noise(0, 16, 16));
        assert_eq!(features[0].dims(), [0, 8, 8, 5]);
    }

    #[test]
    fn what_is_not_a_number_stays_visible() {
        let images = noise(1, 16, 16) * f32::NAN;
        let features = network().features(images);
        assert!(features.into_iter().all(|tap| tap.is_nan().any().into_scalar() != 0));
    }
}
