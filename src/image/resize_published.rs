//! The two resamplers that only the published reading needs: 16-bit grey in f64, and nearest
//! neighbour for palette and 1-bit images. In and out: samples of one image. Nothing here is
//! fast; a sensible reading never comes here.

use std::collections::VecDeque;

use super::Size;
use super::filter::{Filter, Window, windows};

/// Resizes integer samples as Pillow resizes its 32-bit mode: f64 sums, rounded half away from zero
/// after each pass, not clamped. Both sizes must be at least 1 × 1.
pub(super) fn resize_grey16(source: &[u16], from: Size, to: Size, filter: Filter) -> Vec<i32> {
    let columns: Vec<Window> = windows(filter, from.width, to.width).collect();
    let narrow = |row: &[u16]| -> Vec<i32> {
        columns.iter().map(|w| weigh(w, |k| f64::from(row[w.first + k]))).collect()
    };
    let mut source_rows = source.chunks_exact(from.width);
    let mut rows: VecDeque<Vec<i32>> = VecDeque::new();
    let mut first_row = 0;
    let mut out = Vec::with_capacity(to.area());
    for window in windows(filter, from.height, to.height) {
        let missing = (window.first + window.weights.len()).saturating_sub(first_row + rows.len());
        rows.extend(source_rows.by_ref().take(missing).map(narrow));
        rows.drain(..window.first - first_row);
        first_row = window.first;
        out.extend((0..to.width).map(|x| weigh(&window, |k| f64::from(rows[k][x]))));
    }
    out
}

fn weigh(window: &Window, sample: impl Fn(usize) -> f64) -> i32 {
    let sum: f64 = window.weights.iter().enumerate().map(|(k, weight)| sample(k) * weight).sum();
    (sum + 0.5f64.copysign(sum)) as i32
}

/// Takes the nearest of the pixels of C samples. Both sizes must be at least 1 × 1.
pub(super) fn resize_nearest<const C: usize>(source: &[u8], from: Size, to: Size) -> Vec<u8> {
    let columns = nearest_indices(from.width, to.width);
    let rows = nearest_indices(from.height, to.height);
    let (pixels, _) = source.as_chunks::<C>();
    rows.iter()
        .flat_map(|y| columns.iter().flat_map(move |x| &pixels[y * from.width + x]))
        .copied()
        .collect()
}

/// floor((i + ½) · from / to) for each output i, by repeated addition as Pillow does it, so that
/// its rounding error is ours too.
fn nearest_indices(from: usize, to: usize) -> Vec<usize> {
    let step = from as f64 / to as f64;
    let positions = std::iter::successors(Some(step * 0.5), |position| Some(position + step));
    positions.take(to).map(|position| (position as usize).min(from - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_takes_the_pixel_under_the_centre() {
        assert_eq!(nearest_indices(3, 6), [0, 0, 1, 1, 2, 2]);
        assert_eq!(nearest_indices(6, 4), [0, 2, 3, 5]);
    }

    #[test]
    fn sixteen_bit_values_survive_a_resize_to_the_same_size() {
        let size = Size { width: 2, height: 2 };
        let values = resize_grey16(&[0, 65535, 300, 7], size, size, Filter::Bicubic);
        assert_eq!(values, [0, 65535, 300, 7]);
    }
}
