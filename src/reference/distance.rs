//! How far an image is from the references. In: its patch features. Out: the maps of both distances, on
//! a logarithmic scale, and the reference most like it. An image that is a reference, or a copy of one,
//! is compared with the others.

/// What the references say of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Distances {
    /// Logarithm of the distance to what is usual at the same place, `[cells]`.
    pub position: Vec<f64>,
    /// Logarithm of the distance to the nearest patches, `[cells]`.
    pub nearest: Vec<f64>,
    /// Which reference is most alike.
    pub most_alike: usize,
}

/// The mean of each cell and its neighbours in a grid of `side` × `side` cells, `[cells, channels]`: a
/// patch is recognised by what surrounds it (Roth et al. 2022, "PatchCore", section 3.1).
pub fn with_neighbours(features: &[f32], side: usize, channels: usize) -> Vec<f32> {
    let mut out = vec![0.0; features.len()];
    let around = |at: usize| at.saturating_sub(1)..=(at + 1).min(side - 1);
    for row in 0..side {
        for column in 0..side {
            let cell = &mut out[(row * side + column) * channels..][..channels];
            let mut count = 0.0;
            for y in around(row) {
                for x in around(column) {
                    let other = &features[(y * side + x) * channels..][..channels];
                    cell.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
                    count += 1.0;
                }
            }
            cell.iter_mut().for_each(|sum| *sum /= count);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_beyond_the_border_do_not_count() {
        let features = (0..9).map(|i| i as f32).collect::<Vec<_>>();
        let means = with_neighbours(&features, 3, 1);
        // Cells 0, 1, 3, 4; all nine; cells 4, 5, 7, 8.
        assert_eq!([means[0], means[4], means[8]], [2.0, 4.0, 6.0]);
    }
}
