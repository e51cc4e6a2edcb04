//! The transformer block of the CLIP towers by our kernels for GPUs: what stands between two matmuls is
//! one kernel. In, out: as in `layers`. In f32 attention is one kernel too; in 16 bits its matmuls run on
//! matrix units.

use burn::tensor::{Bool, DType, Tensor, backend::Backend};

use super::attention::attend_to_some;
use super::config::Activation;
use super::kernels::gpu::{self, Act, Attention, Before, Columns, Unbiased};
use super::layers::{DualStep, FusedAttention, Mlp, ResidualBlock, Stream};
use super::precision::{activated_on_gpu, product, without_bias};

/// Most scores that are held at once: 1 GB in f32.
const MAX_SCORES: usize = 256 << 20;

impl<B: Backend> FusedAttention<B> {
    /// The attended values of the ordinary stream, then of the value-value stream if there are two, with
    /// the bias of the projection apart.
    fn on_gpu(
        &self,
        x: Tensor<B, 3>,
        hidden: Option<&Tensor<B, 4, Bool>>,
        streams: usize,
    ) -> Vec<Unbiased<B>> {
        let [batch, _, width] = x.dims();
        let (qkv, bias) = without_bias(&self.in_proj, x);
        if qkv.dtype() == DType::F32 && gpu::attends(width, self.heads) {
            let attended = (0..streams).map(|stream| {
                let part = |part: usize| Columns {
                    rows: qkv.clone(),
                    bias: bias.clone(),
                    first: part * width,
                };
                let [query, key] = if stream == 0 { [0, 1] } else { [2, 2] };
                let out = gpu::attended(Attention {
                    query: part(query),
                    key: part(key),
                    value: part(2),
                    heads: self.heads,
                    width,
                    position: None,
                    mask: None,
                    hidden: hidden.cloned(),
                    places: None,
                });
                without_bias(&self.out_proj, out)
            });
            return attended.collect();
        }
        let scale = ((width / self.heads) as f64).powf(-0.5);
        let qkv = gpu::split_fused(qkv, bias, self.heads, scale, streams);
        let out = gpu::merged(attend(qkv, hidden));
        let (rows, bias) = without_bias(&self.out_proj, out);
        let stream = |i| (rows.clone().narrow(0, i * batch, batch), bias.clone());
        (0..streams).map(stream).collect()
    }
}

/// `softmax(q·kᵀ)·v` by matmuls, as many images at once as [`MAX_SCORES`] allows.
fn attend<B: Backend>(
    [q, k, v]: [Tensor<B, 4>; 3],
    hidden: Option<&Tensor<B, 4, Bool>>,
) -> Tensor<B, 4> {
    let [_, heads, tokens, _] = q.dims();
    let at_once = (MAX_SCORES / (heads * tokens * tokens)).max(1);
    attend_to_some([q, k, v], hidden, at_once, |[q, k, v], hidden| {
        let (format, scores) = (v.dtype(), product(q, k.swap_dims(2, 3)));
        product(gpu::softmax_rows(scores, None, hidden.cloned(), format), v)
    })
}

impl<B: Backend> Mlp<B> {
    /// `W2·act(W1·x)`, with its last bias apart.
    fn on_gpu(&self, x: Tensor<B, 3>) -> Unbiased<B> {
        let act = match self.activation() {
            Activation::GeluErf => Act::GeluErf,
            Activation::QuickGelu => Act::QuickGelu,
        };
        without_bias(&self.c_proj, activated_on_gpu(&self.c_fc, x, act))
    }
}

impl<B: Backend> ResidualBlock<B> {
    /// [`ResidualBlock::forward`].
    pub(super) fn forward_on_gpu(
        &self,
        x: Stream<B>,
        hidden: Option<&Tensor<B, 4, Bool>>,
    ) -> Stream<B> {
        let [x, normed] = self.first_norm(x);
        let mut streams = self.attn.on_gpu(normed, hidden, 1).into_iter();
        let step = Before::step(streams.next().expect("one stream was asked for"));
        let [mid, normed] = gpu::summed_and_normed(x, step, &self.ln_2, self.mlp_format());
        self.with_mlp(mid, normed)
    }

    /// [`ResidualBlock::forward_dual`].
    pub(super) fn forward_dual_on_gpu(
        &self,
        x: Stream<B>,
        value_value: Tensor<B, 3>,
    ) -> DualStep<B> {
        let [x, normed] = self.first_norm(x);
        let mut streams = self.attn.on_gpu(normed, None, 2).into_iter();
        // Both went through one projection, so they have the same bias.
        let [step, (added, _)] =
            std::array::from_fn(|_| streams.next().expect("two streams were asked for"));
        let (step, second) = (Before::step(step), [value_value, added]);
        let [mid, normed, value_value] =
            gpu::both_summed_and_normed(x, step, second, &self.ln_2, self.mlp_format());
        DualStep { mid: mid.clone(), out: self.with_mlp(mid, normed), value_value }
    }

    /// The tokens, and normed in the format of the projection.
    fn first_norm(&self, x: Stream<B>) -> [Tensor<B, 3>; 2] {
        let format = self.attn.in_proj.weight.val().dtype();
        match x.step {
            Some(step) => gpu::summed_and_normed(x.x, Before::step(step), &self.ln_1, format),
            None => {
                let normed = gpu::normed(x.x.clone(), Before::default(), &self.ln_1, format);
                [x.x, normed]
            }
        }
    }

    /// The stream after the MLP, whose step is still to be added.
    fn with_mlp(&self, mid: Tensor<B, 3>, normed: Tensor<B, 3>) -> Stream<B> {
        Stream { x: mid, step: Some(self.mlp.on_gpu(normed)) }
    }

    fn mlp_format(&self) -> DType {
        self.mlp.c_fc.weight.val().dtype()
    }
}
