//! Distance to what is usual at the same place. In: features of the references, each channel with a
//! variance of 1 over all of them. Out: for each cell how far an image is from their mean, in standard
//! deviations: a diagonal Mahalanobis distance (Defard et al. 2020, "PaDiM", without covariances between
//! channels), its variance shrunk to the global one. A reference is compared with the others only.

/// So many observations of the global variance, which is 1, are added to those of each cell.
const SHRINK: f64 = 8.0;

/// Sums over the references at each cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Position {
    pub count: usize,
    /// Of features and of their squares, `[cells, channels]`.
    pub sums: Vec<f32>,
    pub squares: Vec<f32>,
}

/// The distances of an image at each cell.
#[derive(Debug, Clone, PartialEq)]
pub struct PositionDistances {
    /// In standard deviations of the cell.
    pub scaled: Vec<f64>,
    /// Squared, in global standard deviations.
    pub plain: Vec<f64>,
}

impl Position {
    /// Of features `[cells, channels]` of each reference.
    pub fn new(references: &[Vec<f32>]) -> Self {
        let length = references.first().map_or(0, Vec::len);
        let (mut sums, mut squares) = (vec![0.0f64; length], vec![0.0f64; length]);
        for x in references {
            for ((sum, square), x) in sums.iter_mut().zip(&mut squares).zip(x) {
                let x = f64::from(*x);
                *sum += x;
                *square += x * x;
            }
        }
        let rounded = |sums: Vec<f64>| sums.into_iter().map(|sum| sum as f32).collect();
        Position { count: references.len(), sums: rounded(sums), squares: rounded(squares) }
    }

    /// The distances of an image with features `x`, `[cells, channels]`, which may be one of the
    /// references.
    pub fn distances(&self, x: &[f32], channels: usize, is_reference: bool) -> PositionDistances {
        let own = f64::from(u8::from(is_reference));
        let n = self.count as f64 - own;
        let cells = x.chunks_exact(channels);
        let sums = self.sums.chunks_exact(channels).zip(self.squares.chunks_exact(channels));
        let of_cell = |(x, (sums, squares)): (&[f32], (&[f32], &[f32]))| {
            let (mut scaled, mut plain) = (0.0, 0.0);
            for ((x, sum), square) in x.iter().zip(sums).zip(squares) {
                let x = f64::from(*x);
                let mean = (f64::from(*sum) - own * x) / n;
                let variance = (f64::from(*square) - own * x * x) / n - mean * mean;
                let variance = (n * variance.max(0.0) + SHRINK) / (n + SHRINK);
                let distance = (x - mean) * (x - mean);
                scaled += distance / variance;
                plain += distance;
            }
            ((scaled / channels as f64).sqrt(), plain / channels as f64)
        };
        let (scaled, plain) = cells.zip(sums).map(of_cell).unzip();
        PositionDistances { scaled, plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_compared_with_the_others() {
        let references = [vec![0.0f32, 1.0], vec![2.0, 1.0], vec![7.0, 1.0]];
        let position = Position::new(&references);
        let own = position.distances(&references[2], 1, true);
        // Mean 1 and variance 1 of the other two, shrunk to 1; mean 1, variance 8/10.
        assert!((own.plain[0] - 36.0).abs() < 1e-9 && (own.scaled[0] - 6.0).abs() < 1e-9);
        assert_eq!((own.plain[1], own.scaled[1]), (0.0, 0.0));
        let other = position.distances(&[3.0, 2.0], 1, false);
        assert!((other.plain[0] - 0.0).abs() < 1e-9);
        let expected = (1.0f64 / (8.0 / 11.0)).sqrt();
        assert!((other.scaled[1] - expected).abs() < 1e-6, "{:?}", other.scaled);
    }
}
