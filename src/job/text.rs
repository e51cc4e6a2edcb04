//! Serde for the choices of a job: whatever scalar a job file holds is read as the text that a flag
//! would be, so both are answered alike. Written is always the text.

use std::fmt;

/// What a job file may hold for a choice: `batch_size = 4` as well as `batch_size = "auto"`. A
/// boolean is read, too, so that the answer to `grounding = true` is which words are allowed.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "must be a text in quotes, or a number")]
pub(super) enum Scalar {
    Text(String),
    Whole(i64),
    Number(f64),
    Switch(bool),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Text(text) => text.fmt(f),
            Scalar::Whole(number) => number.fmt(f),
            Scalar::Number(number) => number.fmt(f),
            Scalar::Switch(switch) => switch.fmt(f),
        }
    }
}

/// Serde for types with `FromStr` and `Display`.
macro_rules! serde_as_text {
    ($($choice:ident),*) => { $(
        impl serde::Serialize for $choice {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $choice {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let scalar = $crate::job::text::Scalar::deserialize(deserializer)?;
                scalar.to_string().parse().map_err(serde::de::Error::custom)
            }
        }
    )* };
}

/// A JSON schema for types whose text has a form of its own.
macro_rules! schema_of_text {
    ($($choice:ident: $schema:tt),*) => { $(
        impl schemars::JsonSchema for $choice {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($choice).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    )* };
}

/// A choice that holds one number: what fits, how that is said, and its schema. Text and job files are
/// read alike.
macro_rules! number_in {
    ($($choice:ident: $fits:expr, $allowed:literal, $schema:tt);+ $(;)?) => { $(
        impl TryFrom<f64> for $choice {
            type Error = $crate::error::ValueError;

            fn try_from(number: f64) -> Result<Self, $crate::error::ValueError> {
                let fits: fn(f64) -> bool = $fits;
                match fits(number) {
                    true => Ok($choice(number)),
                    false => Err($crate::error::ValueError::new($allowed)),
                }
            }
        }

        impl From<$choice> for f64 {
            fn from(choice: $choice) -> f64 {
                choice.0
            }
        }

        impl std::str::FromStr for $choice {
            type Err = $crate::error::ValueError;

            fn from_str(text: &str) -> Result<Self, $crate::error::ValueError> {
                // NaN is out of range too, so it stands for every text that is no number.
                $choice::try_from(text.parse().unwrap_or(f64::NAN))
            }
        }

        impl std::fmt::Display for $choice {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        $crate::job::text::schema_of_text!($choice: $schema);
    )+ };
}

pub(super) use {number_in, schema_of_text, serde_as_text};
