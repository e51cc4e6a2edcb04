//! What travels between the stages. A shard is an unbroken run of messages, so every stage holds
//! one open shard at most; a batch never leaves its shard, so a commit never waits for another.

use std::sync::Arc;

use super::localise::Localisation;
use super::retry::{Earlier, Retry};
use crate::error::{Failure, TableError};
use crate::image::{Mask, Rle, Size};
use crate::reference::Digest;
use crate::source::{Category, Fetching, Sample, Shard};
use crate::tile::TileGrid;

/// One message of the stream of work; `T` is what a stage made of a batch.
pub enum Work<T> {
    /// All that follows up to [`Work::End`] belongs to this shard.
    Begin(Begun),
    Batch(T),
    Failed(Lost),
    /// The image at this index of the shard stays as it was committed earlier.
    Kept {
        order: usize,
        image_id: Box<str>,
    },
    /// All of the shard has been sent: so many images.
    End {
        pictures: usize,
    },
    /// The output cannot be read: the run ends.
    Broken(Box<TableError>),
}

impl<T> Work<T> {
    /// What it has of a batch, or the message for the next stage.
    pub fn batch_or_rest<U>(self) -> Result<T, Work<U>> {
        Err(match self {
            Work::Batch(of_batch) => return Ok(of_batch),
            Work::Begin(begun) => Work::Begin(begun),
            Work::Failed(lost) => Work::Failed(lost),
            Work::Kept { order, image_id } => Work::Kept { order, image_id },
            Work::End { pictures } => Work::End { pictures },
            Work::Broken(error) => Work::Broken(error),
        })
    }
}

/// An image whose files are on their way; the batches of a shard follow each other.
pub struct Coming {
    /// Index in the shard.
    pub order: usize,
    pub sample: Sample,
    pub files: Fetching,
    /// Whether the batch ends with it.
    pub is_last: bool,
}

/// A shard that is opened.
pub struct Begun {
    pub shard: Arc<Shard>,
    /// Its earlier commit and the rows of it that stay.
    pub retry: Option<Box<(Retry, Earlier)>>,
}

/// An image that could not be scored.
pub struct Lost {
    /// Index in the shard.
    pub order: usize,
    pub image_id: Box<str>,
    /// Its file, as in a [`Sample`], if that is not its id.
    pub file: Option<Box<str>>,
    /// Where it is, if neither tells.
    pub uri: Option<String>,
    pub category: Category,
    pub failure: Failure,
}

impl Lost {
    /// `sample`, the entry `order` of its shard, with the reason.
    pub fn new(order: usize, sample: &Sample, failure: Failure) -> Self {
        Lost {
            order,
            image_id: sample.image_id.clone(),
            file: sample.file.clone(),
            uri: None,
            category: sample.category.clone(),
            failure,
        }
    }
}

/// What is known about the defects of an image.
pub enum Truth {
    /// Nothing, or only the label.
    NoMask,
    /// The image is normal: no pixel of it is a defect.
    AllNormal,
    /// Where the defect is, at the size of the map.
    Mask(Mask),
}

impl Truth {
    /// The defects as COCO's compressed run lengths; `None` where there are none, or none are known.
    pub fn run_lengths(&self) -> Option<String> {
        match self {
            Truth::Mask(mask) if mask.area_px() > 0 => Some(Rle::encode(mask).counts().to_string()),
            _ => None,
        }
    }
}

/// Where an image comes from and what is known about it.
pub struct Subject {
    /// Index in the shard.
    pub order: usize,
    pub sample: Sample,
    /// Of the image as it is shown.
    pub size: Size,
    pub truth: Truth,
    /// The tiles that are scored as well; `None`: the image as a whole only.
    pub tiles: Option<TileGrid>,
    /// Of its file.
    pub digest: Digest,
    pub took: Took,
}

/// How long it took to have an image, milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// From the first request for its files to the last answer; `None` for members of archives.
    pub fetch_ms: Option<f32>,
    /// To decode it and make it ready, on one core.
    pub decode_ms: f32,
}

/// A tile of an image.
#[derive(Clone)]
pub struct TileOf {
    /// Index of the image in the shard.
    pub order: usize,
    /// Of the image.
    pub sample: Arc<Sample>,
    /// Of the image's file.
    pub digest: Digest,
    /// Index in the image's grid.
    pub index: usize,
}

/// What the networks look at.
pub enum Shown {
    Image(Box<Subject>),
    Tile(TileOf),
}

impl Shown {
    /// Index of the image in the shard.
    pub fn order(&self) -> usize {
        match self {
            Shown::Image(subject) => subject.order,
            Shown::Tile(tile) => tile.order,
        }
    }

    /// The image.
    pub fn sample(&self) -> &Sample {
        match self {
            Shown::Image(subject) => &subject.sample,
            Shown::Tile(tile) => &tile.sample,
        }
    }

    /// Of the image's file.
    pub fn digest(&self) -> Digest {
        match self {
            Shown::Image(subject) => subject.digest,
            Shown::Tile(tile) => tile.digest,
        }
    }
}

/// An image, or a tile of one, ready for the network.
pub struct Prepared {
    pub shown: Shown,
    /// The image as the references see it, where there are any.
    pub referred: Option<Referred>,
    /// Normalised, `[3, size, size]`.
    pub planes: Vec<f32>,
    /// The image as the detector reads it, where there is one. A tile is not searched.
    pub detector: Option<DetectorPlanes>,
}

impl Prepared {
    /// Size of what the networks read.
    pub fn bytes(&self) -> u64 {
        let detector = self.detector.as_ref().map_or(0, |detector| detector.planes.len());
        let referred = self.referred.as_ref().map_or(0, |referred| referred.planes.len());
        ((self.planes.len() + detector + referred) * size_of::<f32>()) as u64
    }
}

/// An image on its way to being compared with references.
pub struct Referred {
    /// Normalised for the backbone, `[3, size, size]`; empty where the features are FiLo's own.
    pub planes: Vec<f32>,
}

/// An image with its own aspect, normalised for the detector.
pub struct DetectorPlanes {
    pub size: Size,
    /// `[3, height, width]`.
    pub planes: Vec<f32>,
}

/// Images of one category that go through the network together.
pub struct Batch {
    pub category: Category,
    pub pictures: Vec<Prepared>,
}

impl Batch {
    /// Size of what the networks read.
    pub fn bytes(&self) -> u64 {
        self.pictures.iter().map(Prepared::bytes).sum()
    }

    /// How many of them are images, not tiles.
    pub fn images(&self) -> usize {
        self.pictures.iter().filter(|of| matches!(of.shown, Shown::Image(_))).count()
    }
}

/// The abnormal state whose prompt is most like the image, of those that were encoded.
#[derive(Debug, Clone)]
pub struct TopDescription {
    /// Without the position: "abnormal bottle with cracked rim".
    pub state: Arc<str>,
    /// Cosine of the image with the prompt.
    pub similarity: f32,
}

/// What the network said of one image or tile.
pub struct Inferred {
    pub shown: Shown,
    /// Digest of the file and patch features `[grid², channels]`, where there are references.
    pub features: Option<(Digest, Vec<f32>)>,
    /// `[heads, 2, patches]`; see [`FiloOutput`](crate::model::filo::FiloOutput).
    pub similarities: Vec<f32>,
    /// Image with normal and with abnormal text.
    pub text_probs: [f32; 2],
    pub top: TopDescription,
    /// `None` without a detector.
    pub localisation: Option<Localisation>,
    /// Its share of the batch's time, milliseconds.
    pub ms_infer: f32,
}
