//! Defect masks. In: a mask file, or a map and a threshold. Out: one byte per pixel, 0 or 1. Regions
//! are counted elsewhere; a picture that is shown never becomes a mask here.

use super::filter::Filter;
use super::resize::resize;
use super::{DecodeLimits, Picture, Preprocess, Size};
use crate::error::{Failure, FailureCode, Stage};

/// From this byte on a resized mask is defect: above one half of 255.
const FOREGROUND: u8 = 128;

/// Which pixels are defect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    size: Size,
    values: Vec<u8>,
}

impl Mask {
    /// `values` row by row, 0 for good and anything else for defect; `None` unless there are
    /// height × width of them.
    pub fn new(size: Size, mut values: Vec<u8>) -> Option<Self> {
        values.iter_mut().for_each(|value| *value = u8::from(*value > 0));
        (values.len() == size.area()).then_some(Mask { size, values })
    }

    /// For makers of masks inside this folder: `values` are 0 or 1, height × width of them.
    pub(super) fn from_flags(size: Size, values: Vec<u8>) -> Self {
        debug_assert_eq!(values.len(), size.area());
        Mask { size, values }
    }

    /// Decodes a mask file of any format that pictures have. A pixel with any colour channel above 0
    /// is defect (in the data sets masks hold 0 and 255, or 0 and small class numbers); alpha does
    /// not count.
    ///
    /// # Errors
    /// `MaskCorrupt` at stage `Mask`, whatever is wrong with the file.
    pub fn decode(bytes: &[u8], mode: Preprocess, limits: DecodeLimits) -> Result<Self, Failure> {
        let picture = Picture::decode(bytes, mode, limits).map_err(|failure| {
            Failure::new(Stage::Mask, FailureCode::MaskCorrupt, failure.message)
        })?;
        let rgb = picture.rgb_pixels();
        let (pixels, _) = rgb.as_bytes().as_chunks::<3>();
        let values = pixels.iter().map(|&pixel| u8::from(pixel != [0; 3])).collect();
        Ok(Mask { size: picture.size(), values })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// 0 or 1 per pixel, row by row.
    pub fn values(&self) -> &[u8] {
        &self.values
    }

    /// The number of defect pixels.
    pub fn area_px(&self) -> u64 {
        self.values.iter().map(|&value| u64::from(value)).sum()
    }

    /// The mask stretched to `side` × `side`, as the published evaluation does it: 0 and 255,
    /// bilinear with antialias, and defect from 128 on.
    pub fn resize(&self, side: usize) -> Mask {
        let size = Size::square(side);
        let grey: Vec<u8> = self.values.iter().map(|value| value * 255).collect();
        let mut values = resize::<1>(&grey, self.size, size, Filter::Bilinear);
        values.iter_mut().for_each(|value| *value = u8::from(*value >= FOREGROUND));
        Mask { size, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_that_are_more_than_half_defect_stay_defect() {
        let size = Size { width: 4, height: 2 };
        let mask = Mask::new(size, vec![9, 1, 0, 0, 1, 0, 0, 0]).unwrap();
        assert_eq!(mask.area_px(), 3);
        // The left pixels see six and three sevenths of defect.
        assert_eq!(mask.resize(2).values(), [1, 0, 0, 0]);
    }
}
