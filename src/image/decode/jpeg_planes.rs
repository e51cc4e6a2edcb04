//! Planes of a JPEG to pixels, for the samplings that the decoder's own way does not cover: four
//! components, and colours of unusual factors. In: one plane per component at its own resolution.
//! Out: interleaved samples at the size of the image, by libjpeg's rules: the triangle filter where a
//! plane has half the columns or rows (or both), repetition elsewhere.

use libjpeg_turbo_rs::RawImage;

use crate::image::Size;

/// Where a plane lies on the grid of the image.
struct Plane<'a> {
    samples: &'a [u8],
    /// Samples from one row to the next.
    stride: usize,
    /// Columns and rows that the image needs; what lies beyond fills whole blocks.
    columns: usize,
    rows: usize,
    /// Pixels per sample.
    wide: usize,
    high: usize,
}

/// The planes of `raw` at the size of the image, interleaved. `factors` are the horizontal and
/// vertical sampling factors of each. `None` for factors that libjpeg refuses too.
pub(super) fn interleaved(raw: &RawImage, factors: &[(u8, u8)], size: Size) -> Option<Vec<u8>> {
    let planes = factors.iter().enumerate().map(|(index, _)| Plane::of(raw, factors, index, size));
    let planes = planes.collect::<Option<Vec<Plane>>>()?;
    let mut out = vec![0; size.area() * planes.len()];
    let mut row = vec![0; size.width];
    let mut blended = Vec::new();
    for (y, line) in out.chunks_exact_mut(size.width * planes.len()).enumerate() {
        for (channel, plane) in planes.iter().enumerate() {
            plane.row(y, &mut blended, &mut row);
            for (pixel, value) in line.chunks_exact_mut(planes.len()).zip(&row) {
                pixel[channel] = *value;
            }
        }
    }
    Some(out)
}

impl<'a> Plane<'a> {
    fn of(raw: &'a RawImage, factors: &[(u8, u8)], index: usize, size: Size) -> Option<Self> {
        let (h, v) = *factors.get(index)?;
        let most_h = factors.iter().map(|(h, _)| *h).max()?;
        let most_v = factors.iter().map(|(_, v)| *v).max()?;
        if h == 0 || v == 0 || most_h % h != 0 || most_v % v != 0 {
            return None;
        }
        let (wide, high) = (usize::from(most_h / h), usize::from(most_v / v));
        let (columns, rows) = (size.width.div_ceil(wide), size.height.div_ceil(high));
        let (samples, stride) = (raw.planes.get(index)?, *raw.plane_widths.get(index)?);
        let fits = stride >= columns && samples.len() >= stride.checked_mul(rows)?;
        fits.then_some(Plane { samples, stride, columns, rows, wide, high })
    }

    fn line(&self, y: usize) -> &'a [u8] {
        &self.samples[y * self.stride..][..self.columns]
    }

    /// Row `y` of the image into `out`; `blended` is room for sums.
    fn row(&self, y: usize, blended: &mut Vec<u16>, out: &mut [u8]) {
        // libjpeg filters no plane of one or two columns sideways.
        let filters_columns = self.wide == 2 && self.columns > 2;
        let near = self.line(y / self.high);
        match (filters_columns, self.high) {
            (true, 1) => {
                blended.clear();
                blended.extend(near.iter().map(|value| u16::from(*value)));
                widen(blended, [1, 2], 2, out);
            }
            (true, 2) => {
                self.blend_rows(y, blended);
                widen(blended, [8, 7], 4, out);
            }
            (false, 2) if self.wide == 1 => {
                self.blend_rows(y, blended);
                let bias = if y.is_multiple_of(2) { 1 } else { 2 };
                for (out, sum) in out.iter_mut().zip(blended) {
                    *out = ((*sum + bias) >> 2) as u8;
                }
            }
            _ => {
                for (x, out) in out.iter_mut().enumerate() {
                    *out = near[x / self.wide];
                }
            }
        }
    }

    /// Three parts of the row that covers `y`, one part of the next nearest.
    fn blend_rows(&self, y: usize, blended: &mut Vec<u16>) {
        let near = y / 2;
        let far = match y.is_multiple_of(2) {
            true => near.saturating_sub(1),
            false => (near + 1).min(self.rows - 1),
        };
        let pairs = self.line(near).iter().zip(self.line(far));
        blended.clear();
        blended.extend(pairs.map(|(near, far)| 3 * u16::from(*near) + u16::from(*far)));
    }
}

/// Twice as many columns: three parts of the sample above, one of the next nearest. Sums are divided
/// by 2^`shift`, for left and right halves after adding their `bias`.
fn widen(sums: &[u16], bias: [u16; 2], shift: u32, out: &mut [u8]) {
    let last = sums.len() - 1;
    for (x, out) in out.iter_mut().enumerate() {
        let near = x / 2;
        let (far, bias) = match x % 2 {
            0 => (near.saturating_sub(1), bias[0]),
            _ => ((near + 1).min(last), bias[1]),
        };
        *out = ((3 * sums[near] + sums[far] + bias) >> shift) as u8;
    }
}

/// Luma and chroma to red, green and blue in the first three of C channels, in place, with libjpeg's
/// tables: 16 bits behind the point.
pub(super) fn ycc_to_rgb<const C: usize>(pixels: &mut [u8]) {
    const HALF: i32 = 1 << 15;
    for pixel in pixels.as_chunks_mut::<C>().0 {
        let [y, cb, cr] = [pixel[0], pixel[1], pixel[2]].map(i32::from);
        let (cb, cr) = (cb - 128, cr - 128);
        let rgb = [
            y + ((91_881 * cr + HALF) >> 16),
            y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16),
            y + ((116_130 * cb + HALF) >> 16),
        ];
        pixel[..3].copy_from_slice(&rgb.map(|value| value.clamp(0, 255) as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(planes: Vec<Vec<u8>>, plane_widths: Vec<usize>, size: Size) -> RawImage {
        let plane_heights =
            planes.iter().zip(&plane_widths).map(|(plane, width)| plane.len() / width).collect();
        let num_components = planes.len();
        let (width, height) = (size.width, size.height);
        RawImage { planes, plane_widths, plane_heights, width, height, num_components }
    }

    #[test]
    fn half_the_columns_are_filled_by_a_triangle_and_two_columns_are_repeated() {
        let size = Size { width: 5, height: 1 };
        let three = raw(vec![vec![1; 8], vec![0, 100, 200, 255]], vec![8, 4], size);
        let pixels = interleaved(&three, &[(2, 1), (1, 1)], size).unwrap();
        assert_eq!(pixels, [1, 0, 1, 25, 1, 75, 1, 125, 1, 175]);
        let size = Size { width: 4, height: 1 };
        let pixels = interleaved(&three, &[(2, 1), (1, 1)], size).unwrap();
        assert_eq!(pixels, [1, 0, 1, 0, 1, 100, 1, 100]);
    }

    #[test]
    fn half_the_rows_are_filled_by_a_triangle() {
        let size = Size { width: 1, height: 4 };
        let two = raw(vec![vec![1; 4], vec![0, 101]], vec![1, 1], size);
        let pixels = interleaved(&two, &[(1, 2), (1, 1)], size).unwrap();
        // (3·0 + 101 + 2) / 4, (3·101 + 0 + 1) / 4
        assert_eq!(pixels, [1, 0, 1, 25, 1, 76, 1, 101]);
    }

    #[test]
    fn factors_that_do_not_divide_are_refused() {
        let size = Size { width: 1, height: 1 };
        let two = raw(vec![vec![1; 4], vec![2; 4]], vec![2, 2], size);
        assert_eq!(interleaved(&two, &[(3, 1), (2, 1)], size), None);
        assert_eq!(interleaved(&two, &[(1, 0), (1, 1)], size), None);
    }
}
