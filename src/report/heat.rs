//! Colours of an anomaly map over a grey picture. In: a value from 0 to 1 and a grey level. Out: a
//! colour. Lightness rises with the value, so that the scale reads the same whoever looks at it and
//! in a black-and-white print; grey itself is no colour of the scale.

/// The scale: from violet over red and orange to pale yellow, at even steps.
const SCALE: [[f32; 3]; 5] = [
    [60.0, 15.0, 110.0],
    [140.0, 35.0, 110.0],
    [212.0, 72.0, 66.0],
    [250.0, 150.0, 20.0],
    [255.0, 238.0, 130.0],
];

/// How bright the picture is below the map: dark enough for outlines and heat to stand out.
const DIMMED: f32 = 0.7;

/// How much of the picture the hottest colour hides.
const MOST_OPAQUE: f32 = 0.85;

/// The value from which on a colour hides as much as it may.
const OPAQUE_FROM: f32 = 0.5;

/// The colour of `value` (0 is none, 1 the hottest) over a pixel of brightness `grey`.
pub fn over(grey: u8, value: f32) -> [u8; 3] {
    let value = value.clamp(0.0, 1.0);
    let opacity = MOST_OPAQUE * (value / OPAQUE_FROM).min(1.0);
    let below = DIMMED * f32::from(grey);
    colour(value).map(|channel| (below + (channel - below) * opacity).round() as u8)
}

fn colour(value: f32) -> [f32; 3] {
    let at = value * (SCALE.len() - 1) as f32;
    let first = (at as usize).min(SCALE.len() - 2);
    let weight = at - first as f32;
    std::array::from_fn(|c| SCALE[first][c] + (SCALE[first + 1][c] - SCALE[first][c]) * weight)
}

/// The brightness of a colour as an eye weighs its channels.
pub fn grey([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 299 + u32::from(green) * 587 + u32::from(blue) * 114 + 500) / 1000) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_heat_the_picture_stays_grey() {
        assert_eq!(over(100, 0.0), [70; 3]);
        assert_eq!(over(200, -1.0), [140; 3]);
    }

    #[test]
    fn a_hotter_colour_is_a_lighter_one() {
        let lightness = (0..=20).map(|i| grey(colour(i as f32 / 20.0).map(|c| c as u8)));
        let lightness = lightness.collect::<Vec<_>>();
        assert!(lightness.is_sorted_by(|a, b| a < b), "{lightness:?}");
        assert_eq!(colour(1.0), SCALE[4]);
    }
}
