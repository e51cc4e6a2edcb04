//! Which of many scores are the highest. In: the scores of every image, which a GPU hands over as they
//! are: no backend sorts on one. Out: positions, best first, back on the device. Only what is taken is
//! sorted.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use rayon::prelude::*;

/// The positions of the `count` highest of `scores` `[batch, n]`, best first: `[batch, count]`. NaN is
/// above every number. `count` is at most `n`. Equal scores come in the order in which burn's
/// `sort_descending_with_indices` leaves them on a CPU.
pub fn highest<B: Backend>(scores: Tensor<B, 2>, count: usize) -> Tensor<B, 2, Int> {
    let [batch, n] = scores.dims();
    let device = scores.device();
    let scores = scores.into_data().convert::<f32>();
    let Ok(scores) = scores.as_slice::<f32>() else {
        unreachable!("numbers converted to f32 are f32")
    };
    let rows = scores.par_chunks(n.max(1)).flat_map_iter(|row| highest_of_row(row, count));
    let positions = rows.collect::<Vec<i64>>();
    Tensor::from_data(TensorData::new(positions, [batch, count]), &device)
}

fn highest_of_row(row: &[f32], count: usize) -> impl Iterator<Item = i64> {
    let descending = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1);
    let all = || row.iter().copied().enumerate().collect::<Vec<_>>();
    let mut best = all();
    if count < best.len() {
        // One more than is taken: it may equal the last one taken.
        best.select_nth_unstable_by(count, descending);
        best.truncate(count + 1);
    }
    best.sort_unstable_by(descending);
    if best.windows(2).any(|pair| descending(&pair[0], &pair[1]).is_eq()) {
        best = all();
        best.sort_unstable_by(descending);
    }
    best.truncate(count);
    best.into_iter().map(|(position, _)| position as i64)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;
    use crate::device::{Backend as B, cpu};

    fn assert_as_sorted(scores: Tensor<B, 2>, count: usize) {
        let (_, sorted) = scores.clone().sort_descending_with_indices(1);
        assert_eq!(highest(scores, count).into_data(), sorted.narrow(1, 0, count).into_data());
    }

    #[test]
    fn the_highest_are_those_of_a_whole_sort() {
        let random = Tensor::<B, 2>::random([3, 700], Distribution::Normal(0.0, 1.0), &cpu());
        for count in [1, 90, 699, 700] {
            assert_as_sorted(random.clone(), count);
        }
    }

    /// Tokens that may propose nothing all have one score.
    #[test]
    fn equal_scores_come_in_the_order_of_a_whole_sort() {
        let random = Tensor::<B, 2>::random([4, 700], Distribution::Uniform(0.0, 40.0), &cpu());
        for count in [1, 90, 699, 700] {
            assert_as_sorted(random.clone().floor(), count);
            assert_as_sorted(random.clone().clamp_min(30.0), count);
            assert_as_sorted(Tensor::full([2, 700], f32::NAN, &cpu()), count);
        }
    }

    #[test]
    fn what_is_no_number_comes_first() {
        let scores = Tensor::<B, 2>::from_data([[1.0, f32::NAN, f32::NEG_INFINITY, 2.0]], &cpu());
        let positions = highest(scores, 3).into_data().convert::<i64>().to_vec::<i64>();
        assert_eq!(positions.unwrap(), [1, 3, 0]);
    }
}
