//! How a run read its images. In: its manifest. Out: what whoever reads them again has to do alike.

use crate::image::{DecodeLimits, Preprocess};
use crate::source::Columns;
use crate::tables::RunReader;

/// How the images of a run were read.
#[derive(Debug, Clone, Default)]
pub struct AsScored {
    pub mode: Preprocess,
    pub limits: DecodeLimits,
    /// What of archives is read.
    pub columns: Columns,
}

impl AsScored {
    pub fn of(run: &RunReader) -> Self {
        let spec = &run.manifest().spec;
        let mode = spec.get("preprocess").cloned();
        let mode = mode.and_then(|mode| serde_json::from_value(mode).ok());
        let limits = spec["max_pixels"].as_u64().map(DecodeLimits::of_pixels);
        let image = spec["image_column"].as_str().map(str::to_string);
        AsScored {
            mode: mode.unwrap_or_default(),
            limits: limits.unwrap_or_default(),
            columns: Columns { image, keep: Vec::new() },
        }
    }
}
