//! Weights that FiLo's authors published, by the names that `--weights` takes. In: a name. Out: where
//! they are published, and the folder of the cache that has the bundle made of them. Nothing is asked
//! of a network here.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::ValueEnum;

use super::bundle::Bundle;
use crate::store::cache_folder;

/// Published weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Published {
    /// Trained on VisA: for everything else.
    FiloVisa,
    /// Trained on MVTec AD: for everything else.
    FiloMvtec,
}

impl Published {
    pub const ALL: [Published; 2] = [Published::FiloVisa, Published::FiloMvtec];

    /// The weights of this name.
    pub fn named(name: &OsStr) -> Option<Self> {
        Published::ALL.into_iter().find(|weights| weights.name() == name)
    }

    /// What `--weights` calls them.
    pub fn name(self) -> &'static str {
        match self {
            Published::FiloVisa => "filo-visa",
            Published::FiloMvtec => "filo-mvtec",
        }
    }

    /// The data they have learnt from.
    pub fn trained_on(self) -> &'static str {
        match self {
            Published::FiloVisa => "VisA",
            Published::FiloMvtec => "MVTec AD",
        }
    }

    /// What they are for: zero-shot is what they have not learnt from.
    pub fn meant_for(self) -> &'static str {
        match self {
            Published::FiloVisa => "everything but VisA",
            Published::FiloMvtec => "everything but MVTec AD",
        }
    }

    /// Where they are published, on the Hugging Face Hub.
    pub fn repository(self) -> &'static str {
        "FantasticGNU/FiLo"
    }

    /// FiLo's checkpoint, and that of the detector.
    pub fn files(self) -> [&'static str; 2] {
        match self {
            Published::FiloVisa => ["filo_train_on_visa.pth", "grounding_train_on_visa.pth"],
            Published::FiloMvtec => ["filo_train_on_mvtec.pth", "grounding_train_on_mvtec.pth"],
        }
    }

    /// About how much is downloaded, for where nobody can be asked.
    pub fn size(self) -> &'static str {
        "3.3 GB"
    }

    /// The folder of the cache that has the bundle, if it was fetched.
    pub fn folder(self) -> PathBuf {
        cache_folder().join("published").join(self.name())
    }

    /// Whether the bundle is in the cache.
    pub fn is_here(self) -> bool {
        Bundle::is_at(&self.folder())
    }

    /// The folder of the cache that has the checkpoints while they are fetched.
    pub(super) fn downloads(self) -> PathBuf {
        cache_folder().join("downloads").join(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::WeightsError;

    #[test]
    fn the_command_line_and_messages_know_the_same_names() {
        for weights in Published::ALL {
            let value = weights.to_possible_value().unwrap();
            assert_eq!(value.get_name(), weights.name());
            let slip = weights.name().replace('-', "_").into();
            let message = WeightsError::NotFound { path: slip }.to_string();
            assert!(message.contains(&format!("did you mean {}", weights.name())), "{message}");
            let path = weights.name().into();
            let broken = WeightsError::BrokenBundle { path, what: "cut".into() }.to_string();
            let advice = format!("filo weights fetch {}", weights.name());
            assert!(broken.contains(&advice), "{broken}");
        }
    }
}
