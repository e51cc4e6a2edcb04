//! The pixels of a decoded file in the mode the file has, because the published code resizes in that
//! mode. In: what a decoder found. Out: the same, or what a person would see of it. Nothing here
//! reads bytes of a file or resizes.

use image::metadata::Orientation;

use super::colour::scale_grey16;
use super::orientation::orient;
use super::{Rect, Size};

/// Interleaved samples, row by row. The length is width × height × channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Samples {
    Grey8(Vec<u8>),
    /// 0..=65535.
    Grey16(Vec<u16>),
    /// 1-bit grey as the bytes 0 and 255.
    Bilevel(Vec<u8>),
    GreyAlpha8(Vec<u8>),
    Rgb8(Vec<u8>),
    /// RGB that was looked up in a palette.
    PaletteRgb8(Vec<u8>),
    Rgba8(Vec<u8>),
    /// 0 is no ink.
    Cmyk8(Vec<u8>),
}

impl Samples {
    /// The same image in one of the modes that hold what they show: 16 bits scaled to 8, palette
    /// and 1-bit no longer special.
    pub(super) fn into_shown(self) -> Self {
        match self {
            Samples::Grey16(values) => Samples::Grey8(scale_grey16(&values)),
            Samples::Bilevel(values) => Samples::Grey8(values),
            Samples::PaletteRgb8(values) => Samples::Rgb8(values),
            shown => shown,
        }
    }

    /// Turns the pixels. `size` is the size before.
    pub(super) fn oriented(self, size: Size, orientation: Orientation) -> Self {
        if orientation == Orientation::NoTransforms {
            return self;
        }
        match self {
            Samples::Grey8(values) => Samples::Grey8(orient::<1, _>(&values, size, orientation)),
            Samples::Grey16(values) => Samples::Grey16(orient::<1, _>(&values, size, orientation)),
            Samples::Bilevel(values) => {
                Samples::Bilevel(orient::<1, _>(&values, size, orientation))
            }
            Samples::GreyAlpha8(values) => {
                Samples::GreyAlpha8(orient::<2, _>(&values, size, orientation))
            }
            Samples::Rgb8(values) => Samples::Rgb8(orient::<3, _>(&values, size, orientation)),
            Samples::PaletteRgb8(values) => {
                Samples::PaletteRgb8(orient::<3, _>(&values, size, orientation))
            }
            Samples::Rgba8(values) => Samples::Rgba8(orient::<4, _>(&values, size, orientation)),
            Samples::Cmyk8(values) => Samples::Cmyk8(orient::<4, _>(&values, size, orientation)),
        }
    }

    /// The samples inside `part`, which lies inside an image `width` wide.
    pub(super) fn cropped(&self, width: usize, part: Rect) -> Self {
        match self {
            Samples::Grey8(values) => Samples::Grey8(crop::<1, _>(values, width, part)),
            Samples::Grey16(values) => Samples::Grey16(crop::<1, _>(values, width, part)),
            Samples::Bilevel(values) => Samples::Bilevel(crop::<1, _>(values, width, part)),
            Samples::GreyAlpha8(values) => Samples::GreyAlpha8(crop::<2, _>(values, width, part)),
            Samples::Rgb8(values) => Samples::Rgb8(crop::<3, _>(values, width, part)),
            Samples::PaletteRgb8(values) => Samples::PaletteRgb8(crop::<3, _>(values, width, part)),
            Samples::Rgba8(values) => Samples::Rgba8(crop::<4, _>(values, width, part)),
            Samples::Cmyk8(values) => Samples::Cmyk8(crop::<4, _>(values, width, part)),
        }
    }
}

fn crop<const C: usize, T: Copy>(values: &[T], width: usize, part: Rect) -> Vec<T> {
    let Rect { x, y, size } = part;
    let row = |row: usize| &values[((y + row) * width + x) * C..][..size.width * C];
    (0..size.height).flat_map(row).copied().collect()
}
