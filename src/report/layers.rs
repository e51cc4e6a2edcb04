//! What is shown of an image, layer by layer: the image, the map as heat, the outlines of the
//! masks. In: pixels, a raw map, masks. Out: small files, JPEG and PNG with transparency, which a
//! page lays over each other at one size.

use image::codecs::jpeg::JpegEncoder;
use image::{ColorType, ImageEncoder};

use crate::draw::{
    self, CASING, HeatScale, PREDICTION, Side, TRUTH, colour_of, opacity_of, reduced,
};
use crate::image::{Filter, Mask, Rgb8, Size, resize};
use crate::tables::RawMap;

/// Longest side of a shown image, pixels; a larger image is reduced to it.
const LONGEST_SIDE: usize = 352;

/// Pixels of an image's longer side for which a line gets one pixel of width.
const SIDE_PER_WIDTH: usize = 176;

/// Longest side of a shown map, cells. A larger one is reduced to it, by the highest value of what
/// becomes one cell: the smallest peak must not vanish.
const MAP_SIDE: usize = 80;

/// Colours of a heat layer, the first one transparent.
const HEAT_LEVELS: usize = 64;

/// Qualities at which a JPEG is tried until it is small enough.
const QUALITIES: [u8; 5] = [85, 70, 55, 40, 25];

/// Into how many parts sides are cut, of which one is kept, where that is not enough.
const FEWER: [usize; 3] = [2, 3, 4];

/// What is known and was found in an image.
#[derive(Debug, Clone, Copy)]
pub struct Findings<'a> {
    /// `None`: the run kept none.
    pub map: Option<&'a RawMap>,
    pub scale: HeatScale,
    /// `None`: unknown, or nothing to see.
    pub truth: Option<&'a Mask>,
    pub prediction: Option<&'a Mask>,
}

impl Findings<'_> {
    /// Of an image that was not looked at.
    pub const NONE: Self = Findings {
        map: None,
        scale: HeatScale { coldest: 0.0, hottest: 0.0 },
        truth: None,
        prediction: None,
    };
}

/// The layers of an image, each a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Layers {
    /// The size at which all are shown; a file with fewer pixels is stretched to it.
    pub size: Size,
    /// Size of the image itself.
    pub of: Size,
    /// JPEG.
    pub picture: Vec<u8>,
    /// PNG; transparent where it is cold.
    pub heat: Option<Vec<u8>>,
    /// PNG; transparent but for the line.
    pub truth: Option<Vec<u8>>,
    pub prediction: Option<Vec<u8>>,
}

/// Draws the layers of `picture`; they take `limit` bytes or few more. `None` if a file cannot be
/// made, for which there is no known reason.
pub fn draw(picture: &Rgb8, findings: Findings, limit: usize) -> Option<Layers> {
    let size = shown_size(picture.size());
    let map = findings.map.map(|map| heat_png(map, findings.scale));
    let line = |mask: Option<&Mask>, side, colour| match mask {
        Some(mask) => outline(mask, size, side, colour, limit / 4).map(Some),
        None => Some(None),
    };
    let heat = map.map_or(Some(None), |png| png.map(Some))?;
    let truth = line(findings.truth, Side::Outside, TRUTH)?;
    let prediction = line(findings.prediction, Side::Inside, PREDICTION)?;
    let others = [&heat, &truth, &prediction].map(|png| png.as_ref().map_or(0, Vec::len));
    let left = limit.saturating_sub(others.iter().sum());
    let file = jpeg(picture, size, left)?;
    Some(Layers { size, of: picture.size(), picture: file, heat, truth, prediction })
}

/// The best of the tried files that is small enough, or the smallest: first with less quality, then
/// with fewer pixels.
fn jpeg(picture: &Rgb8, size: Size, limit: usize) -> Option<Vec<u8>> {
    let worst = &QUALITIES[QUALITIES.len() - 1..];
    let tries = std::iter::once((1, &QUALITIES[..])).chain(FEWER.map(|part| (part, worst)));
    let mut file = Vec::new();
    for (part, qualities) in tries {
        let to = fewer(size, part);
        let pixels = resize::<3>(picture.as_bytes(), picture.size(), to, Filter::Bilinear);
        let (width, height) = (to.width as u32, to.height as u32);
        for quality in qualities {
            file.clear();
            let encoder = JpegEncoder::new_with_quality(&mut file, *quality);
            encoder.write_image(&pixels, width, height, ColorType::Rgb8.into()).ok()?;
            if file.len() <= limit {
                return Some(file);
            }
        }
    }
    Some(file)
}

/// A size with a part of the rows and columns.
fn fewer(size: Size, part: usize) -> Size {
    Size { width: size.width.div_ceil(part), height: size.height.div_ceil(part) }
}

/// The size at which an image is shown: its own, or smaller.
fn shown_size(size: Size) -> Size {
    within(size, LONGEST_SIDE)
}

/// A size whose longer side is at most `most`, with the same aspect.
fn within(size: Size, most: usize) -> Size {
    let longest = size.width.max(size.height);
    let reduced = |side: usize| match longest > most {
        true => (side * most / longest).max(1),
        false => side,
    };
    Size { width: reduced(size.width), height: reduced(size.height) }
}

fn heat_png(map: &RawMap, scale: HeatScale) -> Option<Vec<u8>> {
    let Size { width, height } = map.size;
    let size = within(map.size, MAP_SIDE);
    let mut cells = vec![0u8; size.area()];
    for (i, value) in map.values.iter().enumerate() {
        let x = i % width * size.width / width;
        let y = i / width * size.height / height;
        let level = (scale.heat(*value) * (HEAT_LEVELS - 1) as f32).round() as u8;
        let cell = &mut cells[y * size.width + x];
        *cell = level.max(*cell);
    }
    let palette = (0..HEAT_LEVELS).map(|level| {
        let value = level as f32 / (HEAT_LEVELS - 1) as f32;
        (colour_of(value), opacity_of(value))
    });
    indexed_png(&cells, size, palette)
}

/// The outline of `mask` at `size`, or, where it has too many bends for `limit` bytes, coarser.
fn outline(mask: &Mask, size: Size, side: Side, colour: [u8; 3], limit: usize) -> Option<Vec<u8>> {
    let fine = outline_png(&reduced(mask, size), side, colour)?;
    match fine.len() <= limit {
        true => Some(fine),
        false => outline_png(&reduced(mask, fewer(size, FEWER[0])), side, colour),
    }
}

fn outline_png(mask: &Mask, side: Side, colour: [u8; 3]) -> Option<Vec<u8>> {
    const LINE: u8 = 1;
    const AROUND: u8 = 2;
    let size = mask.size();
    let mut pixels = vec![0; size.area()];
    let width = size.width.max(size.height).div_ceil(SIDE_PER_WIDTH);
    draw::outline(&mut pixels, mask, side, width, LINE, AROUND);
    indexed_png(&pixels, size, [([0; 3], 0), (colour, 255), (CASING, 255)].into_iter())
}

/// A PNG of colours with their opacity.
fn indexed_png(
    pixels: &[u8],
    size: Size,
    palette: impl Iterator<Item = ([u8; 3], u8)>,
) -> Option<Vec<u8>> {
    let (colours, opacities): (Vec<_>, Vec<_>) = palette.unzip();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size.width as u32, size.height as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(colours.concat());
    encoder.set_trns(opacities);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(pixels).ok()?;
    writer.finish().ok()?;
    Some(file)
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

    fn opened(png: &Option<Vec<u8>>) -> image::RgbaImage {
        image::load_from_memory(png.as_ref().unwrap()).unwrap().to_rgba8()
    }

    #[test]
    fn each_layer_is_transparent_where_it_has_nothing_to_say() {
        let map = RawMap { size: Size::square(2), values: vec![0.1, 0.3, 0.1, 0.3] };
        let left_of = |edge: usize| mask(move |x, _| x < edge);
        let (truth, prediction) = (left_of(3), left_of(6));
        let findings = Findings {
            map: Some(&map),
            scale: HeatScale { coldest: 0.1, hottest: 0.3 },
            truth: Some(&truth),
            prediction: Some(&prediction),
        };
        let layers = draw(&picture(SIZE), findings, 100_000).unwrap();
        assert_eq!(layers.size, SIZE);
        assert_eq!(image::load_from_memory(&layers.picture).unwrap().width(), 12);
        let heat = opened(&layers.heat);
        assert_eq!(heat.get_pixel(0, 0).0[3], 0);
        let [red, _, blue, opacity] = heat.get_pixel(1, 0).0;
        assert!(red > blue.saturating_add(50) && opacity > 200, "the hottest colour");
        let line = |[r, g, b]: [u8; 3]| image::Rgba([r, g, b, 255]);
        let (outer, inner) = (opened(&layers.truth), opened(&layers.prediction));
        assert_eq!((*outer.get_pixel(3, 4), outer.get_pixel(2, 4).0[3]), (line(TRUTH), 0));
        assert_eq!((*inner.get_pixel(5, 4), inner.get_pixel(6, 4).0[3]), (line(PREDICTION), 0));
    }

    #[test]
    fn a_large_picture_is_reduced_and_its_smallest_defect_and_peak_stay() {
        let size = Size { width: 1600, height: 400 };
        let mut values = vec![0; size.area()];
        values[399 * 1600 + 1599] = 1;
        let mask = Mask::new(size, values).unwrap();
        assert_eq!(shown_size(size), Size { width: 352, height: 88 });
        assert_eq!(reduced(&mask, shown_size(size)).area_px(), 1);
        let mut map = RawMap { size: Size::square(518), values: vec![0.0; 518 * 518] };
        map.values[300 * 518 + 7] = 1.0;
        let findings =
            Findings { map: Some(&map), scale: SCALE, truth: Some(&mask), prediction: None };
        let layers = draw(&picture(size), findings, 100_000).unwrap();
        let heat = opened(&layers.heat);
        let hot = heat.enumerate_pixels().filter(|pixel| pixel.2.0[3] > 0);
        assert_eq!(hot.map(|(x, y, _)| (x, y)).collect::<Vec<_>>(), [(1, 300 * 80 / 518)]);
        let blue = opened(&layers.truth);
        assert!(blue.pixels().any(|pixel| pixel.0[..3] == TRUTH && pixel.0[3] == 255));
        assert_eq!(layers.prediction, None);
    }

    #[test]
    fn a_picture_of_noise_becomes_small_enough() {
        let size = Size { width: 352, height: 352 };
        let mut random = fastrand::Rng::with_seed(1);
        let noise = Rgb8::new(size, (0..size.area() * 3).map(|_| random.u8(..)).collect()).unwrap();
        let findings = Findings { map: None, scale: SCALE, truth: None, prediction: None };
        let bytes = |limit| draw(&noise, findings, limit).unwrap().picture.len();
        for limit in [60_000, 20_000, 6_000] {
            assert!(bytes(limit) <= limit, "{}", bytes(limit));
        }
        assert!(bytes(1 << 20) > 60_000);
        let mask = Mask::new(size, (0..size.area()).map(|_| random.u8(..2)).collect()).unwrap();
        let findings = Findings { prediction: Some(&mask), ..findings };
        let layers = draw(&noise, findings, 20_000).unwrap();
        let line = layers.prediction.unwrap().len();
        assert!(line + layers.picture.len() <= 20_000, "{line} {}", layers.picture.len());
    }
}
