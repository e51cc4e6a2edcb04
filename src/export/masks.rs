//! Predicted masks as images. In: a row of `masks`. Out: a PNG of the size of the image, 255 where the
//! mask is and 0 elsewhere.

use super::selection::Image;
use crate::image::{DecodeLimits, Mask, Rle, Size};
use crate::tables::MaskRow;

/// The predicted mask of an image; `None` if it has none.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn mask_of(image: &Image, limits: DecodeLimits) -> Result<Option<Mask>, String> {
    let Some(row) = &image.mask else { return Ok(None) };
    let size = size_of(row, limits).ok_or_else(|| {
        let MaskRow { width, height, .. } = row;
        format!("a mask of {width} × {height} pixels is none that this program makes")
    })?;
    let rle = Rle::from_counts(size, row.counts.clone()).map_err(|error| error.to_string())?;
    Ok(Some(rle.decode()))
}

fn size_of(row: &MaskRow, limits: DecodeLimits) -> Option<Size> {
    let [width, height] =
        [row.width, row.height].map(|side| usize::try_from(side).ok().filter(|side| *side > 0));
    let size = Size { width: width?, height: height? };
    let pixels = (size.width as u64).checked_mul(size.height as u64)?;
    (pixels <= limits.max_pixels).then_some(size)
}

/// The file of a mask.
///
/// # Errors
/// If it cannot be made, for which there is no known reason.
pub fn mask_png(mask: &Mask) -> Result<Vec<u8>, String> {
    let values = mask.values().iter().map(|value| value * 255).collect::<Vec<_>>();
    png_of(&values, mask.size(), png::ColorType::Grayscale)
}

/// A PNG of 8 bits per channel.
///
/// # Errors
/// As [`mask_png`].
pub fn png_of(pixels: &[u8], size: Size, colour: png::ColorType) -> Result<Vec<u8>, String> {
    let mut file = Vec::new();
    let side = |side: usize| u32::try_from(side).map_err(|error| error.to_string());
    let mut encoder = png::Encoder::new(&mut file, side(size.width)?, side(size.height)?);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
    writer.write_image_data(pixels).map_err(|error| error.to_string())?;
    writer.finish().map_err(|error| error.to_string())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: DecodeLimits =
        DecodeLimits { max_pixels: 1 << 20, max_side: 1 << 18, max_bytes: 1 << 30 };

    #[test]
    fn a_mask_is_255_inside_and_0_outside() {
        let row = MaskRow { width: 3, height: 2, counts: "132".into(), ..MaskRow::default() };
        let image = Image { mask: Some(row), ..Image::default() };
        let file = mask_png(&mask_of(&image, LIMITS).unwrap().unwrap()).unwrap();
        let read = image::load_from_memory(&file).unwrap().to_luma8();
        assert_eq!((read.width(), read.height()), (3, 2));
        assert_eq!(read.into_raw(), [0, 255, 0, 255, 255, 0]);
        assert_eq!(mask_of(&Image::default(), LIMITS), Ok(None));
    }

    #[test]
    fn a_size_that_nothing_has_is_refused() {
        for (width, height) in [(0, 5), (-1, 5), (i32::MAX, i32::MAX)] {
            let row = MaskRow { width, height, counts: "5".into(), ..MaskRow::default() };
            let image = Image { mask: Some(row), ..Image::default() };
            assert!(mask_of(&image, LIMITS).is_err());
        }
    }
}
