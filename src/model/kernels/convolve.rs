//! A convolution over tokens on their grid, channels last, "same" size, odd square kernel, with its
//! gradient. One line of the kernel at a time: tokens with their neighbours left and right stand in
//! rows once, and each line of the kernel is a product with the rows of another line of the grid.
//! That is a seventh of the memory of all patches in rows, and needs no transposed copies.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::node::{ManyRule, Values, many};
use crate::device::{Backend, TrainBackend};

/// A grid of `side` × `side` tokens and a kernel of `kernel` × `kernel`.
#[derive(Debug, Clone, Copy)]
struct Grid {
    side: usize,
    kernel: usize,
}

impl Grid {
    fn tokens(self) -> usize {
        self.side * self.side
    }

    fn margin(self) -> usize {
        self.kernel / 2
    }

    /// `[batch, tokens, channels]` → `[batch, tokens and margins, kernel · channels]`: each token
    /// with its neighbours on the line; lines of zeros above and below the grid.
    fn lines(self, tokens: Tensor<Backend, 3>) -> Tensor<Backend, 3> {
        let tokens = Values::of(tokens);
        let [batch, count, channels] = tokens.shape();
        let Grid { side, kernel } = self;
        let (margin, row) = (self.margin(), kernel * channels);
        let rows = (side + 2 * margin) * side;
        let mut lines = vec![0.0; batch * rows * row];
        lines.par_chunks_mut(rows * row).zip(tokens.read().par_chunks(count * channels)).for_each(
            |(lines, tokens)| {
                let inside = lines[margin * side * row..].chunks_exact_mut(row);
                for (token, line) in inside.take(count).enumerate() {
                    let x = token % side;
                    let first = margin.saturating_sub(x);
                    let last = kernel.min(side + margin - x);
                    let from = (token + first - margin) * channels;
                    let length = (last - first) * channels;
                    line[first * channels..][..length]
                        .copy_from_slice(&tokens[from..from + length]);
                }
            },
        );
        tokens.beside(lines, [batch, rows, row])
    }

    /// `lines`, moved by `line` lines of the kernel: `[batch, tokens, kernel · channels]`, a view.
    fn moved(self, lines: &Tensor<Backend, 3>, line: usize) -> Tensor<Backend, 3> {
        lines.clone().narrow(1, line * self.side, self.tokens())
    }

    /// Σ over the kernel's lines of `lines` times `kernel` `[kernel, kernel · from, to]`.
    fn product(
        self,
        lines: &Tensor<Backend, 3>,
        kernel: &Tensor<Backend, 3>,
    ) -> Tensor<Backend, 3> {
        let products = (0..self.kernel)
            .map(|line| self.moved(lines, line).matmul(kernel.clone().narrow(0, line, 1)));
        products.reduce(|sum, product| sum + product).expect("a kernel has a line or more")
    }
}

#[derive(Debug, Clone)]
struct Convolution {
    grid: Grid,
    lines: Tensor<Backend, 3>,
    kernel: Tensor<Backend, 3>,
}

impl ManyRule<2, 3, 3> for Convolution {
    fn gradients(self, output: Tensor<Backend, 3>) -> [Tensor<Backend, 3>; 2] {
        let Convolution { grid, lines, kernel } = self;
        let of_kernel = (0..grid.kernel)
            .map(|line| grid.moved(&lines, line).swap_dims(1, 2).matmul(output.clone()).sum_dim(0));
        let of_kernel = Tensor::cat(of_kernel.collect(), 0);
        let turned = turned(kernel, grid.kernel);
        [grid.product(&grid.lines(output), &turned), of_kernel]
    }
}

/// `[kernel, kernel · from, to]` → `[kernel, kernel · to, from]`, turned by half a circle: what
/// leads gradients back.
fn turned(kernel: Tensor<Backend, 3>, side: usize) -> Tensor<Backend, 3> {
    let values = Values::of(kernel);
    let [_, row, to] = values.shape();
    let from = row / side;
    let mut turned = vec![0.0; values.read().len()];
    for (place, block) in values.read().chunks_exact(from * to).enumerate() {
        let target = &mut turned[(side * side - 1 - place) * from * to..][..from * to];
        for (i, line) in block.chunks_exact(to).enumerate() {
            for (o, value) in line.iter().enumerate() {
                target[o * from + i] = *value;
            }
        }
    }
    values.beside(turned, [side, side * to, from])
}

/// `tokens` `[batch, side², from]` with `kernel` `[to, from, k, k]` → `[batch, side², to]`.
pub fn fused(
    tokens: Tensor<TrainBackend, 3>,
    kernel: Tensor<TrainBackend, 4>,
) -> Tensor<TrainBackend, 3> {
    let [to, from, side, _] = kernel.dims();
    let grid = Grid { side: tokens.dims()[1].isqrt(), kernel: side };
    let kernel = kernel.permute([2, 3, 1, 0]).reshape([side, side * from, to]);
    many([tokens, kernel], |[tokens, kernel]| {
        let lines = grid.lines(tokens);
        let output = grid.product(&lines, &kernel);
        (output, Convolution { grid, lines, kernel })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;
    use crate::model::kernels::no_other_tapes;
    use burn::tensor::module::conv2d;
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{TensorData, Tolerance};

    fn numbers<const D: usize>(shape: [usize; D]) -> Tensor<TrainBackend, D> {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0).collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(values, shape), &cpu())
    }

    #[test]
    fn value_and_gradients_are_those_of_the_backends_convolution() {
        let _alone = no_other_tapes();
        let (tokens, kernel) =
            (numbers([2, 25, 3]).require_grad(), numbers([4, 3, 7, 7]).require_grad());
        let weights = numbers([2, 25, 4]);
        let grid = tokens.clone().swap_dims(1, 2).reshape([2, 3, 5, 5]);
        let options = ConvOptions::new([1, 1], [3, 3], [1, 1], 1);
        let plain = conv2d(grid, kernel.clone(), None, options).flatten::<3>(2, 3).swap_dims(1, 2);
        let own = fused(tokens.clone(), kernel.clone());
        let [plain, own] = [plain, own].map(|output| {
            let tape = (output.clone() * weights.clone()).sum().backward();
            let of_kernel = kernel.grad(&tape).unwrap().into_data();
            (output.into_data(), tokens.grad(&tape).unwrap().into_data(), of_kernel)
        });
        let close = Tolerance::<f32>::absolute(1e-4);
        own.0.assert_approx_eq::<f32>(&plain.0, close);
        own.1.assert_approx_eq::<f32>(&plain.1, close);
        own.2.assert_approx_eq::<f32>(&plain.2, close);
    }
}
