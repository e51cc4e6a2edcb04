//! Self-attention of all heads. With a gradient, products are the backend's, the softmax between them
//! is one vector loop, and the projection and the attention weights are kept for the backward pass.
//! Without one nothing is kept: scores of a few queries stand in the cache at a time.

use burn::tensor::{Bool, Tensor};
use rayon::prelude::*;

use super::node::{Rule, Values, unary};
use super::product::{Matrix, multiply};
use super::simd::{BiasedSoftmax, Softmax, SoftmaxGradient, widest};
use crate::device::{Backend, TrainBackend};

/// Which attentions are computed from one projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// `softmax(q·kᵀ/√d)·v`.
    Ordinary,
    /// The ordinary one, then behind it on the batch axis `softmax(v·vᵀ/√d)·v`.
    WithValueValue,
}

/// Shape of an attention.
#[derive(Debug, Clone, Copy)]
struct Shape {
    batch: usize,
    tokens: usize,
    heads: usize,
    head_width: usize,
}

impl Shape {
    /// Of the attention over `qkv` `[batch, tokens, 3 · width]`.
    fn of_projection(qkv: &Tensor<Backend, 3>, heads: usize) -> Self {
        let [batch, tokens, fused_width] = qkv.dims();
        Shape { batch, tokens, heads, head_width: fused_width / 3 / heads }
    }

    fn width(self) -> usize {
        self.heads * self.head_width
    }

    fn scale(self) -> f32 {
        (self.head_width as f32).powf(-0.5)
    }

    /// `[parts · batch, tokens, width]` → `[parts, batch, heads, tokens, head_width]`, a view.
    fn split(self, x: Tensor<Backend, 3>, parts: usize) -> Tensor<Backend, 5> {
        let shape = [parts, self.batch, self.tokens, self.heads, self.head_width];
        x.reshape(shape).permute([0, 1, 3, 2, 4])
    }

    /// The inverse of [`Shape::split`].
    fn merge(self, x: Tensor<Backend, 5>) -> Tensor<Backend, 3> {
        let parts = x.dims()[0];
        x.permute([0, 1, 3, 2, 4]).reshape([parts * self.batch, self.tokens, self.width()])
    }
}

#[derive(Debug, Clone)]
struct Attention {
    shape: Shape,
    /// `[3, batch, heads, tokens, head_width]`.
    qkv: Tensor<Backend, 5>,
    /// Attention weights of each stream, `[1, batch, heads, tokens, tokens]`.
    weights: Vec<Tensor<Backend, 5>>,
}

fn part(x: &Tensor<Backend, 5>, index: usize) -> Tensor<Backend, 5> {
    x.clone().narrow(0, index, 1)
}

fn transposed(x: Tensor<Backend, 5>) -> Tensor<Backend, 5> {
    x.swap_dims(3, 4)
}

/// What a query must not see, for every image or for all.
struct Hidden(Vec<bool>);

impl Hidden {
    fn new(mask: Option<Tensor<TrainBackend, 4, Bool>>) -> Self {
        Hidden(mask.map_or(Vec::new(), |mask| mask.into_data().iter::<bool>().collect()))
    }

    /// Hides keys in the scores of one head of image `index`.
    fn apply(&self, scores: &mut [f32], index: usize) {
        let tokens = scores.len().isqrt();
        self.apply_rows(scores, index, 0, tokens);
    }

    /// The same in the scores of queries from `first` on, each `tokens` long.
    fn apply_rows(&self, scores: &mut [f32], index: usize, first: usize, tokens: usize) {
        if self.0.is_empty() {
            return;
        }
        let pictures = self.0.len() / (tokens * tokens);
        let start = ((index % pictures) * tokens + first) * tokens;
        let mask = &self.0[start..][..scores.len()];
        for (score, hidden) in scores.iter_mut().zip(mask) {
            *score = if *hidden { f32::NEG_INFINITY } else { *score };
        }
    }
}

fn softmax(scores: Tensor<Backend, 5>, shape: Shape, hidden: &Hidden) -> Tensor<Backend, 5> {
    let Shape { tokens, heads, .. } = shape;
    let mut values = Values::of(scores);
    values.write().par_chunks_mut(tokens * tokens).enumerate().for_each(|(head, rows)| {
        hidden.apply(rows, head / heads);
        widest(Softmax { rows, columns: tokens, scale: shape.scale() });
    });
    values.tensor()
}

impl Attention {
    /// Gradient of the scores of a stream from that of its output.
    fn scores_gradient(
        weights: Tensor<Backend, 5>,
        values: Tensor<Backend, 5>,
        output: Tensor<Backend, 5>,
        shape: Shape,
    ) -> Tensor<Backend, 5> {
        let mut rows = Values::of(output.matmul(transposed(values)));
        let probabilities = Values::of(weights);
        let (columns, scale, head) = (shape.tokens, shape.scale(), shape.tokens * shape.tokens);
        rows.write().par_chunks_mut(head).zip(probabilities.read().par_chunks(head)).for_each(
            |(rows, probabilities)| {
                widest(SoftmaxGradient { probabilities, rows, columns, scale });
            },
        );
        rows.tensor()
    }
}

impl Rule<3, 3> for Attention {
    fn gradient(self, output: Tensor<Backend, 3>) -> Tensor<Backend, 3> {
        let Attention { shape, qkv, weights } = self;
        let output = shape.split(output, weights.len());
        let [q, k, v] = [0, 1, 2].map(|i| part(&qkv, i));
        let mut streams = weights.into_iter();
        let ordinary = streams.next().expect("the ordinary stream is always there");
        let gradient = part(&output, 0);
        let mut of_v = transposed(ordinary.clone()).matmul(gradient.clone());
        let scores = Attention::scores_gradient(ordinary, v.clone(), gradient, shape);
        let of_q = scores.clone().matmul(k);
        let of_k = transposed(scores).matmul(q);
        for (stream, weights) in streams.enumerate() {
            let gradient = part(&output, stream + 1);
            of_v = of_v + transposed(weights.clone()).matmul(gradient.clone());
            let scores = Attention::scores_gradient(weights, v.clone(), gradient, shape);
            of_v = of_v + scores.clone().matmul(v.clone()) + transposed(scores).matmul(v.clone());
        }
        // [3, batch, heads, tokens, head_width] → [batch, tokens, 3, heads, head_width].
        let all = Tensor::cat(vec![of_q, of_k, of_v], 0).permute([1, 3, 0, 2, 4]);
        all.reshape([shape.batch, shape.tokens, 3 * shape.width()])
    }
}

/// See [`super::self_attention`].
pub fn fused(
    qkv: Tensor<TrainBackend, 3>,
    heads: usize,
    streams: Streams,
    hidden: Option<Tensor<TrainBackend, 4, Bool>>,
) -> Tensor<TrainBackend, 3> {
    let [batch, tokens, fused_width] = qkv.dims();
    let shape = Shape { batch, tokens, heads, head_width: fused_width / 3 / heads };
    let hidden = Hidden::new(hidden);
    unary(qkv, |qkv| {
        let dims = [batch, tokens, 3, heads, shape.head_width];
        let qkv = qkv.reshape(dims).permute([2, 0, 3, 1, 4]);
        let [q, k, v] = [0, 1, 2].map(|i| part(&qkv, i));
        let mut weights = vec![softmax(q.matmul(transposed(k)), shape, &hidden)];
        if streams == Streams::WithValueValue {
            weights.push(softmax(v.clone().matmul(transposed(v.clone())), shape, &hidden));
        }
        let outputs = weights.iter().map(|weights| weights.clone().matmul(v.clone())).collect();
        (shape.merge(Tensor::cat(outputs, 0)), Attention { shape, qkv, weights })
    })
}

/// Queries whose scores stand in the cache at a time: 0.7 MB at the published size.
const QUERIES: usize = 128;

/// The same without a gradient: the operands are read where they lie in the projection, the result
/// is written where it belongs, and no more scores are held than those of [`QUERIES`] per thread.
pub fn inferred(
    qkv: Tensor<Backend, 3>,
    heads: usize,
    streams: Streams,
    hidden: Option<Tensor<Backend, 4, Bool>>,
) -> Tensor<Backend, 3> {
    let shape = Shape::of_projection(&qkv, heads);
    let hidden = hidden.map_or(Vec::new(), |mask| mask.into_data().iter::<bool>().collect());
    let (hidden, columns, scale) = (Hidden(hidden), shape.tokens, shape.scale());
    tiled(qkv, shape, streams, |scores, tile| {
        hidden.apply_rows(scores, tile.picture, tile.first, columns);
        widest(Softmax { rows: scores, columns, scale });
    })
}

/// `softmax(q·kᵀ/√d + bias + mask)·v` without a gradient. `bias` `[heads, tokens, tokens]`, `mask`
/// `[n, tokens, tokens]`: image `i` of the batch takes mask `i mod n`.
pub fn biased(
    qkv: Tensor<Backend, 3>,
    heads: usize,
    bias: Tensor<Backend, 3>,
    mask: Option<Tensor<Backend, 3>>,
) -> Tensor<Backend, 3> {
    let shape = Shape::of_projection(&qkv, heads);
    let masks = mask.as_ref().map_or(1, |mask| mask.dims()[0]);
    let (bias, mask) = (Values::of(bias), mask.map(Values::of));
    let (bias, mask) = (bias.read(), mask.as_ref().map(Values::read));
    let (columns, scale) = (shape.tokens, shape.scale());
    tiled(qkv, shape, Streams::Ordinary, |rows, tile| {
        let len = rows.len();
        let of = |plane: usize| (plane * columns + tile.first) * columns;
        let mask = mask.map(|mask| &mask[of(tile.picture % masks)..][..len]);
        let bias = &bias[of(tile.head)..][..len];
        widest(BiasedSoftmax { rows, columns, scale, bias, mask });
    })
}

/// Some queries of one head of one image.
#[derive(Debug, Clone, Copy)]
struct Tile {
    picture: usize,
    head: usize,
    /// The first query.
    first: usize,
}

/// Attention tile by tile; `weigh` makes weights of the scores of a tile, `[queries, tokens]`.
fn tiled(
    qkv: Tensor<Backend, 3>,
    shape: Shape,
    streams: Streams,
    weigh: impl Fn(&mut [f32], Tile) + Sync,
) -> Tensor<Backend, 3> {
    let Shape { batch, tokens, heads, head_width } = shape;
    let (width, fused_width) = (shape.width(), 3 * shape.width());
    let queries_of: &[usize] = match streams {
        Streams::Ordinary => &[0],
        Streams::WithValueValue => &[0, 2],
    };
    let qkv = Values::of(qkv);
    let pictures = qkv.read();
    let mut out = vec![0.0; queries_of.len() * batch * tokens * width];
    let rows = out.par_chunks_mut(tokens * width).enumerate().flat_map(|(i, of_picture)| {
        let blocks = of_picture.par_chunks_mut(QUERIES * width).enumerate();
        blocks.map(move |(block, out)| (i / batch, i % batch, block * QUERIES, out))
    });
    rows.for_each_init(Vec::new, |scores, (stream, picture, first, out)| {
        let qkv = &pictures[picture * tokens * fused_width..][..tokens * fused_width];
        // Queries of the second stream are values; so are its keys.
        let (query, key) = (queries_of[stream], if stream == 0 { 1 } else { 2 });
        let queries = out.len() / width;
        scores.resize(queries * tokens, 0.0);
        for head in 0..heads {
            let part = |part: usize, first: usize, count: usize| {
                let start = first * fused_width + part * width + head * head_width;
                Matrix::new(&qkv[start..], count, head_width, fused_width)
            };
            let keys = part(key, 0, tokens).transposed();
            multiply(scores, tokens, part(query, first, queries), keys);
            weigh(scores, Tile { picture, head, first });
            let weights = Matrix::new(scores, queries, tokens, tokens);
            multiply(&mut out[head * head_width..], width, weights, part(2, 0, tokens));
        }
    });
    qkv.beside(out, [queries_of.len() * batch, tokens, width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;
    use crate::model::attention::{attend, merge_heads, split_heads};
    use crate::model::kernels::no_other_tapes;
    use burn::tensor::TensorData;
    use burn::tensor::activation::softmax;

    fn numbers(count: usize, shape: [usize; 3]) -> Tensor<TrainBackend, 3> {
        let values = (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0).collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(values, shape), &cpu())
    }

    fn run(x: &Tensor<TrainBackend, 3>, y: Tensor<TrainBackend, 3>) -> [Vec<f32>; 2] {
        let [batch, tokens, width] = y.dims();
        let weights = numbers(batch * tokens * width, y.dims());
        let gradient = x.grad(&(y.clone() * weights).sum().backward()).unwrap();
        [y.inner(), gradient].map(|x| Values::of(x).read().to_vec())
    }

    #[test]
    fn both_streams_and_their_gradient_are_those_of_the_plain_form() {
        let _alone = no_other_tapes();
        let (heads, width) = (2, 8);
        let x = numbers(2 * 5 * 3 * width, [2, 5, 3 * width]).require_grad();
        let [q, k, v] =
            [0, 1, 2].map(|i| split_heads(x.clone().narrow(2, i * width, width), heads));
        let plain = vec![attend(q, k, v.clone(), None), attend(v.clone(), v.clone(), v, None)];
        let plain = Tensor::cat(plain.into_iter().map(merge_heads).collect(), 0);
        let fused = fused(x.clone(), heads, Streams::WithValueValue, None);
        for (fused, plain) in run(&x, fused).iter().zip(run(&x, plain)) {
            for (fused, plain) in fused.iter().zip(plain) {
                assert!((fused - plain).abs() < 1e-5, "{fused} is not {plain}");
            }
        }
    }

    /// More queries than one block has, and a mask of each image's own.
    #[test]
    fn without_a_gradient_it_is_the_same_block_by_block() {
        let (batch, tokens, heads, width) = (2, QUERIES + 5, 2, 6);
        let x = numbers(batch * tokens * 3 * width, [batch, tokens, 3 * width]);
        let hidden = (0..batch * tokens * tokens).map(|i| i % 7 == 1 && i % tokens != i / tokens);
        let hidden = TensorData::new(hidden.collect::<Vec<_>>(), [batch, 1, tokens, tokens]);
        let hidden = Tensor::<TrainBackend, 4, Bool>::from_data(hidden, &cpu());
        for (streams, hidden) in
            [(Streams::WithValueValue, None), (Streams::Ordinary, Some(hidden))]
        {
            let kept = fused(x.clone(), heads, streams, hidden.clone()).inner();
            let hidden = hidden.map(|hidden| hidden.inner());
            let inferred = inferred(x.clone().inner(), heads, streams, hidden);
            assert_eq!(inferred.dims(), kept.dims());
            let apart = (inferred - kept).abs().max().into_scalar();
            assert!(apart < 1e-6, "{apart:e}");
        }
    }

    /// The masks of the first two images are those of the next two.
    #[test]
    fn bias_and_mask_count_before_the_softmax() {
        let (batch, tokens, heads, width) = (4, QUERIES + 3, 2, 6);
        let x = numbers(batch * tokens * 3 * width, [batch, tokens, 3 * width]).inner();
        let planes = || numbers(2 * tokens * tokens, [2, tokens, tokens]).inner();
        let (bias, mask) = (planes(), planes() * 3.0);
        let [q, k, v] =
            [0, 1, 2].map(|i| split_heads(x.clone().narrow(2, i * width, width), heads));
        let scores = q.matmul(k.swap_dims(2, 3)) / (width as f64 / heads as f64).sqrt();
        let scores = scores + bias.clone().unsqueeze::<4>();
        for mask in [None, Some(mask)] {
            let scores = match &mask {
                None => scores.clone(),
                Some(mask) => {
                    let mask = mask.clone().unsqueeze_dim::<4>(1);
                    scores.clone() + Tensor::cat(vec![mask.clone(), mask], 0)
                }
            };
            let plain = merge_heads(softmax(scores, 3).matmul(v.clone()));
            let apart = (biased(x.clone(), heads, bias.clone(), mask) - plain).abs().max();
            assert!(apart.clone().into_scalar() < 1e-6, "{apart}");
        }
    }

    #[test]
    fn hidden_keys_have_no_part_in_value_and_gradient() {
        let _alone = no_other_tapes();
        let x = numbers(2 * 3 * 12, [2, 3, 12]).require_grad();
        let hidden = [false, true, true, false, false, true, false, false, false];
        let hidden = TensorData::new(hidden.to_vec(), [1, 1, 3, 3]);
        let hidden = Tensor::<TrainBackend, 4, Bool>::from_data(hidden, &cpu());
        let [q, k, v] = [0, 1, 2].map(|i| split_heads(x.clone().narrow(2, i * 4, 4), 1));
        let plain = merge_heads(attend(q, k, v, Some(&hidden)));
        let fused = fused(x.clone(), 1, Streams::Ordinary, Some(hidden));
        for (fused, plain) in run(&x, fused).iter().zip(run(&x, plain)) {
            for (fused, plain) in fused.iter().zip(plain) {
                assert!((fused - plain).abs() < 1e-5, "{fused} is not {plain}");
            }
        }
    }
}
