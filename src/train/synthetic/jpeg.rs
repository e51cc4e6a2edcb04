//! What JPEG compression does to an image, without the file: cosine transform of blocks of 8 × 8,
//! rounding by the tables of the standard (ITU-T T.81, annex K), and back. Sizes need not be
//! multiples of 8: beyond the border the last pixel repeats.

use std::f32::consts::FRAC_1_SQRT_2;

const BRIGHTNESS: [u8; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113,
    92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];
const COLOUR: [u8; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

type Block = [f32; 64];

/// Compresses RGB bytes in place at `quality` 1..=100.
pub fn compress(rgb: &mut [u8], size: usize, quality: u8) {
    let basis = basis();
    let grey = rgb.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]);
    let channels = if grey { 1 } else { 3 };
    let tables = [steps(&BRIGHTNESS, quality), steps(&COLOUR, quality)];
    for top in (0..size).step_by(8) {
        for left in (0..size).step_by(8) {
            let places: [usize; 64] = std::array::from_fn(|k| {
                let (y, x) = ((top + k / 8).min(size - 1), (left + k % 8).min(size - 1));
                3 * (y * size + x)
            });
            let mut blocks = [[0.0; 64]; 3];
            for (k, i) in places.into_iter().enumerate() {
                let [r, g, b] = [rgb[i], rgb[i + 1], rgb[i + 2]].map(f32::from);
                let y = 0.299 * r + 0.587 * g + 0.114 * b;
                blocks[0][k] = y - 128.0;
                blocks[1][k] = 0.564 * (b - y);
                blocks[2][k] = 0.713 * (r - y);
            }
            for (channel, block) in blocks.iter_mut().take(channels).enumerate() {
                rounded(block, &tables[channel.min(1)], &basis);
            }
            // Places beyond the border repeat the last pixel: written first, then overwritten.
            for (k, i) in places.into_iter().enumerate().rev() {
                let [y, cb, cr] = [blocks[0][k] + 128.0, blocks[1][k], blocks[2][k]];
                let (r, b) = (y + 1.402 * cr, y + 1.772 * cb);
                let g = (y - 0.299 * r - 0.114 * b) / 0.587;
                for (out, v) in rgb[i..i + 3].iter_mut().zip([r, g, b]) {
                    *out = (v + 0.5).clamp(0.0, 255.0) as u8;
                }
            }
        }
    }
}

/// The standard's table at a quality, as the common library scales it.
fn steps(table: &[u8; 64], quality: u8) -> Block {
    let quality = f32::from(quality.clamp(1, 100));
    let scale = if quality < 50.0 { 50.0 / quality } else { 2.0 - 0.02 * quality };
    table.map(|step| (f32::from(step) * scale).clamp(1.0, 255.0))
}

/// Row k: the k-th cosine over 8 samples, orthonormal.
fn basis() -> Block {
    std::array::from_fn(|i| {
        let (k, n) = (i / 8, i % 8);
        let scale = if k == 0 { 0.353_553_4 } else { 0.5 };
        scale * cosine((2 * n + 1) * k)
    })
}

/// Cosine of `n` sixteenths of a half turn.
fn cosine(n: usize) -> f32 {
    const QUARTER: [f32; 9] = [
        1.0,
        0.980_785_3,
        0.923_879_5,
        0.831_469_6,
        FRAC_1_SQRT_2,
        0.555_570_2,
        0.382_683_4,
        0.195_090_3,
        0.0,
    ];
    match n % 32 {
        n @ 0..=8 => QUARTER[n],
        n @ 9..=16 => -QUARTER[16 - n],
        n @ 17..=24 => -QUARTER[n - 16],
        n => QUARTER[32 - n],
    }
}

fn rounded(block: &mut Block, steps: &Block, basis: &Block) {
    let inverse: Block = std::array::from_fn(|i| basis[i % 8 * 8 + i / 8]);
    let half = product(basis, block);
    let mut coefficients = product(&half, &inverse);
    for (value, step) in coefficients.iter_mut().zip(steps) {
        let whole = *value / step;
        *value = step * (whole + if whole < 0.0 { -0.5 } else { 0.5 }) as i32 as f32;
    }
    *block = product(&product(&inverse, &coefficients), basis);
}

/// Product of two 8 × 8 matrices.
fn product(a: &Block, b: &Block) -> Block {
    let mut out = [0.0; 64];
    for i in 0..8 {
        for k in 0..8 {
            let factor = a[i * 8 + k];
            for j in 0..8 {
                out[i * 8 + j] += factor * b[k * 8 + j];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_quality_keeps_a_picture_and_a_poor_one_does_not() {
        let picture = (0..20 * 20 * 3).map(|i| (i * 37 % 200) as u8).collect::<Vec<_>>();
        let worst = |quality| {
            let mut copy = picture.clone();
            compress(&mut copy, 20, quality);
            copy.iter().zip(&picture).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
        };
        assert!(worst(100) <= 3, "{}", worst(100));
        assert!(worst(20) > 20, "{}", worst(20));
    }
}
