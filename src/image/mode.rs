//! The one choice a user has about preprocessing. It decides how 16-bit images, EXIF orientation,
//! alpha and palette images are read, and never anything about the network.

/// How bytes become the pixels that the network sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preprocess {
    /// What a person expects: EXIF orientation is applied, 16-bit images are scaled to 8 bits,
    /// palette and 1-bit images are resized as the colours they show, and alpha is left out before
    /// resizing.
    #[default]
    Sensible,
    /// Bit-exact with the published code, defects included: EXIF ignored, 16-bit clipped at 255,
    /// palette and 1-bit resized by nearest neighbour on the CLIP side, transparent pixels weighing
    /// less there.
    Published,
}
