//! A defect mask in, its connected regions out: which region each pixel belongs to and how large
//! each region is. Two passes over the runs of defect pixels, joined by union-find.
//! Never here: scores, and any judgement of which regions count.

use std::ops::Range;

use crate::error::MetricsError;

/// Which neighbours make two defect pixels one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connectivity {
    /// Left, right, above, below.
    Four,
    /// Those and the diagonals. The per-region overlap of all published AUPRO figures uses this.
    Eight,
}

impl Connectivity {
    /// How many columns past its own ends a run still touches a run of the next row.
    fn reach(self) -> u32 {
        match self {
            Connectivity::Four => 0,
            Connectivity::Eight => 1,
        }
    }
}

/// The connected defect regions of one mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regions {
    labels: Vec<u32>,
    areas_px: Vec<u32>,
}

impl Regions {
    /// How many regions the mask has.
    pub fn count(&self) -> usize {
        self.areas_px.len()
    }

    /// Region of every pixel, row by row: 0 for background, else 1..=`count`, numbered in the
    /// order in which their first pixels are read.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Size of every region in pixels; region `k` is at `k - 1`.
    pub fn areas_px(&self) -> &[u32] {
        &self.areas_px
    }

    /// For every pixel, row by row, the size of the region it lies in, 0 for background.
    pub fn area_of_each_pixel(&self) -> impl Iterator<Item = u32> {
        self.labels.iter().map(|&label| match label {
            0 => 0,
            label => self.areas_px[label as usize - 1],
        })
    }
}

/// The 8-connected regions of `mask` (`width * height` values, row by row; any value above 0 is
/// defect).
///
/// # Errors
/// The mask is not `width * height` long, or has more than 2³² − 1 pixels.
pub fn connected_regions(
    mask: &[u8],
    width: usize,
    height: usize,
) -> Result<Regions, MetricsError> {
    connected_regions_by(mask, width, height, Connectivity::Eight)
}

/// As [`connected_regions`], with the neighbourhood chosen by the caller.
///
/// # Errors
/// As [`connected_regions`].
pub fn connected_regions_by(
    mask: &[u8],
    width: usize,
    height: usize,
    connectivity: Connectivity,
) -> Result<Regions, MetricsError> {
    check_plane("mask", mask.len(), width, height)?;
    let mut forest = RunForest::default();
    let mut above = 0..0;
    // An empty mask has no rows; `max` only keeps the chunk size legal.
    for (y, row) in mask.chunks_exact(width.max(1)).enumerate() {
        let current = forest.push_row(row, y * width);
        forest.join_rows(above, current.clone(), connectivity.reach());
        above = current;
    }
    Ok(forest.into_regions(mask.len()))
}

/// Checks that a plane of `len` values is `width * height` and that pixel counts fit in `u32`.
pub(super) fn check_plane(
    what: &'static str,
    len: usize,
    width: usize,
    height: usize,
) -> Result<(), MetricsError> {
    match width.checked_mul(height) {
        Some(pixels) if u32::try_from(pixels).is_err() => {
            Err(MetricsError::TooManyPixels { what, width, height })
        }
        None => Err(MetricsError::TooManyPixels { what, width, height }),
        Some(pixels) if pixels != len => {
            Err(MetricsError::SizeMismatch { what, found: len, width, height })
        }
        Some(_) => Ok(()),
    }
}

/// Neighbouring defect pixels of one row. Columns, end exclusive.
#[derive(Debug, Clone, Copy)]
struct Run {
    row_start: usize,
    start: u32,
    end: u32,
}

/// The runs in reading order and, for each, a run read no later that belongs to the same region.
#[derive(Debug, Default)]
struct RunForest {
    runs: Vec<Run>,
    parent: Vec<u32>,
}

impl RunForest {
    /// Appends the runs of one row, each its own region so far; `row_start` is the index of the
    /// row's first pixel. Columns fit in `u32`: `check_plane` has seen the whole mask.
    fn push_row(&mut self, row: &[u8], row_start: usize) -> Range<usize> {
        let first = self.runs.len();
        let mut x = 0;
        while let Some(gap) = row[x..].iter().position(|&v| v != 0) {
            let start = x + gap;
            x = row[start..].iter().position(|&v| v == 0).map_or(row.len(), |len| start + len);
            self.parent.push(self.runs.len() as u32);
            self.runs.push(Run { row_start, start: start as u32, end: x as u32 });
        }
        first..self.runs.len()
    }

    /// Joins the runs of two neighbouring rows that touch. Both are sorted, so one sweep does it.
    fn join_rows(&mut self, above: Range<usize>, current: Range<usize>, reach: u32) {
        let (mut a, mut c) = (above.start, current.start);
        while a < above.end && c < current.end {
            let (upper, lower) = (self.runs[a], self.runs[c]);
            if upper.start < lower.end + reach && lower.start < upper.end + reach {
                self.join(a as u32, c as u32);
            }
            // The run that ends first touches nothing further right: a gap of at least one pixel
            // lies between neighbours of a row.
            if upper.end < lower.end {
                a += 1;
            } else {
                c += 1;
            }
        }
    }

    /// Makes two regions one. The earlier run stays the root, so roots are first in reading order.
    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b) as usize] = a.min(b);
    }

    /// The first run of the region, halving the path on the way.
    fn root(&mut self, mut run: u32) -> u32 {
        while self.parent[run as usize] != run {
            let grandparent = self.parent[self.parent[run as usize] as usize];
            self.parent[run as usize] = grandparent;
            run = grandparent;
        }
        run
    }

    /// The second pass: numbers the regions, adds up their areas and paints their pixels.
    fn into_regions(mut self, pixels: usize) -> Regions {
        let mut labels = vec![0; pixels];
        let mut areas_px: Vec<u32> = Vec::new();
        let mut label_of_run = vec![0u32; self.runs.len()];
        for index in 0..self.runs.len() {
            let root = self.root(index as u32) as usize;
            if root == index {
                areas_px.push(0);
                label_of_run[index] = areas_px.len() as u32;
            }
            let label = label_of_run[root];
            let run = self.runs[index];
            areas_px[label as usize - 1] += run.end - run.start;
            labels[run.row_start + run.start as usize..run.row_start + run.end as usize]
                .fill(label);
        }
        Regions { labels, areas_px }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagonal_is_one_region_of_eight_neighbours_and_three_of_four() {
        let mask = [1, 0, 0, 0, 1, 0, 0, 0, 1];
        let eight = connected_regions(&mask, 3, 3).unwrap();
        assert_eq!(eight.areas_px(), [3]);
        let four = connected_regions_by(&mask, 3, 3, Connectivity::Four).unwrap();
        assert_eq!(four.areas_px(), [1, 1, 1]);
        assert_eq!(four.labels(), [1, 0, 0, 0, 2, 0, 0, 0, 3]);
    }

    #[test]
    fn arms_that_meet_late_are_one_region() {
        #[rustfmt::skip]
        let mask = [
            1, 0, 1, 0, 1,
            1, 0, 1, 0, 1,
            1, 1, 1, 0, 1,
            0, 0, 0, 0, 0,
            9, 0, 0, 1, 1,
        ];
        let regions = connected_regions(&mask, 5, 5).unwrap();
        assert_eq!(regions.areas_px(), [7, 3, 1, 2]);
        let areas: Vec<u32> = regions.area_of_each_pixel().collect();
        assert_eq!(areas[..5], [7, 0, 7, 0, 3]);
    }

    #[test]
    fn rows_do_not_wrap_around_the_edge() {
        let regions = connected_regions(&[0, 0, 1, 1, 0, 0], 3, 2).unwrap();
        assert_eq!(regions.count(), 2);
    }

    #[test]
    fn an_empty_mask_has_no_region_and_a_wrong_size_is_refused() {
        assert_eq!(connected_regions(&[], 0, 0).unwrap().count(), 0);
        assert_eq!(connected_regions(&[], 0, 7).unwrap().count(), 0);
        assert!(matches!(
            connected_regions(&[1, 1], 3, 1),
            Err(MetricsError::SizeMismatch { found: 2, width: 3, height: 1, .. })
        ));
        assert!(matches!(
            connected_regions(&[], usize::MAX, 2),
            Err(MetricsError::TooManyPixels { .. })
        ));
    }
}
