//! Bytes to pixels to network planes. In: the bytes of one file and one choice, [`Preprocess`]. Out:
//! [`Picture`] and from it the planes of the two networks, [`Mask`], and masks as [`Rle`].
//! Nothing here opens a file, knows a table or runs a network; a bad file is a
//! [`Failure`](crate::error::Failure), never a panic.
//!
//! ```text
//! bytes → decode → Image → clip_pixels, detector_pixels → normalize → [3, height, width] f32
//! map   → mask_from_map → Mask → Rle
//! ```

mod colour;
mod decode;
mod filter;
mod mask;
mod mode;
mod normalize;
mod orientation;
mod picture;
mod resize;
mod resize_published;
mod rle;
mod samples;
mod upsample;

pub use decode::{DecodeLimits, MAX_PIXELS};
pub use filter::Filter;
pub use mask::Mask;
pub use mode::Preprocess;
pub use normalize::{ChannelStats, normalize};
pub use picture::{DetectorSide, Picture, Rgb8};
pub use resize::resize;
pub use rle::{PixelBox, Rle};
pub use upsample::{Between, mask_from_map, upsample_map};

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rect {
    /// Pixels to the left of it and above.
    pub x: usize,
    pub y: usize,
    pub size: Size,
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    pub width: usize,
    pub height: usize,
}

impl Size {
    /// Width times height, in pixels.
    pub fn area(self) -> usize {
        self.width * self.height
    }

    /// A square of `side` × `side` pixels.
    pub fn square(side: usize) -> Self {
        Size { width: side, height: side }
    }
}
