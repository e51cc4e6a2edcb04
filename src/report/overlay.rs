//! One picture and what was found in it, side by side. In: pixels, a raw map, masks. Out: pixels:
//! on the left the picture, on the right the same in grey under the map as heat, with the true mask
//! outlined in blue and the predicted one in white. No text: whoever shows it says what it is.

use super::heat;
use super::outline::{self, Side};
use crate::image::{Filter, Mask, Rgb8, Size, resize, upsample_map};
use crate::tables::RawMap;

/// The true mask. Blue, as no heat is, and of another lightness than the white of the prediction.
pub const TRUTH: [u8; 3] = [0, 200, 255];

/// The predicted mask.
pub const PREDICTION: [u8; 3] = [255; 3];

/// Longest side of a panel, pixels; a larger picture is reduced to it.
const PANEL_SIDE: usize = 512;

/// Pixels of a panel's longer side for which a line gets one pixel of width.
const SIDE_PER_WIDTH: usize = 192;

/// Between the panels.
const GAP: usize = 4;
const GAP_COLOUR: [u8; 3] = [0; 3];

/// Which map values have which colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeatScale {
    /// Up to this value there is no heat.
    pub coldest: f32,
    /// From this value on it is the hottest; where it is not above `coldest`, there is none.
    pub hottest: f32,
}

impl HeatScale {
    /// 0 for no heat, 1 for the hottest.
    fn heat(self, value: f32) -> f32 {
        let span = self.hottest - self.coldest;
        if span > 0.0 { ((value - self.coldest) / span).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// What is known and was found in a picture.
pub struct Findings<'a> {
    pub map: &'a RawMap,
    pub scale: HeatScale,
    /// `None`: unknown, or nothing to see.
    pub truth: Option<&'a Mask>,
    pub prediction: Option<&'a Mask>,
}

/// Draws `findings` beside `picture`.
pub fn draw(picture: &Rgb8, findings: &Findings) -> Rgb8 {
    let size = panel_size(picture.size());
    let bytes = resize::<3>(picture.as_bytes(), picture.size(), size, Filter::Bilinear);
    let (shown, _) = bytes.as_chunks::<3>();

    let RawMap { values, side } = findings.map;
    let heat = upsample_map(values, *side, size);
    let hot = |(pixel, value): (&[u8; 3], f32)| {
        heat::over(heat::grey(*pixel), findings.scale.heat(value))
    };
    let mut right = shown.iter().zip(heat).map(hot).collect::<Vec<_>>();
    let width = size.width.max(size.height).div_ceil(SIDE_PER_WIDTH);
    let lines =
        [(findings.truth, Side::Outside, TRUTH), (findings.prediction, Side::Inside, PREDICTION)];
    for (mask, side, colour) in lines {
        if let Some(mask) = mask {
            outline::draw(&mut right, &reduced(mask, size), side, width, colour);
        }
    }

    let total = Size { width: 2 * size.width + GAP, height: size.height };
    let mut pixels = Vec::with_capacity(3 * total.area());
    for (left, right) in shown.chunks(size.width).zip(right.chunks(size.width)) {
        pixels.extend_from_slice(left.as_flattened());
        pixels.extend_from_slice([GAP_COLOUR; GAP].as_flattened());
        pixels.extend_from_slice(right.as_flattened());
    }
    Rgb8::new(total, pixels).expect("both panels have `size`, and the gap has its height")
}

/// The size of a panel: that of the picture, or smaller.
fn panel_size(size: Size) -> Size {
    let longest = size.width.max(size.height).max(1);
    let reduced = |side: usize| match longest > PANEL_SIDE {
        true => (side * PANEL_SIDE / longest).max(1),
        false => side,
    };
    Size { width: reduced(size.width), height: reduced(size.height) }
}

/// The mask at a smaller size. A pixel is in it if any of those that it stands for is: the smallest
/// defect must not vanish.
fn reduced(mask: &Mask, size: Size) -> Mask {
    let from = mask.size();
    let mut values = vec![0; size.area()];
    for (i, _) in mask.values().iter().enumerate().filter(|(_, value)| **value == 1) {
        let (x, y) = (i % from.width, i / from.width);
        values[y * size.height / from.height * size.width + x * size.width / from.width] = 1;
    }
    Mask::new(size, values).expect("one value per pixel")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 12, height: 8 };

    const SCALE: HeatScale = HeatScale { coldest: 0.0, hottest: 1.0 };

    fn picture(size: Size) -> Rgb8 {
        let bytes = (0..size.area() * 3).map(|i| (i * 7 % 251) as u8).collect();
        Rgb8::new(size, bytes).unwrap()
    }

    fn mask(inside: impl Fn(usize, usize) -> bool) -> Mask {
        let values = (0..SIZE.area()).map(|i| u8::from(inside(i % 12, i / 12))).collect();
        Mask::new(SIZE, values).unwrap()
    }

    fn pixel(drawn: &Rgb8, x: usize, y: usize) -> [u8; 3] {
        let start = 3 * (y * drawn.size().width + x);
        drawn.as_bytes()[start..start + 3].try_into().unwrap()
    }

    #[test]
    fn the_picture_is_on_the_left_and_heat_and_both_outlines_on_the_right() {
        let map = RawMap { side: 2, values: vec![0.1, 0.3, 0.1, 0.3] };
        let left_of = |edge: usize| mask(move |x, _| x < edge);
        let (truth, prediction) = (left_of(3), left_of(6));
        let findings = Findings {
            map: &map,
            scale: HeatScale { coldest: 0.1, hottest: 0.3 },
            truth: Some(&truth),
            prediction: Some(&prediction),
        };
        let original = picture(SIZE);
        let drawn = draw(&original, &findings);
        assert_eq!(drawn.size(), Size { width: 28, height: 8 });
        for (x, y) in [(0, 0), (11, 7), (5, 3)] {
            assert_eq!(pixel(&drawn, x, y), pixel(&original, x, y));
        }
        let right = 12 + GAP;
        assert_eq!(pixel(&drawn, right + 3, 4), TRUTH);
        assert_eq!(pixel(&drawn, right + 5, 4), PREDICTION);
        let [red, green, blue] = pixel(&drawn, right, 4);
        assert!(red == green && green == blue, "no heat on the left");
        let [red, _, blue] = pixel(&drawn, right + 11, 4);
        assert!(red > blue.saturating_add(50), "the hottest colour on the right");
    }

    #[test]
    fn a_large_picture_is_reduced_and_its_smallest_defect_stays() {
        let size = Size { width: 1600, height: 400 };
        let mut values = vec![0; size.area()];
        values[399 * 1600 + 1599] = 1;
        let mask = Mask::new(size, values).unwrap();
        assert_eq!(panel_size(size), Size { width: 512, height: 128 });
        assert_eq!(reduced(&mask, panel_size(size)).area_px(), 1);
        let map = RawMap { side: 1, values: vec![0.0] };
        let findings = Findings { map: &map, scale: SCALE, truth: Some(&mask), prediction: None };
        let drawn = draw(&picture(size), &findings);
        assert_eq!(drawn.size(), Size { width: 2 * 512 + GAP, height: 128 });
        let blue = drawn.as_bytes().chunks(3).filter(|pixel| **pixel == TRUTH).count();
        // Three pixels wide, around the corner: two, three and four in a diagonal.
        assert_eq!(blue, 9);
    }

    #[test]
    fn heat_goes_from_the_coldest_to_the_hottest_value_and_needs_a_span() {
        let scale = HeatScale { coldest: 0.25, hottest: 0.75 };
        assert_eq!([0.0, 0.25, 0.5, 0.75, 1.0].map(|v| scale.heat(v)), [0.0, 0.0, 0.5, 1.0, 1.0]);
        let flat = HeatScale { coldest: 0.5, hottest: 0.5 };
        assert_eq!(flat.heat(0.7), 0.0);
    }

    #[test]
    fn a_picture_without_masks_has_no_outline() {
        let map = RawMap { side: 1, values: vec![0.7] };
        let findings = Findings { map: &map, scale: SCALE, truth: None, prediction: None };
        let drawn = draw(&picture(SIZE), &findings);
        let white = drawn.as_bytes().chunks(3).filter(|pixel| **pixel == PREDICTION);
        assert_eq!(white.count(), 0);
    }
}
