//! Patches by several small convolutions instead of one large one: a start that small networks
//! learn from far fewer pictures. In: pictures `[batch, 3, size, size]`. Out: patches `[batch,
//! patches, width]`, row by row. (Xiao et al. 2021, "Early convolutions help transformers see
//! better".)

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{LayerNorm, LayerNormConfig, PaddingConfig2d};
use burn::tensor::{Tensor, backend::Backend};

use crate::model::kernels::{gelu, unfold};

const KERNEL: usize = 3;
const STRIDE: usize = 2;
const PADDING: usize = 1;

/// 3×3 convolutions of stride 2; between two of them a LayerNorm over channels and a GELU.
#[derive(Module, Debug)]
pub struct ConvStem<B: Backend> {
    pub convs: Vec<Conv2d<B>>,
    /// One less than `convs`: the tower has a norm behind the last.
    pub norms: Vec<LayerNorm<B>>,
}

impl<B: Backend> ConvStem<B> {
    /// A stem with random weights and `channels` after each convolution.
    pub fn new(channels: &[usize], layer_norm_eps: f64, device: &B::Device) -> Self {
        let inputs = std::iter::once(&3).chain(channels);
        let conv = |(&from, &to): (&usize, &usize)| {
            Conv2dConfig::new([from, to], [KERNEL, KERNEL])
                .with_stride([STRIDE, STRIDE])
                .with_padding(PaddingConfig2d::Explicit(PADDING, PADDING, PADDING, PADDING))
                .init(device)
        };
        let hidden = &channels[..channels.len().saturating_sub(1)];
        let norm = |&n: &usize| LayerNormConfig::new(n).with_epsilon(layer_norm_eps).init(device);
        ConvStem {
            convs: inputs.zip(channels).map(conv).collect(),
            norms: hidden.iter().map(norm).collect(),
        }
    }

    /// `[batch, 3, size, size]` → `[batch, patches, width]`.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 3> {
        let mut x = images.permute([0, 2, 3, 1]);
        for (i, conv) in self.convs.iter().enumerate() {
            x = convolve(conv, x);
            if let Some(norm) = self.norms.get(i) {
                x = gelu(norm.forward(x));
            }
        }
        x.flatten(1, 2)
    }
}

/// `conv` with channels last: `[batch, height, width, channels]`. One product, with a kernel of
/// rows `(y, x, channel)`.
fn convolve<B: Backend>(conv: &Conv2d<B>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    let rows = unfold(x, KERNEL, STRIDE, PADDING);
    let [batch, height, width, row] = rows.dims();
    let kernel = conv.weight.val();
    let out = kernel.dims()[0];
    let kernel = kernel.permute([2, 3, 1, 0]).reshape([row, out]);
    let product = rows.reshape([batch * height * width, row]).matmul(kernel);
    let bias = conv.bias.as_ref().map(|bias| bias.val().reshape([1, out]));
    let product = match bias {
        Some(bias) => product + bias,
        None => product,
    };
    product.reshape([batch, height, width, out])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend as B, TrainBackend, cpu};
    use burn::tensor::Distribution;

    #[test]
    fn one_product_gives_what_the_backends_convolution_gives() {
        let stem = ConvStem::<TrainBackend>::new(&[4, 6], 1e-5, &cpu());
        let x = Tensor::<TrainBackend, 4>::random([2, 3, 8, 8], Distribution::Default, &cpu());
        let x = x.require_grad();
        let conv = &stem.convs[0];
        let plain = conv.forward(x.clone());
        let own = convolve(conv, x.clone().permute([0, 2, 3, 1])).permute([0, 3, 1, 2]);
        let gradients = [plain, own].map(|y| {
            let gradients = (y.clone() * y.clone()).sum().backward();
            let weight = conv.weight.val().grad(&gradients).unwrap();
            (y.inner().into_data(), x.grad(&gradients).unwrap().into_data(), weight.into_data())
        });
        let [plain, own] = gradients;
        let close = burn::tensor::Tolerance::<f32>::absolute(1e-4);
        own.0.assert_approx_eq::<f32>(&plain.0, close);
        own.1.assert_approx_eq::<f32>(&plain.1, close);
        own.2.assert_approx_eq::<f32>(&plain.2, close);
    }

    #[test]
    fn every_convolution_halves_the_picture() {
        let stem = ConvStem::<B>::new(&[4, 6, 10], 1e-5, &cpu());
        let x = Tensor::<B, 4>::ones([2, 3, 32, 32], &cpu());
        assert_eq!(stem.forward(x).dims(), [2, 16, 10]);
    }
}
