//! Colours of an anomaly map. In: a value from 0 to 1. Out: a colour and how much it hides of the
//! dimmed, grey image below. Lightness rises with the value, so that the scale reads the same
//! whoever looks at it and in a black-and-white print; grey itself is no colour of the scale.

/// The scale: from violet over red and orange to pale yellow, at even steps.
const SCALE: [[f32; 3]; 5] = [
    [60.0, 15.0, 110.0],
    [140.0, 35.0, 110.0],
    [212.0, 72.0, 66.0],
    [250.0, 150.0, 20.0],
    [255.0, 238.0, 130.0],
];

/// How much of the image the hottest colour hides.
const MOST_OPAQUE: f32 = 0.85;

/// The value from which on a colour hides as much as it may.
const OPAQUE_FROM: f32 = 0.5;

/// Which map values have which colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeatScale {
    /// Up to this value there is no heat.
    pub coldest: f32,
    /// From this value on it is the hottest; where it is not above `coldest`, there is none.
    pub hottest: f32,
}

impl HeatScale {
    /// The scale of the maps of a category: no colour up to the mean of the median map, since a network
    /// that takes every pixel for a little abnormal would otherwise colour whole images; then up to
    /// `hottest`, the highest value of any. `means` has the mean of each map.
    pub fn of_maps(mut means: Vec<f32>, hottest: f32) -> Self {
        let middle = means.len() / 2;
        let coldest = match means.is_empty() {
            true => f32::INFINITY,
            false => *means.select_nth_unstable_by(middle, f32::total_cmp).1,
        };
        HeatScale { coldest, hottest }
    }

    /// 0 for no heat, 1 for the hottest.
    pub fn heat(self, value: f32) -> f32 {
        let span = self.hottest - self.coldest;
        if span > 0.0 { ((value - self.coldest) / span).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The colour of `value`: 0 is none, 1 the hottest.
pub fn colour_of(value: f32) -> [u8; 3] {
    let at = value.clamp(0.0, 1.0) * (SCALE.len() - 1) as f32;
    let first = (at as usize).min(SCALE.len() - 2);
    let weight = at - first as f32;
    let channel = |c: usize| SCALE[first][c] + (SCALE[first + 1][c] - SCALE[first][c]) * weight;
    std::array::from_fn(|c| channel(c).round() as u8)
}

/// How much the colour of `value` hides, from 0 to 255.
pub fn opacity_of(value: f32) -> u8 {
    (255.0 * MOST_OPAQUE * (value.clamp(0.0, 1.0) / OPAQUE_FROM).min(1.0)).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hotter_colour_is_a_lighter_one_and_hides_no_less() {
        let grey = |[red, green, blue]: [u8; 3]| {
            u32::from(red) * 299 + u32::from(green) * 587 + u32::from(blue) * 114
        };
        let values = || (0..=20).map(|i| i as f32 / 20.0);
        let lightness = values().map(|value| grey(colour_of(value))).collect::<Vec<_>>();
        assert!(lightness.is_sorted_by(|a, b| a < b), "{lightness:?}");
        assert!(values().map(opacity_of).is_sorted());
        assert_eq!((opacity_of(0.0), opacity_of(-1.0), opacity_of(1.0)), (0, 0, 217));
        assert_eq!(colour_of(1.0), [255, 238, 130]);
    }

    #[test]
    fn heat_goes_from_the_coldest_to_the_hottest_value_and_needs_a_span() {
        let scale = HeatScale { coldest: 0.25, hottest: 0.75 };
        assert_eq!([0.0, 0.25, 0.5, 0.75, 1.0].map(|v| scale.heat(v)), [0.0, 0.0, 0.5, 1.0, 1.0]);
        let flat = HeatScale { coldest: 0.5, hottest: 0.5 };
        assert_eq!(flat.heat(0.7), 0.0);
    }
}
