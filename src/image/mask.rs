//! Defect masks. In: a mask file, or a map and a threshold. Out: one byte per pixel, 0 or 1. Regions
//! are counted elsewhere; an image that is shown never becomes a mask here.

use image::metadata::Orientation;

use super::decode::{Stored, decode_stored};
use super::filter::Filter;
use super::orientation::{orient, oriented_size};
use super::picture::Frame;
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

    /// The true mask of `image` from its files, which are one or several that are drawn together.
    /// It is made from the samples as they are stored: bits, ids and palette indices other than 0
    /// are defect; of a lossy file what is brighter than half of its brightest pixel; alpha where
    /// all colours are one. A mask that was drawn in the frame of the file, before EXIF turns the
    /// image, is turned with it.
    ///
    /// # Errors
    /// At stage `Mask`: `MaskCorrupt` whatever is wrong with a file, `MaskSizeMismatch`, or
    /// `MaskFrame` where nothing shows in which frame of a turned image the mask was drawn.
    pub fn of_files(
        files: &[impl AsRef<[u8]>],
        image: &Picture,
        mode: Preprocess,
        limits: DecodeLimits,
    ) -> Result<Self, Failure> {
        let size = image.size();
        let mut values = vec![0; size.area()];
        for file in files {
            let stored = decode_stored(file.as_ref(), limits).map_err(|failure| {
                Failure::new(Stage::Mask, FailureCode::MaskCorrupt, failure.message)
            })?;
            let drawn = in_frame(stored.flags(), image.frame(), mode)?;
            values.iter_mut().zip(drawn).for_each(|(all, one)| *all |= one);
        }
        Ok(Mask { size, values })
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

    /// The mask stretched to `size`, as the published evaluation does it: 0 and 255,
    /// bilinear with antialias, and defect from 128 on.
    pub fn resize(&self, size: Size) -> Mask {
        let grey: Vec<u8> = self.values.iter().map(|value| value * 255).collect();
        let mut values = resize::<1>(&grey, self.size, size, Filter::Bilinear);
        values.iter_mut().for_each(|value| *value = u8::from(*value >= FOREGROUND));
        Mask { size, values }
    }
}

/// The least brightness of a lossy mask that says anything: below lies what JPEG makes of black.
const LEAST_BRIGHTNESS: u8 = 16;

/// A mask as its file has it.
struct Drawn {
    size: Size,
    /// 0 or 1.
    values: Vec<u8>,
    orientation: Orientation,
}

impl Stored {
    fn flags(self) -> Drawn {
        let Stored { size, mut values, is_lossy, orientation } = self;
        if is_lossy {
            let brightest = values.iter().copied().max().unwrap_or_default();
            let half = if brightest < LEAST_BRIGHTNESS { u8::MAX } else { brightest / 2 };
            values.iter_mut().for_each(|value| *value = u8::from(*value > half));
        }
        Drawn { size, values, orientation }
    }
}

/// The values of a mask in the frame of the image's pixels.
fn in_frame(mask: Drawn, frame: Frame, mode: Preprocess) -> Result<Vec<u8>, Failure> {
    let Drawn { size, values, orientation } = mask;
    let Frame { turned, stored, shown } = frame;
    let own = match mode {
        Preprocess::Published => Orientation::NoTransforms,
        Preprocess::Sensible => orientation,
    };
    let turn = match () {
        _ if own != Orientation::NoTransforms => own,
        _ if turned == Orientation::NoTransforms => turned,
        _ if stored == shown && size == shown => return Err(frame_unclear()),
        _ if size == stored => turned,
        _ => Orientation::NoTransforms,
    };
    if oriented_size(size, turn) != shown {
        let why = match turned {
            Orientation::NoTransforms => "",
            _ => " (EXIF turns the image)",
        };
        let what = format!(
            "mask is {}×{}, image {}×{}{why}: export the mask at the image's size",
            size.width, size.height, shown.width, shown.height
        );
        return Err(Failure::new(Stage::Mask, FailureCode::MaskSizeMismatch, what));
    }
    Ok(match turn {
        Orientation::NoTransforms => values,
        _ => orient::<1, _>(&values, size, turn),
    })
}

fn frame_unclear() -> Failure {
    let what = "EXIF turns the image, and nothing shows whether the mask was drawn before or after: \
                save the image without EXIF orientation, or give the mask the same one";
    Failure::new(Stage::Mask, FailureCode::MaskFrame, what)
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
        assert_eq!(mask.resize(Size::square(2)).values(), [1, 0, 0, 0]);
    }
}
