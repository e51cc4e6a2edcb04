//! The map heads: plain linear ones, and MMCI (multi-scale multi-shape cross-modal interaction):
//! six convolutions of different shapes over the patch grid, summed.
//! In: tokens `[batch, 1 + patches, width]`. Out: `[batch, patches, embed_dim]`.

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::ops::PadMode;
use burn::tensor::{DType, Tensor, backend::Backend};

use crate::model::config::FiloConfig;
use crate::model::derived::Derived;
use crate::model::kernels::{convolve, convolve_tokens, is_cpu, sum_centred};
use crate::model::linear::{Linear, LinearConfig};
use crate::model::precision::{kernel_as_matrix, rounds_products, same_format};

/// Edge length of the square that holds every MMCI kernel.
pub const MERGED_KERNEL: usize = 7;

/// Most numbers that the surroundings of patches are laid out in at once: 1 GiB in f32, three
/// images at the published size. Where operands are kept in parts, a quarter: the operand has three
/// copies beside it there.
const MAX_ROWS: usize = 256 << 20;

/// One linear head per capture.
#[derive(Module, Debug)]
pub struct LinearDecoder<B: Backend> {
    pub fc: Vec<Linear<B>>,
}

impl<B: Backend> LinearDecoder<B> {
    /// Heads with random weights, as a start for training or to be loaded over.
    pub fn new(config: &FiloConfig, device: &B::Device) -> Self {
        let linear = |_| LinearConfig::new(config.vision.width, config.embed_dim).init(device);
        LinearDecoder { fc: (0..config.linear_heads()).map(linear).collect() }
    }
}

/// The MMCI heads as they are trained and stored: for each shape a list with one convolution per
/// head. Field names tell kernel height and width.
#[derive(Module, Debug)]
pub struct Mmci<B: Backend> {
    pub fc_11: Vec<Conv2d<B>>,
    pub fc_33: Vec<Conv2d<B>>,
    pub fc_55: Vec<Conv2d<B>>,
    pub fc_77: Vec<Conv2d<B>>,
    pub fc_15: Vec<Conv2d<B>>,
    pub fc_51: Vec<Conv2d<B>>,
}

impl<B: Backend> Mmci<B> {
    /// Heads with random weights, as a start for training or to be loaded over.
    pub fn new(config: &FiloConfig, device: &B::Device) -> Self {
        let shape = |height, width| {
            (0..config.mmci_heads())
                .map(|_| {
                    Conv2dConfig::new([config.vision.width, config.embed_dim], [height, width])
                        .with_padding(PaddingConfig2d::Same)
                        .init(device)
                })
                .collect::<Vec<_>>()
        };
        Mmci {
            fc_11: shape(1, 1),
            fc_33: shape(3, 3),
            fc_55: shape(5, 5),
            fc_77: shape(7, 7),
            fc_15: shape(1, 5),
            fc_51: shape(5, 1),
        }
    }

    fn shapes(&self) -> [&Vec<Conv2d<B>>; 6] {
        [&self.fc_11, &self.fc_33, &self.fc_55, &self.fc_77, &self.fc_15, &self.fc_51]
    }

    /// All heads as one 7×7 convolution. Exact: convolutions are linear, so kernels add up when
    /// each is centred in the largest, and heads that read one tensor are more output channels.
    /// 49 taps per head instead of 94.
    pub fn merge(self) -> MergedMmci<B> {
        let heads = self.fc_11.len();
        let merged = (0..heads).map(|i| {
            let shapes = self.shapes();
            let kernels = shapes.map(|convs| convs[i].weight.val());
            let kernel = sum_centred(kernels, MERGED_KERNEL).unwrap_or_else(|kernels| {
                let centred = kernels.into_iter().map(centred);
                centred.reduce(|sum, part| sum + part).expect("there are six shapes")
            });
            let bias = shapes.iter().filter_map(|convs| convs[i].bias.as_ref().map(|b| b.val()));
            (kernel, bias.reduce(|sum, part| sum + part).expect("MMCI convolutions have a bias"))
        });
        let (kernels, biases) = merged.unzip::<_, _, Vec<_>, Vec<_>>();
        let kernel = as_products_read_it(Tensor::cat(kernels, 0));
        MergedMmci { kernel, parts: Derived::default(), bias: Tensor::cat(biases, 0), heads }
    }
}

/// The same kernel `[outputs, inputs, k, k]`, in memory place by place and input by input: the order
/// in which [`convolve_tokens`] multiplies it, so that it is laid out once and not for every image.
fn as_products_read_it<B: Backend>(kernel: Tensor<B, 4>) -> Tensor<B, 4> {
    let [outputs, inputs, height, width] = kernel.dims();
    kernel_as_matrix(kernel).reshape([height, width, inputs, outputs]).permute([3, 2, 0, 1])
}

/// A kernel in the middle of a 7×7 one.
fn centred<B: Backend>(kernel: Tensor<B, 4>) -> Tensor<B, 4> {
    let [_, _, height, width] = kernel.dims();
    let (y, x) = ((MERGED_KERNEL - height) / 2, (MERGED_KERNEL - width) / 2);
    kernel.pad((x, x, y, y), PadMode::Constant(0.0))
}

/// All MMCI heads as one convolution, for inference.
#[derive(Debug, Clone)]
pub struct MergedMmci<B: Backend> {
    /// `[heads · embed_dim, width, 7, 7]`.
    kernel: Tensor<B, 4>,
    /// The large and the small part of `kernel`, as a matrix.
    parts: Derived<B, 1, 2>,
    /// `[heads · embed_dim]`.
    bias: Tensor<B, 1>,
    heads: usize,
}

impl<B: Backend> MergedMmci<B> {
    /// The same with the convolution in `format`; on a CPU, which would have to widen all of the
    /// kernel for every image, as it is.
    pub fn with_products_in(self, format: DType) -> Self {
        match is_cpu::<B>(&self.kernel.device()) {
            true => self,
            false => {
                let kernel = as_products_read_it(same_format(self.kernel, format));
                MergedMmci { kernel, parts: Derived::default(), ..self }
            }
        }
    }

    /// `tokens` `[batch, 1 + patches, width]` → one `[batch, patches, embed_dim]` per head.
    pub fn forward(&self, tokens: Tensor<B, 3>) -> Vec<Tensor<B, 3>> {
        let bias = self.bias.clone().reshape([1, 1, -1]);
        if let Some(out) = convolve_tokens(&without_class_token(tokens.clone()), &self.kernel) {
            return (out + bias).chunk(self.heads, 2);
        }
        let format = tokens.dtype();
        let patches = same_format(without_class_token(tokens), self.kernel.dtype());
        let [batch, count, width] = patches.dims();
        let most = if rounds_products(&patches) { MAX_ROWS / 4 } else { MAX_ROWS };
        let at_once = (most / (count * width * MERGED_KERNEL.pow(2))).max(1);
        let parts = (0..batch).step_by(at_once).map(|first| {
            let part = patches.clone().narrow(0, first, at_once.min(batch - first));
            same_format(self.as_one_product(part), format)
        });
        (Tensor::cat(parts.collect(), 0) + bias).chunk(self.heads, 2)
    }

    /// `patches` `[batch, side², width]` → `[batch, side², heads · embed_dim]`.
    fn as_one_product(&self, patches: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, count, width] = patches.dims();
        let side = count.isqrt();
        let grid = patches.reshape([batch, side, side, width]);
        let parts = |matrix| self.parts.parts_of(matrix);
        convolve(grid, self.kernel.clone(), 1, MERGED_KERNEL / 2, parts).flatten(1, 2)
    }
}

/// `[batch, 1 + patches, width]` → `[batch, patches, width]`.
pub fn without_class_token<B: Backend>(tokens: Tensor<B, 3>) -> Tensor<B, 3> {
    let patches = tokens.dims()[1] - 1;
    tokens.narrow(1, 1, patches)
}
