//! A square of numbers: tones, heights, covers. All work on images is done on these.
//! Beyond the border the nearest pixel counts.

use super::math::{exp2, floor, lerp};

#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    pub size: usize,
    /// Row after row.
    pub data: Vec<f32>,
}

impl Plane {
    pub fn filled(size: usize, value: f32) -> Self {
        Plane { size, data: vec![value; size * size] }
    }

    /// `value(x, y)` at the centre of each pixel.
    pub fn from_fn(size: usize, mut value: impl FnMut(f32, f32) -> f32) -> Self {
        let mut data = Vec::with_capacity(size * size);
        for y in 0..size {
            for x in 0..size {
                data.push(value(x as f32, y as f32));
            }
        }
        Plane { size, data }
    }

    pub fn map(mut self, change: impl Fn(f32) -> f32) -> Self {
        self.data.iter_mut().for_each(|value| *value = change(*value));
        self
    }

    /// `change(own, other)` pixel by pixel.
    pub fn with(mut self, other: &Plane, change: impl Fn(f32, f32) -> f32) -> Self {
        self.data.iter_mut().zip(&other.data).for_each(|(a, b)| *a = change(*a, *b));
        self
    }

    /// Adds `amount` times `other`.
    pub fn plus(self, other: &Plane, amount: f32) -> Self {
        self.with(other, |a, b| a + amount * b)
    }

    pub fn mean(&self) -> f32 {
        self.data.iter().sum::<f32>() / self.data.len() as f32
    }

    /// Shifted and scaled to mean 0 and deviation 1; a flat plane becomes 0.
    pub fn standardised(self) -> Self {
        let mean = self.mean();
        let square = self.data.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>();
        let scale = 1.0 / (square / self.data.len() as f32).sqrt().max(1e-6);
        self.map(|v| (v - mean) * scale)
    }

    /// The square of `side` pixels whose upper left one is (x0, y0); it must lie inside.
    pub fn cropped(&self, x0: usize, y0: usize, side: usize) -> Plane {
        let mut data = Vec::with_capacity(side * side);
        for y in y0..y0 + side {
            data.extend_from_slice(&self.data[y * self.size + x0..][..side]);
        }
        Plane { size: side, data }
    }

    /// The mean of each square of `times` pixels a side.
    pub fn reduced(self, times: usize) -> Plane {
        if times == 1 {
            return self;
        }
        let size = self.size / times;
        let mut data = vec![0.0; size * size];
        let share = 1.0 / (times * times) as f32;
        for (y, row) in self.data.chunks_exact(self.size).take(size * times).enumerate() {
            let out = &mut data[y / times * size..][..size];
            for (value, square) in out.iter_mut().zip(row.chunks_exact(times)) {
                *value += share * square.iter().sum::<f32>();
            }
        }
        Plane { size, data }
    }

    /// Value at the nearest pixel.
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let last = self.size as i32 - 1;
        let (x, y) = (floor(x + 0.5).clamp(0, last), floor(y + 0.5).clamp(0, last));
        self.data[y as usize * self.size + x as usize]
    }

    /// Value between pixels, bilinear.
    pub fn between(&self, x: f32, y: f32) -> f32 {
        let last = (self.size - 1) as f32;
        let (x, y) = (x.clamp(0.0, last), y.clamp(0.0, last));
        let (x0, y0) = (x as usize, y as usize);
        let (x1, y1) = ((x0 + 1).min(self.size - 1), (y0 + 1).min(self.size - 1));
        let (fx, fy) = (x - x0 as f32, y - y0 as f32);
        let (top, low) = (y0 * self.size, y1 * self.size);
        let a = lerp(self.data[top + x0], self.data[top + x1], fx);
        let b = lerp(self.data[low + x0], self.data[low + x1], fx);
        lerp(a, b, fy)
    }

    /// Slope of the plane along direction (dx, dy): light from there on a relief.
    pub fn relief(&self, dx: f32, dy: f32) -> Plane {
        let n = self.size;
        let mut out = Vec::with_capacity(n * n);
        for y in 0..n {
            let (up, down) = (y.saturating_sub(1) * n, (y + 1).min(n - 1) * n);
            for x in 0..n {
                let (left, right) = (x.saturating_sub(1), (x + 1).min(n - 1));
                let gx = self.data[y * n + right] - self.data[y * n + left];
                let gy = self.data[down + x] - self.data[up + x];
                out.push(0.5 * (gx * dx + gy * dy));
            }
        }
        Plane { size: n, data: out }
    }

    /// Gaussian of `sigma` pixels: by its kernel if narrow, else by three running means.
    pub fn blurred(&self, sigma: f32) -> Plane {
        if sigma < 0.15 {
            return self.clone();
        }
        if sigma < 2.2 {
            let kernel = gaussian(sigma);
            return self.rows_by(&kernel).columns_by(&kernel);
        }
        // Three means over 2r + 1 pixels have the deviation √(r² + r).
        let radius = (0.5 * (4.0 * sigma * sigma + 1.0).sqrt()) as usize;
        let mut plane = self.clone();
        for _ in 0..3 {
            plane = plane.mean_of_rows(radius).turned();
        }
        for _ in 0..3 {
            plane = plane.mean_of_rows(radius).turned();
        }
        plane
    }

    /// Rows and columns exchanged.
    fn turned(&self) -> Plane {
        let n = self.size;
        let mut data = vec![0.0; n * n];
        for (y, row) in self.data.chunks_exact(n).enumerate() {
            for (x, value) in row.iter().enumerate() {
                data[x * n + y] = *value;
            }
        }
        Plane { size: n, data }
    }

    fn mean_of_rows(&self, radius: usize) -> Plane {
        let n = self.size;
        let share = 1.0 / (2 * radius + 1) as f32;
        let mut data = Vec::with_capacity(n * n);
        for row in self.data.chunks_exact(n) {
            let pixel = |x: isize| row[x.clamp(0, n as isize - 1) as usize];
            let reach = radius as isize;
            let mut sum = (-reach..=reach).map(pixel).sum::<f32>();
            for x in 0..n as isize {
                data.push(sum * share);
                sum += pixel(x + reach + 1) - pixel(x - reach);
            }
        }
        Plane { size: n, data }
    }

    fn rows_by(&self, kernel: &[f32]) -> Plane {
        let n = self.size;
        let reach = kernel.len() / 2;
        let mut data = vec![0.0; n * n];
        let mut padded = vec![0.0; n + 2 * reach];
        for (row, out) in self.data.chunks_exact(n).zip(data.chunks_exact_mut(n)) {
            padded[..reach].fill(row[0]);
            padded[reach..reach + n].copy_from_slice(row);
            padded[reach + n..].fill(row[n - 1]);
            for (k, weight) in kernel.iter().enumerate() {
                out.iter_mut().zip(&padded[k..]).for_each(|(o, v)| *o += weight * v);
            }
        }
        Plane { size: n, data }
    }

    fn columns_by(&self, kernel: &[f32]) -> Plane {
        let n = self.size;
        let reach = kernel.len() / 2;
        let mut data = vec![0.0; n * n];
        for (y, out) in data.chunks_exact_mut(n).enumerate() {
            for (k, weight) in kernel.iter().enumerate() {
                let from = (y + k).saturating_sub(reach).min(n - 1) * n;
                let row = &self.data[from..from + n];
                out.iter_mut().zip(row).for_each(|(o, v)| *o += weight * v);
            }
        }
        Plane { size: n, data }
    }
}

/// Weights of a Gaussian out to 2.5 deviations, summing to 1.
fn gaussian(sigma: f32) -> Vec<f32> {
    let reach = (2.5 * sigma + 0.999) as i32;
    let weight = |k: i32| exp2(-0.721_347_5 * (k * k) as f32 / (sigma * sigma));
    let weights = (-reach..=reach).map(weight).collect::<Vec<_>>();
    let sum = weights.iter().sum::<f32>();
    weights.iter().map(|w| w / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blurs_keep_the_sum_and_spread_a_point_by_their_sigma() {
        for sigma in [0.8, 1.9, 4.0] {
            let mut point = Plane::filled(65, 0.0);
            point.data[32 * 65 + 32] = 1.0;
            let blurred = point.blurred(sigma);
            assert!((blurred.data.iter().sum::<f32>() - 1.0).abs() < 1e-3);
            let spread = |i: usize| (i % 65) as f32 - 32.0;
            let variance = blurred
                .data
                .iter()
                .enumerate()
                .map(|(i, v)| v * spread(i) * spread(i))
                .sum::<f32>();
            assert!((variance.sqrt() / sigma - 1.0).abs() < 0.13, "{sigma}: {}", variance.sqrt());
        }
    }

    #[test]
    fn a_square_cut_out_and_reduced_has_the_means_of_its_pixels() {
        let plane = Plane::from_fn(6, |x, y| x + 10.0 * y);
        assert_eq!(plane.cropped(1, 2, 2).data, [21.0, 22.0, 31.0, 32.0]);
        assert_eq!(plane.cropped(0, 0, 4).reduced(2).data, [5.5, 7.5, 25.5, 27.5]);
    }

    #[test]
    fn a_standardised_plane_has_mean_zero_and_deviation_one() {
        let plane = Plane::from_fn(16, |x, y| 3.0 + x * y).standardised();
        let square = plane.data.iter().map(|v| v * v).sum::<f32>() / 256.0;
        assert!(plane.mean().abs() < 1e-4 && (square - 1.0).abs() < 1e-3);
    }
}
