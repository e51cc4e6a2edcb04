//! The plane cut into cells around scattered points: crystal grains, stones, pores, leather.

use fastrand::Rng;

use super::math::floor;
use super::noise::{Frame, Lattice};

/// Where a pixel lies within its cell.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// Random value of the cell, −1..1.
    pub value: f32,
    /// A second one.
    pub other: f32,
    /// Distance to the cell's point, in units of the frame.
    pub near: f32,
    /// How much farther the second nearest point is: 0 on the border.
    pub border: f32,
}

pub struct Cells {
    frame: Frame,
    /// 0 = a square grid, 1 = fully scattered.
    jitter: f32,
    shift_u: Lattice,
    shift_v: Lattice,
    value: Lattice,
    other: Lattice,
}

impl Cells {
    pub fn new(frame: Frame, jitter: f32, rng: &mut Rng) -> Self {
        let mut lattice = || Lattice::new(rng);
        let (shift_u, shift_v, value, other) = (lattice(), lattice(), lattice(), lattice());
        Cells { frame, jitter, shift_u, shift_v, value, other }
    }

    pub fn at(&self, x: f32, y: f32) -> Cell {
        let (u, v) = self.frame.at(x, y);
        let (iu, iv) = (floor(u), floor(v));
        let (mut first, mut second, mut owner) = (f32::MAX, f32::MAX, (0, 0));
        for dv in -1..=1 {
            for du in -1..=1 {
                let (cu, cv) = (iu + du, iv + dv);
                let pu = cu as f32 + 0.5 + 0.5 * self.jitter * self.shift_u.cell(cu, cv) - u;
                let pv = cv as f32 + 0.5 + 0.5 * self.jitter * self.shift_v.cell(cu, cv) - v;
                let square = pu * pu + pv * pv;
                if square < first {
                    (second, first, owner) = (first, square, (cu, cv));
                } else if square < second {
                    second = square;
                }
            }
        }
        let near = first.sqrt();
        let (value, other) = (self.value.cell(owner.0, owner.1), self.other.cell(owner.0, owner.1));
        Cell { value, other, near, border: second.sqrt() - near }
    }
}
