//! Fixed random projections, which keep distances but for a spread that falls with the number of columns.
//! The same signs everywhere, made of integers only.

/// A matrix `[rows, columns]` of 1 and −1 over the root of `columns`: each sign is the highest bit of a
/// hash of its place (the finaliser of SplitMix64, Steele et al. 2014).
pub fn projection(rows: usize, columns: usize) -> Vec<f32> {
    let size = 1.0 / (columns as f32).sqrt();
    let number = |place: u64| {
        let mut z = place.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        if (z ^ (z >> 31)) >> 63 == 1 { size } else { -size }
    };
    (0..(rows * columns) as u64).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_fixed_and_balanced() {
        let signs = projection(176, 64).into_iter().map(|number| 8.0 * number).collect::<Vec<_>>();
        let sum = signs.iter().sum::<f32>();
        assert!(sum.abs() < 4.0 * (176.0f32 * 64.0).sqrt(), "{sum}");
        assert!(signs.iter().all(|sign| sign.abs() == 1.0));
    }
}
