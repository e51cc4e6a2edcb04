//! Kernels of our own for GPUs, one per operator, written once for CUDA and WGSL. In: tensors of a GPU's
//! own backend, in f32, f16 or bf16. Out: tensors there; statistics and sums are in f32 whatever the
//! storage format. `kernels::gpu` hands tensors over; nothing here knows a network.

pub mod attention;
pub mod boxes;
pub mod group;
pub mod heads;
pub mod norm;
pub mod parts;
pub mod patches;
pub mod pointwise;
pub mod sampling;
pub mod small;
pub mod softmax;

use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

/// Threads of a cube: a multiple of what runs in step on any GPU.
const THREADS: u32 = 256;

/// Threads that share a row, where a row is reduced.
const LANES: u32 = 32;

/// Most cubes along one axis that every GPU launches.
const MOST_CUBES: u32 = 32768;

/// A tensor as rows of its last dimension, each a fixed number of elements behind the one before: what
/// matmuls return may have gaps between rows.
pub struct Rows<R: CubeRuntime> {
    pub tensor: CubeTensor<R>,
    pub count: usize,
    pub width: usize,
    pub stride: usize,
}

impl<R: CubeRuntime> Rows<R> {
    /// A view where `tensor` is such rows, else a copy.
    pub fn of(tensor: CubeTensor<R>) -> Self {
        let tensor = match are_rows(tensor.meta.shape(), tensor.meta.strides()) {
            true => tensor,
            false => into_contiguous(tensor),
        };
        let shape = tensor.meta.shape().to_vec();
        let width = shape.last().copied().unwrap_or(1);
        let count = shape.iter().product::<usize>() / width.max(1);
        let stride = match shape.len() {
            0 | 1 => width,
            rank => tensor.meta.strides()[rank - 2],
        };
        // Of the only row: never used, and may be anything.
        let stride = if count == 1 { width } else { stride };
        Rows { tensor, count, width, stride }
    }

    pub fn arg(&self) -> TensorArg<R> {
        self.tensor.clone().into_tensor_arg()
    }

    /// Whether rows can be read `by` elements at a time.
    fn divides(&self, by: usize) -> bool {
        self.width.is_multiple_of(by) && self.stride.is_multiple_of(by)
    }
}

/// Whether elements of a row are neighbours, and rows equally far apart.
fn are_rows(shape: &[usize], strides: &[usize]) -> bool {
    let Some((&width, outer)) = shape.split_last() else { return true };
    let (&dense, strides) = strides.split_last().expect("as many strides as dimensions");
    if width != 1 && dense != 1 {
        return false;
    }
    let Some(&row) = strides.last() else { return true };
    let mut expected = row;
    for (&size, &stride) in outer.iter().zip(strides).rev() {
        if size != 1 && stride != expected {
            return false;
        }
        expected = expected.saturating_mul(size);
    }
    row >= width || outer.iter().all(|&size| size == 1)
}

/// How many elements are read at a time: the most, up to 4, that `fits` allows.
pub fn widest(fits: impl Fn(usize) -> bool) -> usize {
    [4, 2].into_iter().find(|&by| fits(by)).unwrap_or(1)
}

/// The same, where elements are read from all of `rows`.
pub fn vector_of<R: CubeRuntime>(rows: &[&Rows<R>]) -> usize {
    widest(|by| rows.iter().all(|rows| rows.divides(by)))
}

/// A tensor of `shape` without gaps, beside `like`; what it holds is not defined.
pub fn empty<R: CubeRuntime>(like: &CubeTensor<R>, shape: &[usize], dtype: DType) -> CubeTensor<R> {
    let bytes = shape.iter().product::<usize>() * dtype.size();
    CubeTensor::new_contiguous(
        like.client.clone(),
        like.device.clone(),
        Shape::from(shape.to_vec()),
        like.client.empty(bytes),
        dtype,
    )
}

/// Enough cubes for `count`; kernels check the last ones.
pub fn cubes(count: usize) -> CubeCount {
    let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let x = count.min(MOST_CUBES);
    CubeCount::Static(x, count.div_ceil(x), 1)
}

/// Cubes of [`THREADS`] for `units` of work.
pub fn flat(units: usize) -> (CubeCount, CubeDim) {
    (cubes(units.div_ceil(THREADS as usize)), CubeDim::new_1d(THREADS))
}

/// Cubes that reduce `rows`, [`LANES`] threads each.
pub fn by_row(rows: usize) -> (CubeCount, CubeDim) {
    let each = THREADS / LANES;
    (cubes(rows.div_ceil(each as usize)), CubeDim::new_2d(LANES, each))
}

/// What is made of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Reduction {
    Sum,
    Largest,
}

/// `value` reduced over `threads` neighbouring threads, a power of two: those of a row, or of the whole
/// cube. Every thread of the cube must come here.
#[cube]
pub(super) fn reduced(
    value: f32,
    shared: &mut SharedMemory<f32>,
    #[comptime] threads: u32,
    #[comptime] by: Reduction,
) -> f32 {
    let lane = UNIT_POS % threads;
    let at = UNIT_POS as usize;
    shared[at] = value;
    sync_cube();
    #[unroll]
    for step in 0..comptime!(threads.trailing_zeros()) {
        let half = comptime!(threads >> (step + 1));
        if lane < half {
            let other = shared[at + half as usize];
            let own = shared[at];
            if comptime!(by == Reduction::Sum) {
                shared[at] = own + other;
            } else {
                shared[at] = max(own, other);
            }
        }
        sync_cube();
    }
    let all = shared[(UNIT_POS - lane) as usize];
    sync_cube();
    all
}

/// The sum of `value` over the threads of a row.
#[cube]
pub(super) fn sum_of_lanes(value: f32, shared: &mut SharedMemory<f32>) -> f32 {
    reduced(value, shared, LANES, Reduction::Sum)
}

/// The largest `value` of the threads of a row.
#[cube]
pub(super) fn max_of_lanes(value: f32, shared: &mut SharedMemory<f32>) -> f32 {
    reduced(value, shared, LANES, Reduction::Largest)
}

/// The sum of the elements of `x`.
#[cube]
pub(super) fn sum_of_vector<N: Size>(x: Vector<f32, N>) -> f32 {
    let mut sum = 0.0f32;
    #[unroll]
    for i in 0..N::value() {
        sum += x[i];
    }
    sum
}
