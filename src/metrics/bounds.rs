//! A figure that is known to lie between two others. Never here: how it came about.

/// A metric from a sketch: what it is to the best of our knowledge, and between which figures the
/// metric of the scores themselves is certain to lie. 0 ≤ lower ≤ value ≤ upper ≤ 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bounded {
    pub value: f64,
    pub lower: f64,
    pub upper: f64,
}

impl Bounded {
    /// The middle of two bounds.
    pub(super) fn between(lower: f64, upper: f64) -> Self {
        let (lower, upper) = (lower.clamp(0.0, 1.0), upper.clamp(0.0, 1.0));
        Bounded { value: lower + (upper - lower) / 2.0, lower, upper }
    }

    /// With room for an error of this size in both bounds.
    pub(super) fn widened(self, by: f64) -> Self {
        let (lower, upper) = ((self.lower - by).max(0.0), (self.upper + by).min(1.0));
        Bounded { lower, upper, ..self }
    }

    /// How far the bounds are apart.
    pub fn width(self) -> f64 {
        self.upper - self.lower
    }
}
