//! How large images are tiled, as a job says it: which size, how much overlap, on which scale. Each
//! reads and writes a short text and holds nothing that is out of range.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::{number_in, schema_of_text, serde_as_text};
use super::values::digits;
use crate::error::ValueError;
use crate::image::Size;

/// Which images are tiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TileChoice {
    /// Those more than twice as large as what the networks see, on a side.
    Auto,
    /// None.
    Off,
    /// Those larger than a tile of so many pixels.
    Size(Size),
}

/// The share of a tile's side that it has in common with the next, 0 to 0.5.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct TileOverlap(f64);

/// How much smaller an image is before it is tiled, above 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct TileScale(f64);

/// How large images are tiled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TileSpec {
    pub tile: TileChoice,
    pub overlap: TileOverlap,
    pub scale: TileScale,
}

impl fmt::Display for TileSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, overlap {}, scale {}", self.tile, self.overlap, self.scale)
    }
}

/// The least side of a tile, pixels.
const LEAST_SIDE: usize = 16;

impl TileOverlap {
    /// The share, 0 to 0.5.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for TileOverlap {
    /// One eighth: a defect of 32 pixels is whole in one tile of 256.
    fn default() -> Self {
        TileOverlap(0.125)
    }
}

impl TileScale {
    /// The factor, above 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for TileScale {
    /// Original pixels.
    fn default() -> Self {
        TileScale(1.0)
    }
}

impl FromStr for TileChoice {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let allowed = || ValueError::new("auto, off, N or NxM pixels, 16 or more");
        let side = |text: &str| digits(text).filter(|side| *side >= LEAST_SIDE).ok_or_else(allowed);
        match (text, text.split_once('x')) {
            ("auto", _) => Ok(TileChoice::Auto),
            ("off", _) => Ok(TileChoice::Off),
            (_, Some((width, height))) => {
                Ok(TileChoice::Size(Size { width: side(width)?, height: side(height)? }))
            }
            (text, None) => Ok(TileChoice::Size(Size::square(side(text)?))),
        }
    }
}

impl fmt::Display for TileChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TileChoice::Auto => f.write_str("auto"),
            TileChoice::Off => f.write_str("off"),
            TileChoice::Size(Size { width, height }) if width == height => width.fmt(f),
            TileChoice::Size(Size { width, height }) => write!(f, "{width}x{height}"),
        }
    }
}

number_in! {
    TileOverlap: |number| (0.0..=0.5).contains(&number), "a number from 0 to 0.5",
        { "type": "number", "minimum": 0, "maximum": 0.5 };
    TileScale: |number| (0.01..=1.0).contains(&number), "a number from 0.01 to 1",
        { "type": "number", "minimum": 0.01, "maximum": 1 };
}

serde_as_text!(TileChoice);

schema_of_text!(
    TileChoice: { "anyOf": [
        { "type": "string", "pattern": "^(auto|off|[0-9]+(x[0-9]+)?)$" },
        { "type": "integer", "minimum": 16 }
    ] }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_is_a_word_or_a_size() {
        for text in ["auto", "off", "256", "512x256"] {
            assert_eq!(text.parse::<TileChoice>().unwrap().to_string(), text);
        }
        assert_eq!("512x512".parse::<TileChoice>().unwrap().to_string(), "512");
        for text in ["0", "15", "256x", "x256", "-256", "256x8", "256X256", "on", ""] {
            assert!(text.parse::<TileChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn absurd_overlaps_and_scales_are_refused() {
        assert_eq!("0.5".parse::<TileOverlap>().unwrap().get(), 0.5);
        for text in ["0.51", "-0.1", "1", "NaN", "32px"] {
            assert!(text.parse::<TileOverlap>().is_err(), "{text}");
        }
        assert_eq!("0.25".parse::<TileScale>().unwrap().get(), 0.25);
        for text in ["0", "1.1", "NaN", "half"] {
            assert!(text.parse::<TileScale>().is_err(), "{text}");
        }
    }
}
