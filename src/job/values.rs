//! The choices of a job that hold a number or a date. Each reads and writes a short text, the same
//! on the command line and in a job file, and can hold nothing that is out of range.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::text::{number_in, schema_of_text, serde_as_text};
use crate::error::ValueError;

/// Where the network runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The fastest device that answers.
    #[default]
    Auto,
    Cpu,
    /// An NVIDIA GPU, by its number from 0.
    Cuda(usize),
    /// A GPU through Vulkan, Metal or DirectX, by its number from 0.
    Wgpu(usize),
}

/// How many images go through the network at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchSize {
    /// What fits the device.
    #[default]
    Auto,
    Fixed(NonZeroUsize),
}

/// A number in 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct UnitThreshold(f64);

/// The share of normal images that may be flagged, above 0 and at most 0.5.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct FalseAlarmRate(f64);

/// The share of a category that is flagged, above 0 and below 100 %.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct TopShare(f64);

/// From which map value on a pixel belongs to the mask.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum MaskThreshold {
    /// What the references or the earlier run say; without either one half, a convention, as
    /// nothing is known of the product.
    #[default]
    Auto,
    At(UnitThreshold),
}

/// The day that a run counts for, years 0000 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunDate(NaiveDate);

impl UnitThreshold {
    /// The published box threshold.
    pub const QUARTER: UnitThreshold = UnitThreshold(0.25);

    /// The number, in 0..=1.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl FalseAlarmRate {
    /// The share, above 0 and at most 0.5.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for FalseAlarmRate {
    /// One false alarm in a hundred images.
    fn default() -> Self {
        FalseAlarmRate(0.01)
    }
}

impl TopShare {
    /// The share, above 0 and below 1.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl RunDate {
    /// Today in UTC, so that workers in several time zones agree.
    pub fn today() -> Self {
        // `Utc::now` panics where a clock is set to before 1970.
        RunDate(chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()).date_naive())
    }

    /// The date.
    pub fn date(self) -> NaiveDate {
        self.0
    }
}

impl FromStr for DeviceChoice {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let allowed = || ValueError::new("auto, cpu, cuda, cuda:N, wgpu or wgpu:N");
        let (kind, number) = match text.split_once(':') {
            Some((kind, number)) => (kind, Some(digits(number).ok_or_else(allowed)?)),
            None => (text, None),
        };
        match (kind, number) {
            ("auto", None) => Ok(DeviceChoice::Auto),
            ("cpu", None) => Ok(DeviceChoice::Cpu),
            ("cuda", number) => Ok(DeviceChoice::Cuda(number.unwrap_or(0))),
            ("wgpu", number) => Ok(DeviceChoice::Wgpu(number.unwrap_or(0))),
            _ => Err(allowed()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(number) => write!(f, "cuda:{number}"),
            DeviceChoice::Wgpu(number) => write!(f, "wgpu:{number}"),
        }
    }
}

impl FromStr for BatchSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "auto" {
            return Ok(BatchSize::Auto);
        }
        let size = digits(text).and_then(NonZeroUsize::new);
        size.map(BatchSize::Fixed).ok_or_else(|| ValueError::new("auto or a whole number from 1"))
    }
}

impl fmt::Display for BatchSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchSize::Auto => f.write_str("auto"),
            BatchSize::Fixed(size) => size.fmt(f),
        }
    }
}

number_in! {
    UnitThreshold: |number| (0.0..=1.0).contains(&number), "a number from 0 to 1",
        { "type": "number", "minimum": 0, "maximum": 1 };
    FalseAlarmRate: |number| number > 0.0 && number <= 0.5, "a number above 0 and at most 0.5",
        { "type": "number", "exclusiveMinimum": 0, "maximum": 0.5 };
}

impl FromStr for TopShare {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let percent = text.strip_suffix('%').map(|number| number.trim().parse::<f64>());
        let share = percent.and_then(Result::ok).map(|percent| percent / 100.0);
        let fits = share.filter(|share| *share > 0.0 && *share < 1.0);
        fits.map(TopShare)
            .ok_or_else(|| ValueError::new("a percentage above 0% and below 100%, such as \"5%\""))
    }
}

impl fmt::Display for TopShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

impl FromStr for MaskThreshold {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "auto" {
            return Ok(MaskThreshold::Auto);
        }
        let number = text.parse().map(MaskThreshold::At);
        number.map_err(|_: ValueError| ValueError::new("auto or a number from 0 to 1"))
    }
}

impl fmt::Display for MaskThreshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MaskThreshold::Auto => f.write_str("auto"),
            MaskThreshold::At(threshold) => threshold.fmt(f),
        }
    }
}

impl FromStr for RunDate {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // chrono accepts `2026-1-2`, too. One day must have one name, for it names a folder.
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(RunDate);
        date.filter(|date| date.to_string() == text)
            .ok_or_else(|| ValueError::new("a date such as 2026-11-24"))
    }
}

impl fmt::Display for RunDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.format("%Y-%m-%d").fmt(f)
    }
}

/// A whole number without a sign.
pub(super) fn digits(text: &str) -> Option<usize> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

serde_as_text!(DeviceChoice, BatchSize, MaskThreshold, RunDate, TopShare);

schema_of_text!(
    DeviceChoice: { "type": "string", "pattern": "^(auto|cpu|(cuda|wgpu)(:[0-9]+)?)$" },
    BatchSize: { "anyOf": [
        { "type": "string", "pattern": "^(auto|0*[1-9][0-9]*)$" },
        { "type": "integer", "minimum": 1 }
    ] },
    MaskThreshold: { "anyOf": [
        { "type": "string", "pattern": "^(auto|[0-9.eE-]+)$" },
        { "type": "number", "minimum": 0, "maximum": 1 }
    ] },
    TopShare: { "type": "string", "pattern": "^[0-9.]+ *%$" },
    RunDate: { "type": "string", "format": "date" }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_may_have_a_number_and_the_first_is_zero() {
        assert_eq!("cuda".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(0));
        assert_eq!("wgpu:3".parse::<DeviceChoice>().unwrap(), DeviceChoice::Wgpu(3));
        for text in ["gpu", "cpu:0", "auto:1", "cuda:", "cuda:-1", "cuda:+1", "CUDA"] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_batch_has_at_least_one_picture() {
        assert_eq!("auto".parse::<BatchSize>().unwrap(), BatchSize::Auto);
        assert_eq!("4".parse::<BatchSize>().unwrap().to_string(), "4");
        assert!("0".parse::<BatchSize>().is_err() && "-4".parse::<BatchSize>().is_err());
    }

    #[test]
    fn a_threshold_lies_between_zero_and_one() {
        assert_eq!("0.25".parse::<UnitThreshold>().unwrap(), UnitThreshold::QUARTER);
        for text in ["1.01", "-0.1", "NaN", "inf", "half", ""] {
            assert!(text.parse::<UnitThreshold>().is_err(), "{text}");
            assert!(text.parse::<MaskThreshold>().is_err(), "{text}");
        }
        assert_eq!("1".parse::<MaskThreshold>().unwrap().to_string(), "1");
    }

    #[test]
    fn rates_and_shares_lie_inside_their_ranges() {
        assert_eq!("0.5".parse::<FalseAlarmRate>().unwrap().get(), 0.5);
        for text in ["0", "0.51", "-0.1", "1 %", "NaN", ""] {
            assert!(text.parse::<FalseAlarmRate>().is_err(), "{text}");
        }
        assert_eq!("5%".parse::<TopShare>().unwrap().get(), 0.05);
        assert_eq!("2.5 %".parse::<TopShare>().unwrap().to_string(), "2.5%");
        for text in ["5", "0%", "100%", "-1%", "%", "NaN%"] {
            assert!(text.parse::<TopShare>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_day_has_one_name() {
        assert_eq!("2024-02-29".parse::<RunDate>().unwrap().to_string(), "2024-02-29");
        for text in ["2023-02-29", "2026-1-2", "24.11.2026", "+2026-11-24", "12026-01-01"] {
            assert!(text.parse::<RunDate>().is_err(), "{text}");
        }
    }
}
