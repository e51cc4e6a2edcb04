//! The choices of a job that are one word out of a few. Each is an enum that reads and writes the
//! word, with one definition for flags, TOML keys, help, completions and schema.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{schema_of_text, serde_as_text};
use crate::error::ValueError;

/// `FromStr` and `Display` through the words that clap knows, and serde as that text.
macro_rules! read_and_write_the_word {
    ($($choice:ident),*) => {
        serde_as_text!($($choice),*);
        $(
        impl FromStr for $choice {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                <Self as ValueEnum>::from_str(text, false).map_err(|_| one_of::<Self>())
            }
        }

        impl fmt::Display for $choice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.to_possible_value().map_or(Ok(()), |word| f.write_str(word.get_name()))
            }
        }
    )* };
}

read_and_write_the_word!(
    Precision,
    GroundingChoice,
    MapsChoice,
    Progress,
    LogFormat,
    ThresholdRule,
    ReferenceFallback
);

/// The number format of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, ValueEnum)]
#[schemars(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits: the format in which results agree with the published code.
    #[default]
    F32,
    /// 16 bits, half precision.
    F16,
    /// 16 bits with the range of f32.
    Bf16,
}

/// Whether boxes are searched, for positions and for damping the map outside of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, ValueEnum)]
#[schemars(rename_all = "lowercase")]
pub enum GroundingChoice {
    /// On if there are weights for the detector.
    #[default]
    Auto,
    /// On; an error if there are no weights for the detector.
    On,
    Off,
}

/// Which raw anomaly maps are kept, and in which number format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, ValueEnum)]
#[schemars(rename_all = "lowercase")]
pub enum MapsChoice {
    None,
    /// Those of images that are flagged while they are scored, in 16 bits.
    #[default]
    Flagged,
    /// All, in 32 bits.
    F32,
    /// All, in 16 bits.
    F16,
}

/// Which of an earlier run's thresholds are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, ValueEnum)]
pub enum ThresholdRule {
    /// Maximise F1, over images and over pixels.
    #[default]
    #[schemars(rename = "f1max")]
    #[value(name = "f1max")]
    F1max,
    /// 0.1 % false positives among normal images, and among normal pixels.
    #[schemars(rename = "fpr-0.1")]
    #[value(name = "fpr-0.1")]
    Fpr0_1,
    /// 1 %.
    #[schemars(rename = "fpr-1")]
    #[value(name = "fpr-1")]
    Fpr1,
    /// 5 %.
    #[schemars(rename = "fpr-5")]
    #[value(name = "fpr-5")]
    Fpr5,
}

/// What becomes of a category that the named references have too few images of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, ValueEnum)]
#[schemars(rename_all = "lowercase")]
pub enum ReferenceFallback {
    /// The run does not start; the message names the category.
    #[default]
    Error,
    /// Take images of the input as its references.
    Archive,
    /// Score its images one by one.
    None,
}

/// When a progress bar is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, ValueEnum)]
#[schemars(rename_all = "lowercase")]
pub enum Progress {
    /// On a terminal.
    #[default]
    Auto,
    Always,
    Never,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, ValueEnum)]
#[schemars(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What a run that could not score every image exits with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum Strictness {
    /// 0 and a warning.
    #[default]
    Lenient,
    /// 3.
    Strict,
}

/// What makes an image the same as one that an earlier run has scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum Sameness {
    /// Its place, its name, and when it was written.
    #[default]
    ByVersion,
    /// Or its bytes and its category.
    ByContent,
}

/// Whether the run only tells what it would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum RunMode {
    #[default]
    Score,
    /// List the input; write nothing.
    DryRun,
}

/// What becomes of images that an earlier start could not score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum RetryMode {
    /// They stay in `failures`.
    #[default]
    Keep,
    /// Those whose reason may be gone are tried again.
    RetryFailed,
}

/// The two-sided choices are `true` or `false` in a job file and a bare flag on a command line.
macro_rules! read_and_write_as_switch {
    ($($choice:ident: $off:ident or $on:ident),*) => { $(
        impl From<bool> for $choice {
            fn from(on: bool) -> Self {
                if on { $choice::$on } else { $choice::$off }
            }
        }

        impl From<$choice> for bool {
            fn from(choice: $choice) -> bool {
                choice == $choice::$on
            }
        }

        impl FromStr for $choice {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                let on: Result<bool, _> = text.parse();
                on.map(Self::from).map_err(|_| ValueError::new("true or false"))
            }
        }

        impl fmt::Display for $choice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                bool::from(*self).fmt(f)
            }
        }
    )* };
}

read_and_write_as_switch!(
    Strictness: Lenient or Strict, RunMode: Score or DryRun, RetryMode: Keep or RetryFailed,
    Sameness: ByVersion or ByContent
);

schema_of_text!(
    Strictness: { "type": "boolean" }, RunMode: { "type": "boolean" },
    RetryMode: { "type": "boolean" }, Sameness: { "type": "boolean" }
);

/// "must be one of f32, f16, bf16".
fn one_of<T: ValueEnum>() -> ValueError {
    let words: Vec<String> = T::value_variants()
        .iter()
        .filter_map(|choice| Some(choice.to_possible_value()?.get_name().to_owned()))
        .collect();
    ValueError::new(format!("one of {}", words.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_as_the_choice_that_wrote_it() {
        for choice in Precision::value_variants() {
            assert_eq!(choice.to_string().parse::<Precision>().unwrap(), *choice);
        }
        assert_eq!(Precision::Bf16.to_string(), "bf16");
        assert_eq!(RunMode::DryRun.to_string(), "true");
    }

    #[test]
    fn a_wrong_word_is_answered_with_the_right_ones() {
        let error = "fast".parse::<Precision>().unwrap_err().to_string();
        assert_eq!(error, "must be one of f32, f16, bf16");
        let error = "yes".parse::<Strictness>().unwrap_err().to_string();
        assert_eq!(error, "must be true or false");
    }
}
