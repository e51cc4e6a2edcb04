//! Fusion of image and text tokens: one score matrix, read both ways (Grounding DINO, figure 3,
//! after GLIP). In: both token sets. Out: both, each having read the other.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, DType, Tensor, backend::Backend};

use crate::model::attention::{merge_heads, split_heads};
use crate::model::kernels::gpu::{self, Small};
use crate::model::linear::{Linear, LinearConfig};
use crate::model::norm::{LayerNorm, LayerNormConfig};
use crate::model::precision::{product, project, without_bias};

/// The published code keeps scores within this distance of zero, so that f16 does not overflow.
const SCORE_LIMIT: f32 = 50_000.0;

/// Dimensions of a [`FusionLayer`].
#[derive(Debug, Clone)]
pub struct FusionConfig {
    /// Channels of both token sets.
    pub d_model: usize,
    /// Inner channels, all heads together.
    pub inner: usize,
    pub heads: usize,
}

/// `v ← v̂ + γ_v ⊙ Δv`, `l ← l̂ + γ_l ⊙ Δl` with `v̂ = LN(v)`, `l̂ = LN(l)`.
#[derive(Module, Debug)]
pub struct FusionLayer<B: Backend> {
    pub layer_norm_v: LayerNorm<B>,
    pub layer_norm_l: LayerNorm<B>,
    pub attn: BiAttention<B>,
    /// `[d_model]`.
    pub gamma_v: Param<Tensor<B, 1>>,
    /// `[d_model]`.
    pub gamma_l: Param<Tensor<B, 1>>,
}

/// Attention in both directions from one score matrix `S = (Wq·v̂)·(Wk·l̂)ᵀ/√head_width`.
#[derive(Module, Debug)]
pub struct BiAttention<B: Backend> {
    /// Query, from the image.
    pub v_proj: Linear<B>,
    /// Key, from the text.
    pub l_proj: Linear<B>,
    pub values_v_proj: Linear<B>,
    pub values_l_proj: Linear<B>,
    pub out_v_proj: Linear<B>,
    pub out_l_proj: Linear<B>,
    heads: usize,
}

/// The two token sets of a batch and where each holds nothing.
#[derive(Debug, Clone)]
pub struct ImageAndText<B: Backend> {
    /// `[batch, image tokens, d_model]`.
    pub image: Tensor<B, 3>,
    /// `[batch, text tokens, d_model]`.
    pub text: Tensor<B, 3>,
}

impl FusionConfig {
    pub fn init<B: Backend>(&self, device: &B::Device) -> FusionLayer<B> {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let norm = || LayerNormConfig::new(self.d_model).init(device);
        // What training starts from: the fusion adds next to nothing.
        let gamma = || Initializer::Constant { value: 1e-4 }.init([self.d_model], device);
        FusionLayer {
            layer_norm_v: norm(),
            layer_norm_l: norm(),
            attn: BiAttention {
                v_proj: linear(self.d_model, self.inner),
                l_proj: linear(self.d_model, self.inner),
                values_v_proj: linear(self.d_model, self.inner),
                values_l_proj: linear(self.d_model, self.inner),
                out_v_proj: linear(self.inner, self.d_model),
                out_l_proj: linear(self.inner, self.d_model),
                heads: self.heads,
            },
            gamma_v: gamma(),
            gamma_l: gamma(),
        }
    }
}

impl<B: Backend> FusionLayer<B> {
    /// `image_padding` `[batch, image tokens]` and `text_padding` `[batch, text tokens]` are true
    /// where a token holds nothing. Published code differs from the usual pre-norm block: the
    /// residual starts from the *normalised* inputs.
    pub fn forward(
        &self,
        tokens: ImageAndText<B>,
        image_padding: Tensor<B, 2, Bool>,
        text_padding: Tensor<B, 2, Bool>,
    ) -> ImageAndText<B> {
        if gpu::reaches::<B>() {
            return self.forward_on_gpu(tokens, Some(image_padding), text_padding);
        }
        let normed = ImageAndText {
            image: self.layer_norm_v.forward(tokens.image),
            text: self.layer_norm_l.forward(tokens.text),
        };
        let delta = self.attn.forward(&normed, image_padding, text_padding);
        ImageAndText {
            image: normed.image + delta.image * self.gamma_v.val().unsqueeze(),
            text: normed.text + delta.text * self.gamma_l.val().unsqueeze(),
        }
    }
}

impl<B: Backend> FusionLayer<B> {
    /// The same by our kernels for GPUs; no image has padding where `image_padding` is none.
    pub(super) fn forward_on_gpu(
        &self,
        tokens: ImageAndText<B>,
        image_padding: Option<Tensor<B, 2, Bool>>,
        text_padding: Tensor<B, 2, Bool>,
    ) -> ImageAndText<B> {
        let image = self.layer_norm_v.forward(tokens.image);
        let text = self.layer_norm_l.forward(tokens.text);
        let [(of_image, image_bias), (of_text, text_bias)] =
            self.attn.on_gpu(image.clone(), text.clone(), image_padding, text_padding);
        let [gamma_v, gamma_l] = [&self.gamma_v, &self.gamma_l].map(|gamma| Some(gamma.val()));
        ImageAndText {
            image: gpu::residual(image, of_image, image_bias, gamma_v),
            text: gpu::residual(text, of_text, text_bias, gamma_l),
        }
    }
}

impl<B: Backend> BiAttention<B> {
    /// Every projection between image width and inner width is applied on the text's side of a
    /// product, `(v̂·Wq)·kᵀ = v̂·(Wq·kᵀ)` and so on: a caption has tens of tokens where an image
    /// has thousands, and the whole costs a fifth. The numbers are the same up to rounding.
    fn forward(
        &self,
        tokens: &ImageAndText<B>,
        image_padding: Tensor<B, 2, Bool>,
        text_padding: Tensor<B, 2, Bool>,
    ) -> ImageAndText<B> {
        let ImageAndText { image, text } = tokens;
        let scores = stabilise(self.scores(image.clone(), text.clone()));
        ImageAndText {
            image: self.read_text(scores.clone(), text.clone(), text_padding),
            text: self.read_image(scores, image.clone(), image_padding),
        }
    }

    /// `S`, `[batch, image tokens, heads, text tokens]`.
    fn scores(&self, image: Tensor<B, 3>, text: Tensor<B, 3>) -> Tensor<B, 4> {
        let [batch, n, d_model] = image.dims();
        let keys = split_heads(project(&self.l_proj, text), self.heads).swap_dims(2, 3);
        let [_, heads, head_width, m] = keys.dims();
        let keys = keys * (head_width as f64).powf(-0.5);
        let query = product(split_columns(&self.v_proj, heads), keys.clone());
        let query = query.swap_dims(1, 2).reshape([batch, d_model, heads * m]);
        let scores = product(image, query);
        let scores = match &self.v_proj.bias {
            None => scores,
            Some(bias) => {
                let shift = product(bias.val().reshape([1, heads, 1, head_width]), keys);
                scores + shift.reshape([batch, 1, heads * m])
            }
        };
        scores.reshape([batch, n, heads, m])
    }

    /// What the image takes from the text: `out_v(softmax_text(S)·values_l(l̂))`.
    fn read_text(
        &self,
        scores: Tensor<B, 4>,
        text: Tensor<B, 3>,
        padding: Tensor<B, 2, Bool>,
    ) -> Tensor<B, 3> {
        let [batch, n, heads, m] = scores.dims();
        let attention = softmax(hide(scores, padding.unsqueeze_dims(&[1, 1])), 3);
        let values = split_heads(project(&self.values_l_proj, text), heads);
        let out = self.out_v_proj.weight.val();
        let [inner, d_model] = out.dims();
        let values = product(values, out.reshape([1, heads, inner / heads, d_model]));
        let values = values.reshape([batch, heads * m, d_model]);
        let read = product(attention.reshape([batch, n, heads * m]), values);
        match &self.out_v_proj.bias {
            None => read,
            Some(bias) => read + bias.val().unsqueeze(),
        }
    }

    /// What the text takes from the image: `out_l(softmax_image(Sᵀ)·values_v(v̂))`. Attention
    /// sums to 1, so the bias of `values_v` may be added after it.
    fn read_image(
        &self,
        scores: Tensor<B, 4>,
        image: Tensor<B, 3>,
        padding: Tensor<B, 2, Bool>,
    ) -> Tensor<B, 3> {
        let [batch, n, heads, m] = scores.dims();
        let d_model = image.dims()[2];
        let scores = scores.reshape([batch, n, heads * m]).swap_dims(1, 2);
        let scores = scores.reshape([batch, heads, m, n]);
        let row_max = scores.clone().max_dim(3);
        let scores = (scores - row_max).clamp(-SCORE_LIMIT, SCORE_LIMIT);
        let attention = softmax(hide(scores, padding.unsqueeze_dims(&[1, 1])), 3);
        let seen = product(attention.reshape([batch, heads * m, n]), image);
        let seen = seen.reshape([batch, heads, m, d_model]);
        let read = product(seen, split_columns(&self.values_v_proj, heads));
        let read = merge_heads(read);
        let read = match &self.values_v_proj.bias {
            None => read,
            Some(bias) => read + bias.val().unsqueeze(),
        };
        project(&self.out_l_proj, read)
    }
}

impl<B: Backend> BiAttention<B> {
    /// What the image and what the text takes, each with its last bias apart. Scores are not limited: a
    /// softmax in f32 gives the same without. Matmuls on the text's side have few columns; one small
    /// kernel each reads the layout that is there.
    fn on_gpu(
        &self,
        image: Tensor<B, 3>,
        text: Tensor<B, 3>,
        image_padding: Option<Tensor<B, 2, Bool>>,
        text_padding: Tensor<B, 2, Bool>,
    ) -> [(Tensor<B, 3>, Option<Tensor<B, 1>>); 2] {
        let ([batch, n, d_model], m, heads) = (image.dims(), text.dims()[1], self.heads);
        let inner = self.l_proj.weight.val().dims()[1];
        let width = inner / heads;
        let columns = heads * m;
        let flat = |matrix: Tensor<B, 2>| matrix.flatten::<1>(0, 1);

        // Of each head, as columns: keys [batch, m, heads · width] against a matrix of `rows`.
        let (keys, keys_bias) = without_bias(&self.l_proj, text.clone());
        let against_keys = |rows: Tensor<B, 1>, count: usize| Small {
            a: rows,
            a_strides: [0, width, inner, 1],
            a_bias: None,
            c: keys.clone().flatten(0, 2),
            c_strides: [m * inner, width, 1, inner],
            c_bias: keys_bias.clone(),
            bias: None,
            scale: (width as f32).powf(-0.5),
            sizes: [batch, heads, count, m],
            inner: width,
            out_strides: [count * columns, m, columns, 1],
        };
        let query = flat(self.v_proj.weight.val());
        let query = gpu::multiplied(against_keys(query, d_model), [batch, d_model, columns]);
        let scores = product(image.clone(), query);
        let shift = self
            .v_proj
            .bias
            .as_ref()
            .map(|bias| gpu::multiplied(against_keys(bias.val(), 1), [batch, heads, m]));

        // The image reads the text.
        let hidden = Some(text_padding.unsqueeze_dims::<4>(&[1, 1]));
        let attention = scores.clone().reshape([batch, n, heads, m]);
        let attention = gpu::softmax_rows(attention, shift, hidden, DType::F32);
        let (values, values_bias) = without_bias(&self.values_l_proj, text);
        let values = Small {
            a: values.flatten(0, 2),
            a_strides: [m * inner, width, inner, 1],
            a_bias: values_bias,
            c: flat(self.out_v_proj.weight.val()),
            c_strides: [0, width * d_model, d_model, 1],
            c_bias: None,
            bias: None,
            scale: 1.0,
            sizes: [batch, heads, m, d_model],
            inner: width,
            out_strides: [columns * d_model, m * d_model, d_model, 1],
        };
        let values = gpu::multiplied(values, [batch, columns, d_model]);
        let of_image = product(attention.reshape([batch, n, columns]), values);

        // The text reads the image; what is added to all scores of a text token changes no share.
        let seen = product(gpu::softmax_columns(scores, image_padding), image);
        let read = Small {
            a: seen.flatten(0, 2),
            a_strides: [columns * d_model, m * d_model, d_model, 1],
            a_bias: None,
            c: flat(self.values_v_proj.weight.val()),
            c_strides: [0, width, inner, 1],
            c_bias: None,
            bias: self.values_v_proj.bias.as_ref().map(|bias| bias.val()),
            scale: 1.0,
            sizes: [batch, heads, m, width],
            inner: d_model,
            out_strides: [m * inner, width, inner, 1],
        };
        let read = gpu::multiplied(read, [batch, m, inner]);
        let bias = self.out_v_proj.bias.as_ref().map(|bias| bias.val());
        [(of_image, bias), without_bias(&self.out_l_proj, read)]
    }
}

/// The weight `[from, heads · head_width]` as `[1, heads, from, head_width]`.
fn split_columns<B: Backend>(linear: &Linear<B>, heads: usize) -> Tensor<B, 4> {
    split_heads(linear.weight.val().unsqueeze_dim(0), heads)
}

/// `S − max S`, clamped. The published code takes the maximum over the whole batch; here it is
/// taken per image, so that no image's numbers depend on its neighbours in a batch. With one
/// image it is the same, and a softmax does not see the difference.
fn stabilise<B: Backend>(scores: Tensor<B, 4>) -> Tensor<B, 4> {
    let batch = scores.dims()[0];
    let largest = scores.clone().reshape([batch as i32, -1]).max_dim(1).reshape([batch, 1, 1, 1]);
    (scores - largest).clamp(-SCORE_LIMIT, SCORE_LIMIT)
}

/// −∞ where `hidden`, of the shape of `scores` or broadcast to it, is true.
fn hide<B: Backend>(scores: Tensor<B, 4>, hidden: Tensor<B, 4, Bool>) -> Tensor<B, 4> {
    let dims = scores.dims();
    scores.mask_fill(hidden.expand(dims), f32::NEG_INFINITY)
}
