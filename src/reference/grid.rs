//! The grid on which images are compared. In: square maps of any size. Out: each cell's mean of the
//! pixels that it covers, in `f32`, in a fixed order of sums.

/// Edge length of the images that the backbone sees, pixels.
pub const IMAGE_SIZE: usize = 256;

/// Cells along one edge of the grid.
pub const GRID: usize = 16;

/// A square map of `side` × `side` places with `channels` numbers each, channels last.
#[derive(Debug, Clone, Copy)]
pub struct Grid<'a> {
    pub side: usize,
    pub channels: usize,
    pub values: &'a [f32],
}

/// The maps on the grid of [`GRID`]² cells, their channels side by side: `[GRID², channels]`.
pub fn on_grid(maps: &[Grid]) -> Vec<f32> {
    let channels = maps.iter().map(|map| map.channels).sum::<usize>();
    let mut out = vec![0.0; GRID * GRID * channels];
    let mut first = 0;
    for map in maps {
        add_means(map, GRID, &mut out[first..], channels);
        first += map.channels;
    }
    out
}

/// The means of a map of `side` × `side` pixels in `grid` × `grid` cells.
pub fn cell_means(map: &[f32], side: usize, grid: usize) -> Vec<f32> {
    let mut out = vec![0.0; grid * grid];
    add_means(&Grid { side, channels: 1, values: map }, grid, &mut out, 1);
    out
}

/// Adds to each cell, `stride` floats apart, the mean of the places that it covers, in part or whole.
fn add_means(map: &Grid, grid: usize, out: &mut [f32], stride: usize) {
    let spans = spans(map.side, grid);
    let area = (map.side as f32 / grid as f32).powi(2);
    for (row, tall) in spans.iter().enumerate() {
        for (column, wide) in spans.iter().enumerate() {
            let cell = &mut out[(row * grid + column) * stride..][..map.channels];
            for (y, height) in tall {
                for (x, width) in wide {
                    let place = &map.values[(y * map.side + x) * map.channels..][..map.channels];
                    let weight = height * width / area;
                    cell.iter_mut().zip(place).for_each(|(sum, value)| *sum += value * weight);
                }
            }
        }
    }
}

/// For each cell the places that it covers, and how much of each.
fn spans(side: usize, grid: usize) -> Vec<Vec<(usize, f32)>> {
    let step = side as f64 / grid as f64;
    let of_cell = |cell: usize| {
        let (start, end) = (cell as f64 * step, (cell + 1) as f64 * step);
        let places = start as usize..(end.ceil() as usize).min(side);
        let covered = |place: usize| {
            let part = end.min(place as f64 + 1.0) - start.max(place as f64);
            (place, part as f32)
        };
        places.map(covered).filter(|(_, part)| *part > 1e-6).collect()
    };
    (0..grid).map(of_cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_the_mean_of_what_it_covers() {
        let map = (0..16).map(|i| i as f32).collect::<Vec<_>>();
        assert_eq!(cell_means(&map, 4, 2), [2.5, 4.5, 10.5, 12.5]);
        // Three places in two cells: the middle one counts by half for each.
        let thirds = cell_means(&[0.0, 3.0, 6.0].repeat(3), 3, 2);
        assert!((thirds[0] - 1.0).abs() < 1e-6 && (thirds[1] - 5.0).abs() < 1e-6);
        // A cell smaller than a place has its value.
        assert_eq!(cell_means(&[1.0, 2.0, 3.0, 4.0], 2, 4)[..4], [1.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn channels_of_several_maps_stand_side_by_side() {
        let fine = vec![1.0; 32 * 32 * 2];
        let coarse = vec![2.0; 8 * 8];
        let maps = [
            Grid { side: 32, channels: 2, values: &fine },
            Grid { side: 8, channels: 1, values: &coarse },
        ];
        let out = on_grid(&maps);
        assert_eq!(out.len(), GRID * GRID * 3);
        assert!(out.chunks(3).all(|cell| cell == [1.0, 1.0, 2.0]));
    }
}
