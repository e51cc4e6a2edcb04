//! Image positions at another resolution: a checkpoint trained at 336 px fills a network at 518.
//! Bicubic with a = −0.75, corners not aligned, no antialiasing; the class row is kept.

/// `positions` `[1 + from², width]` → `[1 + to², width]`, both row-major.
///
/// Published code passes an "antialias" option here that does nothing for a larger grid.
pub fn resize_positions(positions: &[f32], from: usize, to: usize, width: usize) -> Vec<f32> {
    let (class, grid) = positions.split_at(width);
    let taps = (0..to).map(|i| taps(i, from, to)).collect::<Vec<_>>();
    let mut out = Vec::with_capacity((1 + to * to) * width);
    out.extend_from_slice(class);
    for y in &taps {
        for x in &taps {
            let start = out.len();
            out.resize(start + width, 0.0);
            let cell = &mut out[start..];
            for (row, wy) in y {
                for (column, wx) in x {
                    let weight = wy * wx;
                    let source = &grid[(row * from + column) * width..][..width];
                    cell.iter_mut().zip(source).for_each(|(out, value)| *out += weight * value);
                }
            }
        }
    }
    out
}

/// The four source indices of output `i` and their weights; indices are clamped to the grid.
fn taps(i: usize, from: usize, to: usize) -> [(usize, f32); 4] {
    let position = (i as f32 + 0.5) * (from as f32 / to as f32) - 0.5;
    let floor = position.floor();
    let t = position - floor;
    let weights = [outer(t + 1.0), inner(t), inner(1.0 - t), outer(2.0 - t)];
    let last = from as isize - 1;
    let index = |offset: isize| (floor as isize + offset).clamp(0, last) as usize;
    [
        (index(-1), weights[0]),
        (index(0), weights[1]),
        (index(1), weights[2]),
        (index(2), weights[3]),
    ]
}

const A: f32 = -0.75;

/// The cubic kernel for |x| ≤ 1.
fn inner(x: f32) -> f32 {
    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
}

/// The cubic kernel for 1 < |x| < 2.
fn outer(x: f32) -> f32 {
    ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
}
