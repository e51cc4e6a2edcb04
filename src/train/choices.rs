//! Values that keys of a training job take by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How learning rates go on after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    #[default]
    Constant,
    /// Down to a hundredth along half a cosine.
    Cosine,
}

/// Which positions abnormal prompts name while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PositionChoice {
    /// All nine, as published.
    #[default]
    All,
    /// None: prompts end with the state.
    None,
    /// The ninth of the image that the defect's centre lies in; a drawn one for normal images.
    Known,
}

/// Which parts learn beside those of the published recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Unfreeze {
    #[default]
    Nothing,
    /// Both towers, in stage 1.
    Backbone,
}
