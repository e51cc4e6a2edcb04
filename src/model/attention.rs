//! Scaled dot-product attention on `[batch, heads, tokens, head_width]`, and the reshapes to and
//! from `[batch, tokens, width]`. Memory is bounded whatever the batch.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, DType, Tensor, backend::Backend};

use super::precision::{product, rounds_products, same_format};

/// `[batch, tokens, width]` → `[batch, heads, tokens, width / heads]`.
pub fn split_heads<B: Backend>(x: Tensor<B, 3>, heads: usize) -> Tensor<B, 4> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch, tokens, heads, width / heads]).swap_dims(1, 2)
}

/// The inverse of [`split_heads`].
pub fn merge_heads<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 3> {
    let [batch, heads, tokens, head_width] = x.dims();
    x.swap_dims(1, 2).reshape([batch, tokens, heads * head_width])
}

/// Most scores that are held at once, floats: 128 MB, one image at 518 px. Where operands are kept in
/// parts, a quarter: each has three copies beside it there.
const MAX_SCORES: usize = 32 << 20;

/// `softmax(q·kᵀ/√head_width)·v`. `hidden` `[batch or 1, 1, queries, keys]` is true where a query must
/// not see a key; every query must see at least one.
///
/// The softmax is in f32 whatever the format of the operands.
///
/// A batch is cut so that its scores fit `MAX_SCORES`: more would be most of the memory of a run
/// and gain nothing, since products of different images share no operand.
pub fn attend<B: Backend>(
    q: Tensor<B, 4>,
    k: Tensor<B, 4>,
    v: Tensor<B, 4>,
    hidden: Option<&Tensor<B, 4, Bool>>,
) -> Tensor<B, 4> {
    let [_, heads, queries, _] = q.dims();
    let scores = heads * queries * k.dims()[2];
    let most = if rounds_products(&q) { MAX_SCORES / 4 } else { MAX_SCORES };
    attend_to_some([q, k, v], hidden, (most / scores.max(1)).max(1), attend_at_once)
}

/// `attend`, `at_once` images after each other.
pub(super) fn attend_to_some<B: Backend>(
    [q, k, v]: [Tensor<B, 4>; 3],
    hidden: Option<&Tensor<B, 4, Bool>>,
    at_once: usize,
    attend: impl Fn([Tensor<B, 4>; 3], Option<&Tensor<B, 4, Bool>>) -> Tensor<B, 4>,
) -> Tensor<B, 4> {
    let batch = q.dims()[0];
    if batch <= at_once {
        return attend([q, k, v], hidden);
    }
    let parts = (0..batch).step_by(at_once).map(|first| {
        let count = at_once.min(batch - first);
        let some = [&q, &k, &v].map(|x| x.clone().narrow(0, first, count));
        let hidden = hidden.map(|hidden| match hidden.dims()[0] {
            1 => hidden.clone(),
            _ => hidden.clone().narrow(0, first, count),
        });
        attend(some, hidden.as_ref())
    });
    Tensor::cat(parts.collect(), 0)
}

fn attend_at_once<B: Backend>(
    [q, k, v]: [Tensor<B, 4>; 3],
    hidden: Option<&Tensor<B, 4, Bool>>,
) -> Tensor<B, 4> {
    let [batch, heads, _, head_width] = q.dims();
    let format = v.dtype();
    let scores = product(q / (head_width as f64).sqrt(), k.swap_dims(2, 3));
    let scores = same_format(scores, DType::F32);
    let scores = match hidden {
        Some(hidden) => {
            let [_, _, queries, keys] = hidden.dims();
            scores
                .mask_fill(hidden.clone().expand([batch, heads, queries, keys]), f32::NEG_INFINITY)
        }
        None => scores,
    };
    product(same_format(softmax(scores, 3), format), v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend as B, cpu};
    use burn::tensor::{Distribution, TensorData};

    #[test]
    fn a_query_ignores_hidden_keys() {
        let device = cpu();
        let ones = Tensor::<B, 4>::ones([1, 1, 2, 4], &device);
        let values = Tensor::<B, 4>::from_data(
            TensorData::new(vec![1.0f32, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0], [1, 1, 2, 4]),
            &device,
        );
        let hidden = Tensor::<B, 4, Bool>::from_data(
            TensorData::new(vec![false, true, false, false], [1, 1, 2, 2]),
            &device,
        );
        let out = attend(ones.clone(), ones, values, Some(&hidden)).into_data().to_vec::<f32>();
        assert_eq!(out.unwrap(), vec![1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
    }

    /// With a mask for all images, and with one for each.
    #[test]
    fn images_after_each_other_give_what_they_give_together() {
        let random = || Tensor::<B, 4>::random([5, 2, 3, 4], Distribution::Default, &cpu());
        let qkv = [random(), random(), random()];
        for masks in [1, 5] {
            let hidden = (0..masks * 9).map(|i| i % 5 == 1 && i % 9 % 4 != 0).collect::<Vec<_>>();
            let hidden = TensorData::new(hidden, [masks, 1, 3, 3]);
            let hidden = Tensor::<B, 4, Bool>::from_data(hidden, &cpu());
            let [two, all] =
                [2, 5].map(|n| attend_to_some(qkv.clone(), Some(&hidden), n, attend_at_once));
            assert!((two - all).abs().max().into_scalar() < 1e-6);
        }
    }
}
