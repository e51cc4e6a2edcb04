//! An image with what was found in it drawn on it. In: the bytes of the image, its rows, its raw map if
//! the run kept it. Out: a PNG: the image, heat where the map is hot, the outline of the predicted mask,
//! the boxes of the detector. It has the size of the image, up to [`MOST_SIDE`].

use super::masks::{mask_of, png_of};
use super::selection::Image;
use crate::draw::{
    BOX, CASING, HeatScale, PREDICTION, Side, colour_of, opacity_of, outline, reduced,
};
use crate::image::{Filter, Mask, Picture, Rgb8, Size, resize, upsample_map};
use crate::pipeline::as_scored::AsScored;
use crate::tables::{BoxRow, RawMap};

/// Longest side of an overlay, pixels; a larger image is reduced to it.
pub const MOST_SIDE: usize = 4096;

/// How much of the opacity of a heat layer is used: here the image below is not dimmed.
const HEAT_SHARE: f32 = 0.5;

/// Pixels of an image's longer side for which a line gets one pixel of width.
const SIDE_PER_WIDTH: usize = 400;

/// Dashes of a box, and the gaps between them, in widths of its line.
const DASH: [usize; 2] = [5, 3];

/// Draws the overlay of `image`, whose file has `bytes`.
///
/// # Errors
/// Why it cannot be drawn, for a person.
pub fn overlay(
    bytes: &[u8],
    read: &AsScored,
    image: &Image,
    heat: Option<(&RawMap, HeatScale)>,
) -> Result<Vec<u8>, String> {
    let picture = Picture::decode(bytes, read.mode, read.limits);
    let picture = picture.map_err(|failure| failure.message)?;
    let Size { width, height } = picture.size();
    let (was, high) = (image.score.width, image.score.height);
    if (i64::from(was), i64::from(high)) != (width as i64, height as i64) {
        return Err(format!("it is {width} × {height} now and was scored as {was} × {high}"));
    }
    let mask = mask_of(image, read.limits)?.filter(|mask| mask.size() == picture.size());
    let drawn = draw(&picture.rgb_pixels(), heat, mask.as_ref(), &image.boxes);
    png_of(drawn.as_bytes(), drawn.size(), png::ColorType::Rgb)
}

fn draw(
    picture: &Rgb8,
    heat: Option<(&RawMap, HeatScale)>,
    mask: Option<&Mask>,
    boxes: &[BoxRow],
) -> Rgb8 {
    let (of, size) = (picture.size(), shown_size(picture.size()));
    let mut pixels = match size == of {
        true => picture.as_bytes().to_vec(),
        false => resize::<3>(picture.as_bytes(), of, size, Filter::Bilinear),
    };
    if let Some((map, scale)) = heat {
        warm(&mut pixels, size, map, scale);
    }
    let line = size.width.max(size.height).div_ceil(SIDE_PER_WIDTH);
    if let Some(mask) = mask {
        let mask = match size == of {
            true => mask.clone(),
            false => reduced(mask, size),
        };
        const LINE: u8 = 1;
        const AROUND: u8 = 2;
        let mut layer = vec![0; size.area()];
        outline(&mut layer, &mask, Side::Inside, line, LINE, AROUND);
        for (pixel, drawn) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(layer) {
            match drawn {
                LINE => *pixel = PREDICTION,
                AROUND => *pixel = CASING,
                _ => {}
            }
        }
    }
    let scale = size.width as f32 / of.width.max(1) as f32;
    boxes.iter().for_each(|row| frame(&mut pixels, size, row, scale, line));
    Rgb8::new(size, pixels).expect("three bytes per pixel, as before")
}

/// The size of the overlay of an image: its own, or smaller.
fn shown_size(size: Size) -> Size {
    let longest = size.width.max(size.height).max(1);
    let reduced = |side: usize| match longest > MOST_SIDE {
        true => (side * MOST_SIDE / longest).max(1),
        false => side,
    };
    Size { width: reduced(size.width), height: reduced(size.height) }
}

fn warm(pixels: &mut [u8], size: Size, map: &RawMap, scale: HeatScale) {
    let values = upsample_map(&map.values, map.size, size);
    for (pixel, value) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(values) {
        let heat = scale.heat(value);
        let share = f32::from(opacity_of(heat)) / 255.0 * HEAT_SHARE;
        if share > 0.0 {
            let colour = colour_of(heat);
            for (channel, warm) in pixel.iter_mut().zip(colour) {
                let mixed = f32::from(*channel) + (f32::from(warm) - f32::from(*channel)) * share;
                *channel = mixed.round() as u8;
            }
        }
    }
}

/// Draws a dashed box; its line lies inside of it.
fn frame(pixels: &mut [u8], size: Size, row: &BoxRow, scale: f32, line: usize) {
    // A number that is none, or is below 0, becomes 0.
    let within = |at: f32, side: usize| ((at * scale).round() as usize).min(side);
    let (left, right) = (within(row.x0, size.width), within(row.x1, size.width));
    let (top, bottom) = (within(row.y0, size.height), within(row.y1, size.height));
    let dashed = |along: usize| along % ((DASH[0] + DASH[1]) * line) < DASH[0] * line;
    let mut set = |x: usize, y: usize| {
        let at = (y * size.width + x) * 3;
        pixels[at..at + 3].copy_from_slice(&BOX);
    };
    for y in top..bottom {
        for x in left..right {
            let across = (y - top < line || bottom - y <= line) && dashed(x - left);
            let down = (x - left < line || right - x <= line) && dashed(y - top);
            if across || down {
                set(x, y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 12, height: 8 };

    fn grey(size: Size) -> Rgb8 {
        Rgb8::new(size, vec![100; size.area() * 3]).unwrap()
    }

    fn at(drawn: &Rgb8, x: usize, y: usize) -> [u8; 3] {
        let start = (y * drawn.size().width + x) * 3;
        drawn.as_bytes()[start..start + 3].try_into().unwrap()
    }

    #[test]
    fn each_thing_is_where_it_was_found_and_the_rest_is_the_image() {
        let map = RawMap { size: Size::square(2), values: vec![0.1, 0.1, 0.1, 0.3] };
        let scale = HeatScale { coldest: 0.1, hottest: 0.3 };
        let values = (0..SIZE.area()).map(|i| u8::from(i % 12 < 4 && i / 12 < 4)).collect();
        let mask = Mask::new(SIZE, values).unwrap();
        let found = BoxRow { x0: 6.0, y0: -3.0, x1: 12.4, y1: 3.0, ..BoxRow::default() };
        let drawn = draw(&grey(SIZE), Some((&map, scale)), Some(&mask), &[found]);
        assert_eq!(at(&drawn, 0, 7), [100; 3]);
        assert_eq!(
            (at(&drawn, 3, 0), at(&drawn, 2, 2), at(&drawn, 4, 1)),
            (PREDICTION, CASING, [100; 3])
        );
        assert_eq!((at(&drawn, 6, 0), at(&drawn, 6, 2), at(&drawn, 8, 1)), (BOX, BOX, [100; 3]));
        let [red, _, blue] = at(&drawn, 11, 7);
        assert!(red > 140 && red > blue + 50, "{red} {blue}");
    }

    #[test]
    fn a_large_image_is_reduced_and_its_smallest_defect_stays() {
        let size = Size { width: 2 * MOST_SIDE, height: 64 };
        let mut values = vec![0; size.area()];
        values[63 * size.width + 5001] = 1;
        let mask = Mask::new(size, values).unwrap();
        let drawn = draw(&grey(size), None, Some(&mask), &[]);
        assert_eq!(drawn.size(), Size { width: MOST_SIDE, height: 32 });
        assert_eq!(at(&drawn, 2500, 31), PREDICTION);
    }

    #[test]
    fn boxes_of_no_numbers_draw_nothing_beyond_the_image() {
        for side in [f32::NAN, f32::INFINITY, -5.0, 1e30] {
            let found = BoxRow { x0: side, y0: side, x1: side, y1: -side, ..BoxRow::default() };
            draw(&grey(SIZE), None, None, &[found]);
        }
    }
}
