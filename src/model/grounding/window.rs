//! Window attention of a Swin block: cutting a feature map into windows and back, the relative
//! position bias, and the mask of shifted windows. Maps are `[batch, height, width, channels]`.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use crate::model::attention::{merge_heads, split_heads};
use crate::model::derived::Derived;
use crate::model::kept::kept;
use crate::model::kernels::biased_self_attention;
use crate::model::kernels::gpu::{self, Attention, Columns};
use crate::model::linear::{Linear, LinearConfig};
use crate::model::precision::{product, project, without_bias};

/// What the published model adds between regions of a shifted map that are no neighbours.
const FOREIGN_REGION: f32 = -100.0;

/// Dimensions of a [`WindowAttention`].
#[derive(Debug, Clone)]
pub struct WindowAttentionConfig {
    pub width: usize,
    pub heads: usize,
    /// Edge length of a window.
    pub window: usize,
}

/// `softmax(q·kᵀ/√head_width + bias)·v` inside each window (Liu et al. 2021, equation 4).
#[derive(Module, Debug)]
pub struct WindowAttention<B: Backend> {
    pub qkv: Linear<B>,
    pub proj: Linear<B>,
    /// `[(2·window − 1)², heads]`, row `(y_q − y_k + window − 1)·(2·window − 1) + (x_q − x_k +
    /// window − 1)`.
    pub relative_position_bias_table: Param<Tensor<B, 2>>,
    /// `[heads, window², window²]`: rows of the table.
    position_bias: Derived<B, 1, 3>,
    heads: usize,
    window: usize,
}

impl WindowAttentionConfig {
    pub fn init<B: Backend>(&self, device: &B::Device) -> WindowAttention<B> {
        let offsets = 2 * self.window - 1;
        WindowAttention {
            qkv: LinearConfig::new(self.width, 3 * self.width).init(device),
            proj: LinearConfig::new(self.width, self.width).init(device),
            relative_position_bias_table: Initializer::Normal { mean: 0.0, std: 0.02 }
                .init([offsets * offsets, self.heads], device),
            position_bias: Derived::default(),
            heads: self.heads,
            window: self.window,
        }
    }
}

impl<B: Backend> WindowAttention<B> {
    /// `windows` `[batch · n, window², width]`, the `n` windows of an image one after the other;
    /// `mask` `[n, window², window²]` is added to the scores. Returns the shape of `windows`.
    pub fn forward(&self, windows: Tensor<B, 3>, mask: Option<Tensor<B, 3>>) -> Tensor<B, 3> {
        let bias = self.position_bias();
        let qkv = project(&self.qkv, windows);
        let attended = biased_self_attention(qkv, self.heads, &bias, mask.as_ref())
            .unwrap_or_else(|qkv| self.attend(qkv, bias, mask));
        project(&self.proj, attended)
    }

    /// Attention inside the windows of `grid` over `x` `[batch, height · width, channels]`, as rows of
    /// pixels, with the last bias apart.
    pub(super) fn forward_on_gpu(
        &self,
        x: Tensor<B, 3>,
        grid: WindowGrid,
    ) -> (Tensor<B, 3>, Option<Tensor<B, 1>>) {
        let (device, width) = (x.device(), x.dims()[2]);
        let (qkv, bias) = without_bias(&self.qkv, x);
        let part =
            |part: usize| Columns { rows: qkv.clone(), bias: bias.clone(), first: part * width };
        let attended = gpu::attended(Attention {
            query: part(0),
            key: part(1),
            value: part(2),
            heads: self.heads,
            width,
            position: Some(self.position_bias()),
            mask: grid.mask(&device),
            hidden: None,
            places: Some(grid.places(&device)),
        });
        without_bias(&self.proj, attended)
    }

    pub(super) fn heads(&self) -> usize {
        self.heads
    }

    /// `bias` `[heads, window², window²]`.
    fn attend(
        &self,
        qkv: Tensor<B, 3>,
        bias: Tensor<B, 3>,
        mask: Option<Tensor<B, 3>>,
    ) -> Tensor<B, 3> {
        let [count, tokens, fused_width] = qkv.dims();
        let width = fused_width / 3;
        let scale = ((width / self.heads) as f64).powf(-0.5);
        let [q, k, v] = [0, 1, 2]
            .map(|part| split_heads(qkv.clone().narrow(2, part * width, width), self.heads));
        let scores = product(q * scale, k.swap_dims(2, 3)) + bias.unsqueeze();
        let scores = match mask {
            None => scores,
            Some(mask) => {
                let n = mask.dims()[0];
                let per_picture = [count / n, n, self.heads, tokens * tokens];
                let mask = mask.reshape([1, n, 1, tokens * tokens]);
                let scores = scores.reshape(per_picture) + mask;
                scores.reshape([count, self.heads, tokens, tokens])
            }
        };
        merge_heads(product(softmax(scores, 3), v))
    }

    /// `[heads, window², window²]`.
    fn position_bias(&self) -> Tensor<B, 3> {
        let table = self.relative_position_bias_table.val();
        let device = table.device();
        let [bias] = self.position_bias.get(&device, || {
            let tokens = self.window * self.window;
            let rows = kept("rows of the bias table", &[self.window], &device, || {
                indices(relative_position_rows(self.window), &device)
            });
            // What is selected is no view: each use of one would copy it.
            [table.swap_dims(0, 1).select(1, rows).reshape([self.heads, tokens, tokens])]
        });
        bias
    }
}

/// The row of the bias table for every (query, key) pair of a window, query-major.
fn relative_position_rows(window: usize) -> Vec<i64> {
    let offsets = 2 * window - 1;
    let tokens = window * window;
    let mut rows = Vec::with_capacity(tokens * tokens);
    for query in 0..tokens {
        for key in 0..tokens {
            let dy = query / window + window - 1 - key / window;
            let dx = query % window + window - 1 - key % window;
            rows.push((dy * offsets + dx) as i64);
        }
    }
    rows
}

/// How a map `[batch, height, width, channels]` is cut into windows: filled up with zeros on the
/// right and below to whole windows, then turned by `shift` in both axes, so that row and column
/// `shift` come first and what falls off comes around.
#[derive(Debug, Clone, Copy)]
pub struct WindowGrid {
    pub height: usize,
    pub width: usize,
    /// Edge length of a window.
    pub window: usize,
    /// Below `window`; 0 for windows that are not shifted.
    pub shift: usize,
}

/// Where a place in a window comes from.
struct Slot {
    /// Row and column of the filled-up map after turning.
    turned: [usize; 2],
    /// Pixel of the map, row by row; none for filling.
    pixel: Option<usize>,
}

impl WindowGrid {
    /// Windows of an image.
    fn count(&self) -> usize {
        self.height.div_ceil(self.window) * self.width.div_ceil(self.window)
    }

    /// All places, window by window, row by row in each.
    fn slots(&self) -> impl Iterator<Item = Slot> {
        let WindowGrid { height, width, window, shift } = *self;
        let (rows, columns) = (height.div_ceil(window), width.div_ceil(window));
        (0..rows * columns).flat_map(move |i| {
            (0..window * window).map(move |t| {
                let y = i / columns * window + t / window;
                let x = i % columns * window + t % window;
                let (from_y, from_x) =
                    ((y + shift) % (rows * window), (x + shift) % (columns * window));
                let inside = from_y < height && from_x < width;
                Slot { turned: [y, x], pixel: inside.then_some(from_y * width + from_x) }
            })
        })
    }

    /// Of a tensor that depends on the grid and on `more`.
    fn sizes(&self, more: &[usize]) -> Vec<usize> {
        let WindowGrid { height, width, window, shift } = *self;
        [&[height, width, window, shift], more].concat()
    }

    /// `[batch, height, width, channels]` → `[batch · windows, window², channels]`. One lookup of
    /// rows does the filling, the turning and the cutting.
    pub fn cut<B: Backend>(&self, map: Tensor<B, 4>) -> Tensor<B, 3> {
        let [batch, height, width, channels] = map.dims();
        let device = map.device();
        let zeros = Tensor::zeros([1, channels], &device);
        let rows = Tensor::cat(vec![map.reshape([batch * height * width, channels]), zeros], 0);
        let from = kept("rows of windows", &self.sizes(&[batch]), &device, || {
            indices(self.rows_of_windows(batch), &device)
        });
        let tokens = self.window * self.window;
        rows.select(0, from).reshape([batch * self.count(), tokens, channels])
    }

    /// The pixel of every place of an image, `[windows, window²]`; −1 for filling.
    fn places<B: Backend>(&self, device: &B::Device) -> Tensor<B, 2, Int> {
        kept("places of windows", &self.sizes(&[]), device, || {
            let place = |slot: Slot| slot.pixel.map_or(-1, |pixel| pixel as i64);
            let places = self.slots().map(place).collect::<Vec<_>>();
            // Rows of a tensor that is sent with two dimensions may have gaps.
            indices(places, device).reshape([self.count(), self.window * self.window])
        })
    }

    /// The pixel of every place of a batch; one row beyond all pixels for filling.
    fn rows_of_windows(&self, batch: usize) -> Vec<i64> {
        let pixels = self.height * self.width;
        let of_one = self.slots().map(|slot| slot.pixel).collect::<Vec<_>>();
        let of_picture = |picture: usize| {
            let row = move |pixel: &Option<usize>| match pixel {
                Some(pixel) => (picture * pixels + pixel) as i64,
                None => (batch * pixels) as i64,
            };
            of_one.iter().map(row)
        };
        (0..batch).flat_map(of_picture).collect()
    }

    /// The inverse of [`cut`](Self::cut); the filling is dropped.
    pub fn join<B: Backend>(&self, windows: Tensor<B, 3>) -> Tensor<B, 4> {
        let [count, tokens, channels] = windows.dims();
        let batch = count / self.count();
        let device = windows.device();
        let from = kept("rows of pixels", &self.sizes(&[batch]), &device, || {
            indices(self.rows_of_pixels(batch), &device)
        });
        let rows = windows.reshape([count * tokens, channels]).select(0, from);
        rows.reshape([batch, self.height, self.width, channels])
    }

    /// The place of every pixel of a batch.
    fn rows_of_pixels(&self, batch: usize) -> Vec<i64> {
        let mut of_one = vec![0; self.height * self.width];
        for (place, slot) in self.slots().enumerate() {
            if let Some(pixel) = slot.pixel {
                of_one[pixel] = place;
            }
        }
        let places = self.count() * self.window * self.window;
        let of_picture =
            |picture: usize| of_one.iter().map(move |place| (picture * places + place) as i64);
        (0..batch).flat_map(of_picture).collect()
    }

    /// What is added to the scores of shifted windows, `[windows, window², window²]`: 0 inside a
    /// region, −100 between regions. Each axis has three of them: what stayed whole, what shares
    /// the last window, and what came around from the other side. Windows that are not shifted
    /// need no mask.
    pub fn mask<B: Backend>(&self, device: &B::Device) -> Option<Tensor<B, 3>> {
        let shifted = self.shift != 0;
        shifted.then(|| {
            kept("mask of windows", &self.sizes(&[]), device, || {
                let tokens = self.window * self.window;
                let mask = Tensor::<B, 1>::from_floats(self.foreign().as_slice(), device);
                mask.reshape([self.count(), tokens, tokens])
            })
        })
    }

    /// The numbers of [`mask`](Self::mask).
    fn foreign(&self) -> Vec<f32> {
        let sides = [self.height, self.width].map(|side| side.next_multiple_of(self.window));
        let region = |place: usize, side: usize| match place {
            place if place < side - self.window => 0,
            place if place < side - self.shift => 1,
            _ => 2u8,
        };
        let regions: Vec<u8> = self
            .slots()
            .map(|Slot { turned: [y, x], .. }| 3 * region(y, sides[0]) + region(x, sides[1]))
            .collect();
        let tokens = self.window * self.window;
        let mut mask = Vec::with_capacity(regions.len() * tokens);
        for window in regions.chunks_exact(tokens) {
            for query in window {
                let row = window.iter().map(|key| if key == query { 0.0 } else { FOREIGN_REGION });
                mask.extend(row);
            }
        }
        mask
    }
}

fn indices<B: Backend>(values: Vec<i64>, device: &B::Device) -> Tensor<B, 1, Int> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend as B, cpu};

    fn counting(dims: [usize; 4]) -> Tensor<B, 4> {
        let count = dims.iter().product::<usize>() as i64;
        Tensor::<B, 1, Int>::arange(1..count + 1, &cpu()).float().reshape(dims)
    }

    #[test]
    fn a_shifted_map_is_filled_up_turned_and_cut() {
        let grid = WindowGrid { height: 2, width: 3, window: 2, shift: 1 };
        let windows = grid.cut(counting([1, 2, 3, 1])).into_data().to_vec::<f32>().unwrap();
        // Turned: 5 6 0 4
        //         2 3 0 1
        assert_eq!(windows, [5.0, 6.0, 2.0, 3.0, 0.0, 4.0, 0.0, 1.0]);
    }

    #[test]
    fn windows_join_to_the_map_they_were_cut_from() {
        let grid = WindowGrid { height: 5, width: 4, window: 3, shift: 1 };
        let map = counting([2, 5, 4, 2]);
        let windows = grid.cut(map.clone());
        assert_eq!(windows.dims(), [8, 9, 2]);
        assert_eq!(grid.join(windows).into_data(), map.into_data());
    }

    #[test]
    fn a_query_right_below_its_key_reads_the_row_of_one_down_none_across() {
        let rows = relative_position_rows(2);
        assert_eq!(rows.len(), 16);
        assert_eq!(rows[0], 4);
        assert_eq!(rows[2 * 4], 2 * 3 + 1);
    }

    #[test]
    fn a_shifted_map_of_one_window_still_has_regions() {
        let grid = WindowGrid { height: 2, width: 2, window: 2, shift: 1 };
        let mask = grid.mask::<B>(&cpu()).unwrap().into_data().to_vec::<f32>().unwrap();
        assert_eq!(mask[..4], [0.0, -100.0, -100.0, -100.0]);
    }
}
