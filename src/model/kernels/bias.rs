//! A row added to every row, in place: the backend walks over broadcast operands number by number.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::node::Values;
use super::simd::{Add, widest};
use crate::device::Backend;

/// Numbers per task, about.
const TASK: usize = 1 << 14;

/// `x` `[…, columns]` plus `bias` `[columns]`, without a gradient.
pub fn inferred<const D: usize>(
    x: Tensor<Backend, D>,
    bias: Tensor<Backend, 1>,
) -> Tensor<Backend, D> {
    let (mut values, bias) = (Values::of(x), Values::of(bias));
    let bias = bias.read();
    let task = bias.len() * (TASK / bias.len().max(1)).max(1);
    values.write().par_chunks_mut(task.max(1)).for_each(|rows| {
        for row in rows.chunks_exact_mut(bias.len()) {
            widest(Add { row, to: bias });
        }
    });
    values.tensor()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;
    use burn::tensor::Distribution;

    #[test]
    fn every_row_gets_the_bias_to_the_bit() {
        for (rows, columns) in [(1, 1), (3, 17), (700, 48), (2, TASK + 3)] {
            let random =
                |shape| Tensor::<Backend, 3>::random(shape, Distribution::Normal(0.0, 1.0), &cpu());
            let (x, bias) = (random([2, rows, columns]), random([1, 1, columns]));
            let fused = inferred(x.clone(), bias.clone().reshape([columns]));
            assert!(fused.equal(x + bias).all().into_scalar() != 0, "{rows} × {columns}");
        }
    }
}
