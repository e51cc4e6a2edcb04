//! Swin transformer backbone (Liu et al. 2021). In: normalised images. Out: one feature map per
//! chosen stage. Padding of a batch takes part as ordinary pixels, as in the published model.
//! Maps are `[batch, height, width, channels]`.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};

use burn::tensor::ops::PadMode;
use burn::tensor::{DType, Tensor, backend::Backend};

use super::config::SwinConfig;
use super::window::{WindowAttention, WindowAttentionConfig, WindowGrid};
use crate::model::kernels::gpu::{self, Act, Before, Order, Patches};
use crate::model::kernels::{gelu, linear, parts_of};
use crate::model::linear::{Linear, LinearConfig};
use crate::model::norm::{LayerNorm, LayerNormConfig};
use crate::model::precision::{
    activated_on_gpu, convolve, kernel_as_matrix, project, without_bias,
};

/// The backbone.
#[derive(Module, Debug)]
pub struct SwinTransformer<B: Backend> {
    pub patch_embed: PatchEmbed<B>,
    pub layers: Vec<SwinStage<B>>,
}

/// Patches to tokens: a strided convolution and a LayerNorm.
#[derive(Module, Debug)]
pub struct PatchEmbed<B: Backend> {
    pub proj: Conv2d<B>,
    pub norm: LayerNorm<B>,
    patch: usize,
}

/// Blocks of one resolution, and what follows them.
#[derive(Module, Debug)]
pub struct SwinStage<B: Backend> {
    pub blocks: Vec<SwinBlock<B>>,
    /// To the next stage; the last one has none.
    pub downsample: Option<PatchMerging<B>>,
    /// Before the feature map that the detector reads; its result is not fed forward.
    pub output_norm: Option<LayerNorm<B>>,
}

/// `m = x + window_attention(LN x)`, `y = m + MLP(LN m)`.
#[derive(Module, Debug)]
pub struct SwinBlock<B: Backend> {
    pub norm1: LayerNorm<B>,
    pub attn: WindowAttention<B>,
    pub norm2: LayerNorm<B>,
    pub mlp: SwinMlp<B>,
    window: usize,
    shift: usize,
}

/// `fc2·GELU(fc1·x)`.
#[derive(Module, Debug)]
pub struct SwinMlp<B: Backend> {
    pub fc1: Linear<B>,
    pub fc2: Linear<B>,
}

/// Half the resolution, twice the channels: four neighbours side by side, LayerNorm, linear.
#[derive(Module, Debug)]
pub struct PatchMerging<B: Backend> {
    pub norm: LayerNorm<B>,
    pub reduction: Linear<B>,
}

impl SwinConfig {
    /// A backbone with random weights, to be loaded over.
    pub fn init<B: Backend>(&self, device: &B::Device) -> SwinTransformer<B> {
        let patch_embed = PatchEmbed {
            proj: Conv2dConfig::new([3, self.embed_dim], [self.patch, self.patch])
                .with_stride([self.patch, self.patch])
                .init(device),
            norm: LayerNormConfig::new(self.embed_dim).init(device),
            patch: self.patch,
        };
        let layers = (0..self.depths.len()).map(|stage| self.init_stage(stage, device)).collect();
        SwinTransformer { patch_embed, layers }
    }

    fn init_stage<B: Backend>(&self, stage: usize, device: &B::Device) -> SwinStage<B> {
        let width = self.width(stage);
        let norm = |width| LayerNormConfig::new(width).init(device);
        let is_last = stage + 1 == self.depths.len();
        SwinStage {
            blocks: (0..self.depths[stage]).map(|i| self.init_block(stage, i, device)).collect(),
            downsample: (!is_last).then(|| PatchMerging {
                norm: norm(4 * width),
                reduction: LinearConfig::new(4 * width, 2 * width).without_bias().init(device),
            }),
            output_norm: self.out_stages.contains(&stage).then(|| norm(width)),
        }
    }

    fn init_block<B: Backend>(&self, stage: usize, i: usize, device: &B::Device) -> SwinBlock<B> {
        let (width, heads, window) = (self.width(stage), self.num_heads[stage], self.window);
        SwinBlock {
            norm1: LayerNormConfig::new(width).init(device),
            attn: WindowAttentionConfig { width, heads, window }.init(device),
            norm2: LayerNormConfig::new(width).init(device),
            mlp: SwinMlp {
                fc1: LinearConfig::new(width, self.mlp_ratio * width).init(device),
                fc2: LinearConfig::new(self.mlp_ratio * width, width).init(device),
            },
            window,
            shift: if i % 2 == 1 { window / 2 } else { 0 },
        }
    }
}

impl<B: Backend> SwinTransformer<B> {
    /// `images` `[batch, 3, height, width]` → the normalised maps of the chosen stages,
    /// `[batch, channels, h, w]`, finest first.
    pub fn forward(&self, images: Tensor<B, 4>) -> Vec<Tensor<B, 4>> {
        let mut x = self.patch_embed.forward(images);
        let mut features = Vec::new();
        for stage in &self.layers {
            x = stage.forward(x);
            features.extend(stage.feature(&x));
            if let Some(downsample) = &stage.downsample {
                x = downsample.forward(x);
            }
        }
        features
    }
}

impl<B: Backend> PatchEmbed<B> {
    /// `[batch, 3, height, width]` → `[batch, ⌈height/patch⌉, ⌈width/patch⌉, channels]`; the
    /// image is filled up with zeros on the right and below.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 4> {
        if gpu::reaches::<B>() {
            return self.forward_on_gpu(images);
        }
        let [_, _, height, width] = images.dims();
        let fill = |size: usize| size.next_multiple_of(self.patch) - size;
        let images = match (fill(height), fill(width)) {
            (0, 0) => images,
            (below, right) => images.pad((0, right, 0, below), PadMode::Constant(0.0)),
        };
        self.norm.forward(convolve(&self.proj, images).permute([0, 2, 3, 1]))
    }

    fn forward_on_gpu(&self, images: Tensor<B, 4>) -> Tensor<B, 4> {
        let [_, _, height, width] = images.dims();
        let grid = [height, width].map(|size| size.div_ceil(self.patch));
        let (kernel, order) = (self.patch, Order::Lines);
        let patches = Patches { kernel, stride: kernel, padding: 0, grid, order };
        let patches = gpu::unfolded(images.permute([0, 2, 3, 1]), patches);
        let rows = linear(patches, kernel_as_matrix(self.proj.weight.val()), None, parts_of);
        let bias = self.proj.bias.as_ref().map(|bias| bias.val());
        let before = Before { bias, ..Before::default() };
        gpu::normed(rows, before, &self.norm, DType::F32)
    }
}

impl<B: Backend> SwinStage<B> {
    /// The blocks: shape in, same shape out, before the output norm.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.blocks.iter().fold(x, |x, block| block.forward(x))
    }

    /// The map that the detector reads, `[batch, channels, h, w]`, if it reads this stage.
    pub fn feature(&self, x: &Tensor<B, 4>) -> Option<Tensor<B, 4>> {
        let norm = self.output_norm.as_ref()?;
        Some(norm.forward(x.clone()).permute([0, 3, 1, 2]))
    }
}

impl<B: Backend> SwinBlock<B> {
    /// Shape in, same shape out.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        if gpu::reaches::<B>() && gpu::attends(x.dims()[3], self.attn.heads()) {
            return self.forward_on_gpu(x);
        }
        let mid = x.clone() + self.attend(self.norm1.forward(x));
        mid.clone() + self.mlp.forward(self.norm2.forward(mid))
    }

    /// Attention reads and writes pixels where they lie: nothing is cut or joined.
    fn forward_on_gpu(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let shape @ [batch, height, width, channels] = x.dims();
        let grid = WindowGrid { height, width, window: self.window, shift: self.shift };
        let x = x.reshape([batch, height * width, channels]);
        let step = self.attn.forward_on_gpu(self.norm1.forward(x.clone()), grid);
        let [mid, normed] = gpu::summed_and_normed(x, Before::step(step), &self.norm2, DType::F32);
        let hidden = activated_on_gpu(&self.mlp.fc1, normed, Act::GeluErf);
        let (step, bias) = without_bias(&self.mlp.fc2, hidden);
        gpu::residual(mid, step, bias, None).reshape(shape)
    }

    /// Window attention on a map of any size. Filling takes part as ordinary keys. The published
    /// model shifts whatever the size, even where one window covers all.
    fn attend(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [_, height, width, _] = x.dims();
        let grid = WindowGrid { height, width, window: self.window, shift: self.shift };
        let mask = grid.mask(&x.device());
        grid.join(self.attn.forward(grid.cut(x), mask))
    }
}

impl<B: Backend> SwinMlp<B> {
    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        project(&self.fc2, gelu(project(&self.fc1, x)))
    }
}

impl<B: Backend> PatchMerging<B> {
    /// `[batch, h, w, c]` → `[batch, ⌈h/2⌉, ⌈w/2⌉, 2c]`.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [batch, h, w, c] = x.dims();
        let (rows, columns) = (h.div_ceil(2), w.div_ceil(2));
        if gpu::reaches::<B>() {
            let (grid, order) = ([rows, columns], Order::Columns);
            let patches = Patches { kernel: 2, stride: 2, padding: 0, grid, order };
            return project(&self.reduction, self.norm.forward(gpu::unfolded(x, patches)));
        }
        let x = if (2 * rows, 2 * columns) == (h, w) {
            x
        } else {
            let fill = [(0, 0), (0, 2 * rows - h), (0, 2 * columns - w), (0, 0)];
            x.pad(fill, PadMode::Constant(0.0))
        };
        // Neighbours in the order (row, column) = (0,0), (1,0), (0,1), (1,1).
        let x = x.reshape([batch, rows, 2, columns, 2, c]).permute([0, 1, 3, 4, 2, 5]).reshape([
            batch,
            rows,
            columns,
            4 * c,
        ]);
        project(&self.reduction, self.norm.forward(x))
    }
}
