//! What stops a training.

use std::path::PathBuf;

/// Training: exit code 2 where what was asked for is wrong, 1 where it failed on the way.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("{path}: cannot be read as an image ({why}): remove it, or name a folder of PNG and JPEG files in --textures", path = path.display())]
    Textures { path: PathBuf, why: String },
    #[error("`{key} = {value}` is not allowed: must be {allowed}: correct it in the --job file")]
    BadKey { key: &'static str, value: String, allowed: &'static str },
    #[error(
        "the network takes images of {side} pixels a side, and generated ones show nothing below {least}: pass a --config with a larger image_size, or other --data"
    )]
    SmallPictures { side: usize, least: usize },
    #[error("--init random needs to know how large the network is: pass --config FILE.json")]
    NoConfig,
    #[error("{path}: holds a training already: pass --resume, or choose another --out", path = path.display())]
    Exists { path: PathBuf },
    #[error("{path}: holds no training to resume: leave --resume out, or check --out", path = path.display())]
    NothingToResume { path: PathBuf },
    #[error("{path}: was trained with other settings ({what}): set them back, or choose another --out", path = path.display())]
    OtherTraining { path: PathBuf, what: String },
    #[error("{path}: is damaged ({what}): delete {folder} and train again", path = path.display(), folder = path.parent().unwrap_or(path).display())]
    BadState { path: PathBuf, what: String },
    #[error("{uri}: no image to learn from ({why}): check --data and --layout")]
    NoPictures { uri: String, why: String },
    #[error(
        "stage {stage}, step {step}: the device broke ({what}): images of less pixels, a smaller \
         batch, or --device cpu may help; --resume goes on from the last state"
    )]
    Device { stage: u8, step: u64, what: String },
    #[error(
        "step {step} of stage {stage}: the loss is {loss}: lower the rates, or set clip_norm; the last good checkpoint is kept, --resume goes on from it"
    )]
    NotFinite { stage: u8, step: u64, loss: f64 },
    #[error("every image of the data fails to open, last {uri} ({why}): check --data")]
    Unreadable { uri: String, why: String },
    #[error("no more threads can be started ({why}): raise the limit of processes (ulimit -u)")]
    Threads { why: std::io::Error },
    #[error("{path}: cannot be {action} ({why}): check the folder and its free space", path = path.display())]
    File { path: PathBuf, action: &'static str, why: String },
}

impl TrainError {
    /// 2 where the command or what it names is wrong; 1 where the training failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            TrainError::Device { .. }
            | TrainError::NotFinite { .. }
            | TrainError::Unreadable { .. }
            | TrainError::Threads { .. }
            | TrainError::File { .. } => 1,
            _ => 2,
        }
    }
}
