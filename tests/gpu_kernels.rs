//! Our kernels for GPUs give what the plain operators of burn give on the CPU, for odd shapes: one row,
//! widths that nothing divides, hidden keys, views. Built for CUDA they run there, else on any Vulkan
//! driver, as `scripts/test` does.

#![cfg(any(feature = "cuda-untuned", feature = "wgpu"))]

use burn::tensor::activation::{gelu, relu, sigmoid, softmax};
use burn::tensor::backend::{Backend, BackendTypes};
use burn::tensor::{Bool, DType, FloatDType, Int, Tensor, TensorData};
#[cfg(feature = "cuda-untuned")]
use filo::device::Cuda as Gpu;
#[cfg(not(feature = "cuda-untuned"))]
use filo::device::Wgpu as Gpu;
use filo::device::{Backend as Cpu, cpu};
use filo::model::grounding::levels::LevelShape;
use filo::model::grounding::sampling::{References, Samples, sample};
use filo::model::kernels::gpu::{
    self, Act, Attention, Before, Columns, Order, Patches, Sampling, Side, Small,
};
use filo::model::norm::{LayerNorm, LayerNormConfig};

/// Numbers that are the same everywhere, about −2 to 2.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let next = move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 22) as f32 - 2.0
    };
    (0..count).map(next).collect()
}

/// The same tensor on the CPU and on the GPU.
struct Both<const D: usize> {
    cpu: Tensor<Cpu, D>,
    gpu: Tensor<Gpu, D>,
}

fn gpu_device() -> <Gpu as BackendTypes>::Device {
    Default::default()
}

fn both<const D: usize>(shape: [usize; D], seed: u32) -> Both<D> {
    let data = TensorData::new(numbers(shape.iter().product(), seed), shape);
    Both {
        cpu: Tensor::from_data(data.clone(), &cpu()),
        gpu: Tensor::from_data(data, &gpu_device()),
    }
}

fn bools<B: Backend, const D: usize>(
    shape: [usize; D],
    device: &B::Device,
    hidden: impl Fn(usize) -> bool,
) -> Tensor<B, D, Bool> {
    let values = (0..shape.iter().product()).map(hidden).collect::<Vec<bool>>();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Whether the GPU is a stand-in that compiles kernels and runs none: `scripts/compile_kernels`.
fn computes_nothing() -> bool {
    std::env::var_os("FILO_PTX").is_some()
}

/// Largest difference allowed, relative to the largest number, or to 0.1.
fn assert_close<const D: usize>(what: &str, gpu: Tensor<Gpu, D>, cpu: Tensor<Cpu, D>, most: f32) {
    assert_eq!(gpu.dims(), cpu.dims(), "{what}");
    let [gpu, cpu] = [gpu.into_data(), cpu.into_data()]
        .map(|data| data.convert::<f32>().into_vec::<f32>().expect("they are f32"));
    if computes_nothing() {
        return;
    }
    let scale = cpu.iter().fold(0.1f32, |most, value| most.max(value.abs()));
    for (i, (gpu, cpu)) in gpu.iter().zip(&cpu).enumerate() {
        let apart = (gpu - cpu).abs();
        assert!(apart <= most * scale, "{what}: {gpu} where {cpu} should be, at {i}");
    }
}

const EXACT: f32 = 5e-6;

fn norm<B: Backend>(width: usize, device: &B::Device) -> LayerNorm<B> {
    let mut norm = LayerNormConfig::new(width).with_epsilon(1e-5).init(device);
    let values = |seed| Tensor::from_data(TensorData::new(numbers(width, seed), [width]), device);
    norm.gamma = burn::module::Param::from_tensor(values(91));
    norm.beta = burn::module::Param::from_tensor(values(92));
    norm
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn a_norm_of_a_sum_is_the_plain_norm() {
    for shape in [[1, 1, 7], [2, 3, 33], [1, 9, 128], [2, 685, 96], [1, 2, 1024], [3, 5, 1]] {
        let width = shape[2];
        let (x, step) = (both(shape, 1), both(shape, 2));
        let (bias, scale, position) =
            (both([width], 3), both([width], 4), both([1, shape[1], width], 5));
        let (on_cpu, on_gpu) = (norm::<Cpu>(width, &cpu()), norm::<Gpu>(width, &gpu_device()));

        let plain = on_cpu.forward(x.cpu.clone());
        let normed = gpu::normed(x.gpu.clone(), Before::default(), &on_gpu, DType::F32);
        assert_close(&format!("norm of {shape:?}"), normed, plain, 2e-5);

        let sum = x.cpu.clone()
            + (step.cpu.clone() + bias.cpu.clone().unsqueeze()) * scale.cpu.clone().unsqueeze();
        let before = || Before {
            step: Some(step.gpu.clone()),
            bias: Some(bias.gpu.clone()),
            scale: Some(scale.gpu.clone()),
        };
        let [gpu_sum, normed] =
            gpu::summed_and_normed(x.gpu.clone(), before(), &on_gpu, DType::F32);
        assert_close(&format!("sum of {shape:?}"), gpu_sum, sum.clone(), EXACT);
        let plain = on_cpu.forward(sum.clone());
        assert_close(&format!("norm of a sum of {shape:?}"), normed, plain.clone(), 2e-5);

        let (other, its_step) = (both(shape, 6), both(shape, 7));
        let second = [other.gpu.clone(), its_step.gpu.clone()];
        let [gpu_sum, normed, second] =
            gpu::both_summed_and_normed(x.gpu.clone(), before(), second, &on_gpu, DType::F32);
        assert_close(&format!("first sum of {shape:?}"), gpu_sum, sum.clone(), EXACT);
        assert_close(&format!("first norm of {shape:?}"), normed, plain.clone(), 2e-5);
        let other = other.cpu
            + (its_step.cpu + bias.cpu.clone().unsqueeze()) * scale.cpu.clone().unsqueeze();
        assert_close(&format!("second sum of {shape:?}"), second, other, EXACT);

        let [normed, placed] =
            gpu::normed_and_placed(x.gpu.clone(), before(), &on_gpu, position.gpu.clone());
        assert_close(&format!("norm of {shape:?} beside"), normed, plain.clone(), 2e-5);
        let plain = plain + position.cpu.clone();
        assert_close(&format!("placed norm of {shape:?}"), placed, plain, 2e-5);
    }
}

/// Sums are in f32 where tokens are in 16 bits.
#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn a_norm_in_f16_rounds_its_result_only() {
    let shape = [2, 5, 48];
    let (x, on_cpu) = (both(shape, 1), norm::<Cpu>(48, &cpu()));
    let on_gpu = norm::<Gpu>(48, &gpu_device());
    let step = both(shape, 2);
    let half = step.gpu.clone().cast(FloatDType::F16);
    let rounded = half.clone().cast(FloatDType::F32).into_data();
    let sum = x.cpu.clone() + Tensor::from_data(rounded, &cpu());
    let before = Before { step: Some(half), ..Before::default() };
    let [gpu_sum, normed] = gpu::summed_and_normed(x.gpu.clone(), before, &on_gpu, DType::F16);
    assert_eq!((gpu_sum.dtype(), normed.dtype()), (DType::F32, DType::F16));
    assert_close("sum", gpu_sum, sum.clone(), EXACT);
    assert_close("norm", normed, on_cpu.forward(sum), 1e-3);
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn activations_are_the_plain_ones_also_of_views_and_of_nan() {
    for shape in [[1, 1, 1], [1, 3, 5], [2, 1370, 12], [3, 4, 64]] {
        let (x, bias) = (both(shape, 1), both([shape[2]], 2));
        let sum = x.cpu.clone() + bias.cpu.clone().unsqueeze();
        let plain = [
            (Act::None, sum.clone()),
            (Act::Relu, relu(sum.clone())),
            (Act::GeluErf, gelu(sum.clone())),
            (Act::QuickGelu, sum.clone() * sigmoid(sum * 1.702)),
        ];
        for (act, plain) in plain {
            let out = gpu::activated(x.gpu.clone(), Some(bias.gpu.clone()), act, DType::F32);
            assert_close(&format!("{act:?} of {shape:?}"), out, plain, EXACT);
        }
    }
    // Columns of a wider tensor are rows with gaps; swapped ones are none.
    let x = both([2, 6, 16], 3);
    let [gpu_view, cpu_view] = [
        gpu::activated(x.gpu.clone().narrow(2, 4, 8), None, Act::Relu, DType::F32).into_data(),
        relu(x.cpu.clone().narrow(2, 4, 8)).into_data(),
    ];
    assert_eq!(gpu_view.to_vec::<f32>().unwrap(), cpu_view.to_vec::<f32>().unwrap());
    let swapped = gpu::activated(x.gpu.swap_dims(1, 2), None, Act::Relu, DType::F32);
    assert_close("swapped", swapped, relu(x.cpu.swap_dims(1, 2)), EXACT);

    let odd = Tensor::<Gpu, 2>::from_floats([[f32::NAN, -0.5, f32::INFINITY]], &gpu_device());
    let odd = gpu::activated(odd, None, Act::Relu, DType::F32).into_data().to_vec::<f32>().unwrap();
    assert!(odd[0].is_nan() && odd[1..] == [0.0, f32::INFINITY], "{odd:?}");
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn a_residual_is_the_plain_sum_also_of_fewer_rows() {
    for (shape, step_shape) in
        [([1, 1, 3], [1, 1, 3]), ([2, 7, 20], [2, 7, 20]), ([3, 5, 64], [1, 5, 64])]
    {
        let (x, step) = (both(shape, 1), both(step_shape, 2));
        let (bias, scale) = (both([shape[2]], 3), both([shape[2]], 4));
        let plain = x.cpu.clone()
            + (step.cpu.clone() + bias.cpu.clone().unsqueeze()) * scale.cpu.clone().unsqueeze();
        let out = gpu::residual(x.gpu.clone(), step.gpu.clone(), Some(bias.gpu), Some(scale.gpu));
        assert_close(&format!("{shape:?}"), out, plain, EXACT);
        let out = gpu::residual(x.gpu, step.gpu, None, None);
        assert_close(&format!("{shape:?} alone"), out, x.cpu + step.cpu, EXACT);
    }
}

/// `[batch, tokens, width]` → `[batch, heads, tokens, width / heads]`.
fn heads_of(x: Tensor<Cpu, 3>, heads: usize) -> Tensor<Cpu, 4> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch, tokens, heads, width / heads]).swap_dims(1, 2)
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn heads_are_split_and_merged_as_by_reshapes() {
    for (batch, tokens, heads, head_width) in [(1, 1, 1, 3), (2, 5, 3, 8), (2, 17, 2, 64)] {
        let width = heads * head_width;
        let (qkv, bias) = (both([batch, tokens, 3 * width], 1), both([3 * width], 2));
        let sum = qkv.cpu + bias.cpu.unsqueeze();
        let [q, k, v] = [0, 1, 2].map(|i| heads_of(sum.clone().narrow(2, i * width, width), heads));
        let [query, key, value] = gpu::split_fused(qkv.gpu, Some(bias.gpu), heads, 0.25, 2);
        let twice =
            |a: &Tensor<Cpu, 4>, b: &Tensor<Cpu, 4>| Tensor::cat(vec![a.clone(), b.clone()], 0);
        assert_close("query", query, twice(&q, &v) * 0.25, EXACT);
        assert_close("key", key, twice(&k, &v), EXACT);
        assert_close("value", value.clone(), twice(&v, &v), EXACT);
        let plain = twice(&v, &v).swap_dims(1, 2).reshape([2 * batch, tokens, width]);
        assert_close("merged", gpu::merged(value), plain, EXACT);
    }
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn softmax_over_rows_and_columns_is_the_plain_one() {
    for (batch, any, rows, keys) in [(1, 1, 1, 1), (2, 3, 4, 5), (1, 2, 3, 1370), (3, 2, 7, 31)] {
        let x = both([batch, any, rows, keys], 1);
        let shift = both([batch, rows, keys], 2);
        let sum = x.cpu.clone() + shift.cpu.clone().unsqueeze_dim(1);
        let out = gpu::softmax_rows(x.gpu.clone(), Some(shift.gpu), None, DType::F32);
        assert_close("shifted", out, softmax(sum, 3), EXACT);
        for (masks, queries) in [(1, rows), (batch, rows), (batch, 1)] {
            let hides = |i: usize| i % 3 == 1 && !i.is_multiple_of(keys);
            let shape = [masks, 1, queries, keys];
            let plain = x.cpu.clone().mask_fill(
                bools(shape, &cpu(), hides).expand([batch, any, rows, keys]),
                f32::NEG_INFINITY,
            );
            let hidden = bools(shape, &gpu_device(), hides);
            let out = gpu::softmax_rows(x.gpu.clone(), None, Some(hidden), DType::F32);
            assert_close(&format!("{masks} masks of {queries}"), out, softmax(plain, 3), EXACT);
        }
    }
    // Scores of −∞ are no share, and a row of them is no number.
    let infinite = [[[[f32::NEG_INFINITY, 1.0, 1.0], [f32::NEG_INFINITY; 3]]]];
    let x = Tensor::<Gpu, 4>::from_floats(infinite, &gpu_device());
    let out = gpu::softmax_rows(x, None, None, DType::F32).into_data().to_vec::<f32>().unwrap();
    assert_eq!(out[..3], [0.0, 0.5, 0.5]);
    assert!(out[3..].iter().all(|share| share.is_nan()), "{out:?}");

    for (batch, rows, columns) in [(1, 1, 1), (2, 5, 3), (2, 421, 12)] {
        let x = both([batch, rows, columns], 1);
        let hides = |i: usize| i % 4 == 1;
        let hidden: Tensor<Cpu, 2, Bool> = bools([batch, rows], &cpu(), hides);
        let plain = x.cpu.clone().swap_dims(1, 2);
        let masked = plain.clone().mask_fill(
            hidden.unsqueeze_dim::<3>(1).expand([batch, columns, rows]),
            f32::NEG_INFINITY,
        );
        let out = gpu::softmax_columns(x.gpu.clone(), None);
        assert_close("columns", out, softmax(plain, 2), EXACT);
        let hidden = bools([batch, rows], &gpu_device(), hides);
        let out = gpu::softmax_columns(x.gpu, Some(hidden));
        assert_close("columns, some hidden", out, softmax(masked, 2), EXACT);
    }
}

/// `softmax(q·kᵀ/√d + more)·v` with one row of biases for all three.
fn plain_attention(
    [q, k, v]: [Tensor<Cpu, 3>; 3],
    heads: usize,
    more: impl Fn(Tensor<Cpu, 4>) -> Tensor<Cpu, 4>,
) -> Tensor<Cpu, 3> {
    let [batch, queries, width] = q.dims();
    let scale = ((width / heads) as f64).powf(-0.5);
    let [q, k, v] = [q, k, v].map(|x| heads_of(x, heads));
    let scores = more((q * scale).matmul(k.swap_dims(2, 3)));
    softmax(scores, 3).matmul(v).swap_dims(1, 2).reshape([batch, queries, width])
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn attention_in_one_kernel_is_the_plain_one() {
    let cases = [
        (1, 1, 1, 1, 5),
        (2, 3, 7, 2, 8),
        (1, 70, 130, 4, 32),
        (2, 65, 33, 1, 64),
        (1, 6, 40, 1, 128),
    ];
    for (batch, queries, keys, heads, head_width) in cases {
        let width = heads * head_width;
        let query = both([batch, queries, width], 1);
        let key_value = both([batch, keys, 2 * width], 2);
        let (bias, position) = (both([2 * width], 3), both([heads, queries, keys], 4));
        let mask = both([batch, queries, keys], 5);
        let hides = |i: usize| i % 5 == 1 && !i.is_multiple_of(keys);
        let sum = key_value.cpu.clone() + bias.cpu.clone().unsqueeze();
        let part = |i| sum.clone().narrow(2, i * width, width);
        for masks in [1, batch] {
            let shape = [masks, 1, 1, keys];
            let hidden = bools::<Cpu, 4>(shape, &cpu(), hides);
            let more = |scores: Tensor<Cpu, 4>| {
                let shape = scores.dims();
                let scores = scores
                    + position.cpu.clone().unsqueeze_dim(0)
                    + mask.cpu.clone().unsqueeze_dim(1);
                scores.mask_fill(hidden.clone().expand(shape), f32::NEG_INFINITY)
            };
            let plain = plain_attention([query.cpu.clone(), part(0), part(1)], heads, more);
            let columns = |first| Columns {
                rows: key_value.gpu.clone(),
                bias: Some(bias.gpu.clone()),
                first,
            };
            let out = gpu::attended(Attention {
                query: Columns { rows: query.gpu.clone(), bias: None, first: 0 },
                key: columns(0),
                value: columns(width),
                heads,
                width,
                position: Some(position.gpu.clone()),
                mask: Some(mask.gpu.clone()),
                hidden: Some(bools(shape, &gpu_device(), hides)),
                places: None,
            });
            let what = format!("{queries} queries, {keys} keys of {heads} × {head_width}");
            assert_close(&what, out, plain, 2e-5);
        }
    }
}

/// Windows of two tokens over five: the last one has filling, whose key is the bias alone.
#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn attention_in_windows_reads_and_writes_tokens_where_they_lie() {
    let (batch, heads, width) = (2, 2, 8);
    let (qkv, bias) = (both([batch, 5, 3 * width], 1), both([3 * width], 2));
    let mask = both([3, 2, 2], 3);
    let places = [[4i64, 1], [0, 3], [2, -1]];
    let zeros = Tensor::<Cpu, 3>::zeros([batch, 1, 3 * width], &cpu());
    let filled = Tensor::cat(vec![qkv.cpu.clone(), zeros], 1);
    let rows = places.concat().into_iter().map(|place| if place < 0 { 5 } else { place });
    let rows = Tensor::<Cpu, 1, Int>::from_ints(rows.collect::<Vec<_>>().as_slice(), &cpu());
    let windows = filled.select(1, rows).reshape([batch * 3, 2, 3 * width]);
    let sum = windows + bias.cpu.clone().unsqueeze();
    let parts = [0, 1, 2].map(|i| sum.clone().narrow(2, i * width, width));
    let plain = plain_attention(parts, heads, |scores| {
        scores + mask.cpu.clone().repeat_dim(0, batch).unsqueeze_dim(1)
    });
    let plain = plain.reshape([batch, 6, width]);
    let order = Tensor::<Cpu, 1, Int>::from_ints([2, 1, 4, 3, 0], &cpu());
    let columns = |part: usize| Columns {
        rows: qkv.gpu.clone(),
        bias: Some(bias.gpu.clone()),
        first: part * width,
    };
    let out = gpu::attended(Attention {
        query: columns(0),
        key: columns(1),
        value: columns(2),
        heads,
        width,
        position: None,
        mask: Some(mask.gpu),
        hidden: None,
        places: Some(Tensor::from_ints(places, &gpu_device())),
    });
    assert_close("windows", out, plain.select(1, order), 2e-5);
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn a_small_matmul_reads_any_layout() {
    let (batch, heads, rows, columns, inner) = (2, 3, 4, 5, 6);
    let a = both([batch, rows, heads, inner], 1);
    let c = both([heads, inner, columns], 2);
    let (a_bias, bias) = (both([heads * inner], 3), both([heads * columns], 4));
    let left = a.cpu.clone().swap_dims(1, 2) + a_bias.cpu.clone().reshape([1, heads, 1, inner]);
    let plain = left.matmul(c.cpu.clone().unsqueeze_dim(0)) * 0.5
        + bias.cpu.clone().reshape([1, heads, 1, columns]);
    let out = gpu::multiplied(
        Small {
            a: a.gpu.flatten(0, 3),
            a_strides: [rows * heads * inner, inner, heads * inner, 1],
            a_bias: Some(a_bias.gpu),
            c: c.gpu.flatten(0, 2),
            c_strides: [0, inner * columns, columns, 1],
            c_bias: None,
            bias: Some(bias.gpu),
            scale: 0.5,
            sizes: [batch, heads, rows, columns],
            inner,
            out_strides: [heads * rows * columns, columns, heads * columns, 1],
        },
        [batch, rows, heads, columns],
    );
    assert_close("small", out, plain.swap_dims(1, 2), EXACT);
}

/// Bit for bit, as they are said to be: the large part is bf16's, the small one what it leaves.
#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn parts_of_operands_are_those_of_rounding_to_bf16() {
    for [batch, rows, columns] in [[2, 3, 8], [1, 1, 1], [3, 7, 5], [1, 64, 130]] {
        let mut values = numbers(batch * rows * columns, 7);
        // Ties, a carry into the exponent, the smallest numbers, zeros.
        let odd = [1.003_906_3, 1.011_718_8, 1.999_999_9, -1.999_999_9, 1e-45, -0.0, 3e38];
        values.iter_mut().zip(odd).for_each(|(value, odd)| *value = odd);
        let data = TensorData::new(values.clone(), [batch, rows, columns]);
        let x = Tensor::<Gpu, 3>::from_data(data, &gpu_device());
        let large = values.iter().map(|&value| half::bf16::from_f32(value).to_f32());
        let small = values.iter().zip(large.clone()).map(|(value, large)| value - large);
        let [large, small] = [large.collect::<Vec<_>>(), small.collect()];
        let out = |side| gpu::stacked(x.clone(), side).into_data().to_vec::<f32>().unwrap();
        let expected = |parts: [&[f32]; 3], len: usize| {
            let rows =
                (0..parts[0].len() / len).flat_map(|row| parts.map(|p| &p[row * len..][..len]));
            rows.collect::<Vec<_>>().concat()
        };
        let bits = |values: Vec<f32>| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let left = expected([&small, &large, &large], columns);
        let right = expected([&values, &small, &large], rows * columns);
        if !computes_nothing() {
            assert_eq!(bits(out(Side::Left)), bits(left));
            assert_eq!(bits(out(Side::Right)), bits(right));
            // A view is read as what it shows.
            let turned = gpu::stacked(x.clone().swap_dims(1, 2), Side::Right);
            let turned = turned.narrow(1, 0, columns).swap_dims(1, 2);
            assert_eq!(bits(turned.into_data().to_vec::<f32>().unwrap()), bits(values));
        }
    }
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn patches_have_zeros_beyond_the_border() {
    for (channels, kernel, stride, padding) in [(3, 3, 2, 1), (4, 2, 2, 0), (1, 7, 1, 3)] {
        let x = both([2, channels, 9, 14], 1);
        let steps = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        let patches =
            Patches { kernel, stride, padding, grid: [steps(9), steps(14)], order: Order::Lines };
        let out = gpu::unfolded(x.gpu.clone().permute([0, 2, 3, 1]), patches);
        let pad = (padding, padding, padding, padding);
        let padded = x.cpu.clone().pad(pad, burn::tensor::ops::PadMode::Constant(0.0));
        let places = (0..kernel * kernel).map(|place| {
            let (y, x) = (place / kernel, place % kernel);
            let part = padded.clone().slice([
                0..2,
                0..channels,
                y..y + (steps(9) - 1) * stride + 1,
                x..x + (steps(14) - 1) * stride + 1,
            ]);
            let every = |n| (0..n).map(|i| (i * stride) as i64).collect::<Vec<_>>();
            let [rows, columns] = [steps(9), steps(14)]
                .map(|n| Tensor::<Cpu, 1, Int>::from_ints(every(n).as_slice(), &cpu()));
            part.select(2, rows).select(3, columns).permute([0, 2, 3, 1])
        });
        let plain = Tensor::cat(places.collect(), 3);
        assert_close(&format!("{kernel} by {stride}"), out, plain, EXACT);
    }
    // Beyond the border without padding, and column by column.
    let x = Tensor::<Gpu, 1, Int>::arange(1..7, &gpu_device()).float().reshape([1, 2, 3, 1]);
    let patches = Patches { kernel: 2, stride: 2, padding: 0, grid: [1, 2], order: Order::Columns };
    let out = gpu::unfolded(x, patches).into_data().to_vec::<f32>().unwrap();
    assert_eq!(out, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0, 0.0, 0.0]);
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn a_group_norm_of_rows_is_the_plain_one() {
    for (batch, rows, groups, channels) in [(1, 1, 1, 3), (2, 421, 4, 5), (3, 7, 8, 8)] {
        let width = groups * channels;
        let x = both([batch, rows, width], 1);
        let (bias, gamma, beta) = (both([width], 2), both([width], 3), both([width], 4));
        let sum = x.cpu.clone() + bias.cpu.clone().unsqueeze();
        let grouped = sum.reshape([batch, rows, groups, channels]).swap_dims(1, 2);
        let grouped = grouped.reshape([batch, groups, rows * channels]);
        let centred = grouped.clone() - grouped.mean_dim(2);
        let variance = centred.clone().powi_scalar(2).mean_dim(2);
        let plain = (centred / (variance + 1e-5).sqrt()).reshape([batch, groups, rows, channels]);
        let plain = plain.swap_dims(1, 2).reshape([batch, rows, width])
            * gamma.cpu.clone().unsqueeze()
            + beta.cpu.clone().unsqueeze();
        let affine = [gamma.gpu, beta.gpu];
        let out = gpu::normed_groups(x.gpu, Some(bias.gpu), affine, groups, 1e-5);
        assert_close(&format!("{groups} groups of {channels}"), out, plain, 3e-5);
    }
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn boxes_are_coded_and_refined_as_by_plain_operators() {
    let boxes = both([2, 3, 2, 4], 1);
    let wavelengths = [1.0f32, 10.0, 100.0];
    let first = boxes.cpu.clone().narrow(2, 0, 1).reshape([2, 3, 4]);
    let column = |i| first.clone().narrow(2, i, 1);
    let ordered = Tensor::cat(vec![column(1), column(0), column(2), column(3)], 2);
    let angles = (ordered.clone() * std::f32::consts::TAU).reshape([24, 1])
        / Tensor::<Cpu, 2>::from_floats([wavelengths], &cpu());
    let plain = Tensor::<Cpu, 2>::stack::<3>(vec![angles.clone().sin(), angles.cos()], 2);
    let wavelengths = Tensor::from_floats(wavelengths, &gpu_device());
    let out = gpu::coded(boxes.gpu.clone(), wavelengths);
    assert_close("code", out, plain.reshape([2, 3, 24]), 2e-5);

    let (shift, bias) = (both([2, 3, 4], 2), both([4], 3));
    let boxes = both([2, 3, 4], 4);
    let x = boxes.cpu.clone().clamp(0.0, 1.0);
    let complement = (x.clone().neg() + 1.0).clamp_min(1e-3);
    let logit = (x.clamp_min(1e-3) / complement).log();
    let plain = sigmoid(shift.cpu + bias.cpu.unsqueeze() + logit);
    let out = gpu::refined(shift.gpu, Some(bias.gpu), boxes.gpu, 1e-3);
    assert_close("refined", out, plain, EXACT);
}

/// Against looks at single pixels: each whole place of a map reads the pixel there.
#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn a_look_between_pixels_is_their_mean_and_padding_counts_as_zero() {
    let device = gpu_device();
    let look = |padding: Option<[bool; 2]>, bias: Option<f32>| {
        let out = gpu::sampled(Sampling::<Gpu> {
            value: Tensor::from_floats([[[2.0], [4.0]]], &device),
            value_bias: bias.map(|bias| Tensor::from_floats([bias], &device)),
            padding: padding.map(|padding| Tensor::from_data([padding], &device)),
            offsets: Tensor::zeros([1, 3, 2], &device),
            offsets_bias: None,
            weights: Tensor::zeros([1, 3, 1], &device),
            weights_bias: None,
            references: Tensor::from_floats([[[[0.5, 0.5]], [[1.0, 0.5]], [[3.0, 0.5]]]], &device),
            levels: Tensor::from_ints([[1, 2, 0]], &device),
            heads: 1,
            points: 1,
        });
        out.into_data().to_vec::<f32>().unwrap()
    };
    assert_eq!(look(None, None), [3.0, 2.0, 0.0]);
    assert_eq!(look(Some([false, true]), Some(1.0)), [1.5, 0.0, 0.0]);
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn sampling_of_all_levels_is_that_of_the_cpu() {
    let (batch, queries, heads, points) = (2, 7, 2, 3);
    let shapes = [LevelShape { height: 3, width: 5 }, LevelShape { height: 2, width: 1 }];
    for (width, per_level) in [(6, 2), (8, 4), (64, 2), (10, 4)] {
        let value = both([batch, 17, width], 1);
        let looks = heads * shapes.len() * points;
        let (offsets, weights) =
            (both([batch, queries, 2 * looks], 2), both([batch, queries, looks], 3));
        let references = both([batch, queries, shapes.len(), per_level], 4);
        let biases = (both([width], 5), both([2 * looks], 6), both([looks], 7));
        let with_bias = |x: Tensor<Cpu, 3>, bias: &Both<1>| x + bias.cpu.clone().unsqueeze();
        let of_heads = |x: Tensor<Cpu, 3>| {
            let per_head = x.dims()[2] / heads;
            x.reshape([batch, queries, heads, per_head])
        };
        let on_cpu = match per_level {
            2 => References::Points(references.cpu.clone()),
            _ => References::Boxes(references.cpu.clone()),
        };
        let samples = Samples {
            references: &on_cpu,
            offsets: of_heads(with_bias(offsets.cpu.clone(), &biases.1)),
            weights: softmax(of_heads(with_bias(weights.cpu.clone(), &biases.2)), 3),
        };
        let plain = sample(with_bias(value.cpu.clone(), &biases.0), &shapes, samples);
        let out = gpu::sampled(Sampling {
            value: value.gpu.clone(),
            value_bias: Some(biases.0.gpu),
            padding: Some(bools([batch, 17], &gpu_device(), |_| false)),
            offsets: offsets.gpu,
            offsets_bias: Some(biases.1.gpu),
            weights: weights.gpu,
            weights_bias: Some(biases.2.gpu),
            references: references.gpu,
            levels: Tensor::from_ints([[3, 5, 0], [2, 1, 15]], &gpu_device()),
            heads,
            points,
        });
        assert_close(&format!("{width} channels, {per_level}"), out, plain, 2e-5);
    }
}
