//! The backbone on a CPU: one image on each core, all of it in memory that stays in the core's cache.
//! In: images and the network's parameters. Out: its features. Never here: gradients, and anything
//! that depends on the other images of the batch.

use burn::module::Param;
use burn::tensor::{Tensor, backend::Backend};
use rayon::prelude::*;

use super::config::{BackboneConfig, BlockConfig, StemConfig, same_padding};
use super::lite::{Backbone, PointwiseConv};
use crate::model::kernels::{
    Filter, ImageShape, InvertedResidual, Pointwise, Scratch, Values, multiply_relu6,
    tensor_on_cpu, values_on_cpu,
};

/// Numbers of the patches that the stem multiplies at a time, about.
const STEM_BAND: usize = 1 << 15;

/// [`Backbone::features`] on a CPU; `Err` gives the images of another backend back.
pub fn features<B: Backend>(
    network: &Backbone<B>,
    images: Tensor<B, 4>,
) -> Result<Vec<Tensor<B, 4>>, Tensor<B, 4>> {
    let images = values_on_cpu(images)?;
    let [batch, channels, height, width] = images.shape();
    assert!(channels == 3 && height * width > 0, "images have three channels, and pixels");
    let config = network.config();
    let parameters = Parameters::of(network);
    let input = ImageShape { height, width, channels };
    let shapes = tap_shapes(config, input);
    let mut taps = shapes.iter().map(|shape| vec![0.0; batch * shape.count()]).collect::<Vec<_>>();
    let mut of_images = (0..batch).map(|_| Vec::new()).collect::<Vec<_>>();
    for (tap, shape) in taps.iter_mut().zip(&shapes) {
        let parts = tap.chunks_exact_mut(shape.count());
        of_images.iter_mut().zip(parts).for_each(|(of_image, part)| of_image.push(part));
    }
    let pixels = images.read().par_chunks_exact(input.count());
    pixels.zip(of_images).for_each_init(Memory::default, |memory, (image, taps)| {
        memory.forward(config, &parameters, (image, input), taps);
    });
    let tensor = |(tap, shape): (Vec<f32>, &ImageShape)| {
        tensor_on_cpu(&images, tap, [batch, shape.height, shape.width, shape.channels])
    };
    Ok(taps.into_iter().zip(&shapes).map(tensor).collect())
}

fn tap_shapes(config: &BackboneConfig, input: ImageShape) -> Vec<ImageShape> {
    let stem = input.behind(config.stem.stride, config.stem.channels);
    let outputs = config.blocks.iter().scan(stem, |shape, block| {
        *shape = shape.behind(block.stride, block.channels);
        Some(*shape)
    });
    let outputs = outputs.collect::<Vec<_>>();
    config.taps.iter().map(|&tap| outputs[tap]).collect()
}

/// Weight and bias.
type Layer = [Values<1>; 2];

/// The numbers of all parameters.
struct Parameters {
    stem: Layer,
    blocks: Vec<BlockParameters>,
}

struct BlockParameters {
    expand: Option<Layer>,
    depthwise: Layer,
    project: Layer,
}

impl Parameters {
    fn of<B: Backend>(network: &Backbone<B>) -> Self {
        let pointwise = |layer: &PointwiseConv<B>| [flat(&layer.weight), flat(&layer.bias)];
        let blocks = network.blocks.iter().map(|block| BlockParameters {
            expand: block.expand.as_ref().map(pointwise),
            depthwise: [flat(&block.depthwise.weight), flat(&block.depthwise.bias)],
            project: pointwise(&block.project),
        });
        Parameters {
            stem: [flat(&network.stem.weight), flat(&network.stem.bias)],
            blocks: blocks.collect(),
        }
    }
}

fn flat<B: Backend, const D: usize>(parameter: &Param<Tensor<B, D>>) -> Values<1> {
    let tensor = parameter.val();
    let count = tensor.shape().num_elements();
    let values = values_on_cpu(tensor.reshape([count]));
    values.unwrap_or_else(|_| unreachable!("the images were found on the network's device"))
}

fn pointwise([weight, bias]: &Layer) -> Pointwise<'_> {
    Pointwise { weight: weight.read(), bias: bias.read() }
}

impl BlockParameters {
    /// The block for an image of `shape`.
    fn block(&self, config: &BlockConfig, shape: ImageShape) -> InvertedResidual<'_> {
        let BlockConfig { kernel, stride, .. } = *config;
        let before = |length| same_padding(length, kernel, stride).0;
        let [weight, bias] = &self.depthwise;
        InvertedResidual {
            expand: self.expand.as_ref().map(pointwise),
            filter: Filter {
                weight: weight.read(),
                bias: bias.read(),
                kernel,
                stride,
                padding: [before(shape.height), before(shape.width)],
            },
            project: pointwise(&self.project),
        }
    }
}

/// What one thread computes in.
#[derive(Default)]
struct Memory {
    /// Input and output of a block, in turn.
    images: [Vec<f32>; 2],
    patches: Vec<f32>,
    scratch: Scratch,
}

impl Memory {
    /// `image` `[3, height, width]` to the features of each tap.
    fn forward(
        &mut self,
        config: &BackboneConfig,
        parameters: &Parameters,
        (image, input): (&[f32], ImageShape),
        taps: Vec<&mut [f32]>,
    ) {
        let Memory { images: [x, y], patches, scratch } = self;
        let mut shape = input.behind(config.stem.stride, config.stem.channels);
        x.resize(shape.count(), 0.0);
        stem(&config.stem, &parameters.stem, (image, input), patches, x);
        let mut taps = config.taps.iter().zip(taps).peekable();
        for (i, (block, parameters)) in config.blocks.iter().zip(&parameters.blocks).enumerate() {
            let block = parameters.block(block, shape);
            let output = block.output(shape);
            y.resize(output.count(), 0.0);
            block.apply(x, shape, y, scratch);
            std::mem::swap(x, y);
            shape = output;
            if let Some((_, tap)) = taps.next_if(|(tap, _)| **tap == i) {
                tap.copy_from_slice(x);
            }
        }
    }
}

/// `out = relu6(conv(image))`, some rows of patches at a time. `image` has its channels first.
fn stem(
    config: &StemConfig,
    layer: &Layer,
    (image, input): (&[f32], ImageShape),
    patches: &mut Vec<f32>,
    out: &mut [f32],
) {
    let StemConfig { kernel, stride, channels } = *config;
    let output = input.behind(stride, channels);
    let patch = kernel * kernel * input.channels;
    let (row, out_row) = (output.width * patch, output.width * channels);
    let band = (STEM_BAND / row).clamp(1, output.height);
    let before = [input.height, input.width].map(|length| same_padding(length, kernel, stride).0);
    for (i, out) in out.chunks_mut(band * out_row).enumerate() {
        let rows = out.len() / out_row;
        patches.clear();
        patches.resize(rows * row, 0.0);
        for (y, line) in patches.chunks_exact_mut(row).enumerate() {
            let top = (i * band + y) * stride;
            for place in 0..patch {
                let [line_of_kernel, rest] = [place / (kernel * 3), place % (kernel * 3)];
                let (column_of_kernel, channel) = (rest / 3, rest % 3);
                let from = (top + line_of_kernel).checked_sub(before[0]);
                let Some(from) = from.filter(|from| *from < input.height) else { continue };
                let pixels = &image[(channel * input.height + from) * input.width..][..input.width];
                // Patches whose column lies in the image.
                let first = before[1].saturating_sub(column_of_kernel).div_ceil(stride);
                let start = (first * stride + column_of_kernel).saturating_sub(before[1]);
                let pixels = pixels.get(start..).unwrap_or_default().iter().step_by(stride);
                let targets = line.chunks_exact_mut(patch).skip(first);
                targets.zip(pixels).for_each(|(target, pixel)| target[place] = *pixel);
            }
        }
        multiply_relu6(out, patches, patch, &pointwise(layer));
    }
}
