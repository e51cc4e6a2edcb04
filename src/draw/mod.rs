//! What was found in an image as colours and lines on it, for whoever shows images: heat of an anomaly
//! map, outlines of masks, and the colour of each. Pixels in, pixels out; files are made elsewhere.

mod heat;
mod outline;

pub use heat::{HeatScale, colour_of, opacity_of};
pub use outline::{Side, outline, reduced};

/// The true mask. Blue, as no heat is, and of another lightness than the white of the prediction.
pub const TRUTH: [u8; 3] = [0, 200, 255];

/// The predicted mask.
pub const PREDICTION: [u8; 3] = [255; 3];

/// Boxes of the detector.
pub const BOX: [u8; 3] = [168, 255, 96];

/// What stands between a line and its surroundings.
pub const CASING: [u8; 3] = [0; 3];
