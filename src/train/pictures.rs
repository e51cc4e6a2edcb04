//! Training images from a folder. In: a listing with labels and masks. Out: images exactly as
//! scoring would prepare them, or, with the layout mvtec, a mosaic of four now and then.

use fastrand::Rng;

use super::data::{Anomalous, TrainingData, TrainingPicture, mixed};
use crate::error::{Failure, TrainError};
use crate::image::{
    ChannelStats, DecodeLimits, Filter, Mask, Picture, Preprocess, Rgb8, Size, normalize, resize,
};
use crate::model::filo::descriptions::{CategoryPrompts, Descriptions};
use crate::source::{Entry, Input, Label, Layout, Listing, MaskSource, Sample};

/// Share of images that are replaced by a mosaic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mosaic(pub f64);

impl Mosaic {
    /// What the published training does: one in five, for MVTec AD only.
    pub fn published(layout: Layout) -> Self {
        Mosaic(if layout == Layout::Mvtec { 0.2 } else { 0.0 })
    }
}

/// Labelled images of a listing.
#[derive(Debug)]
pub struct PictureSet {
    input: Input,
    samples: Vec<Sample>,
    side: usize,
    mosaic: Mosaic,
    descriptions: Descriptions,
}

/// A listing cut in two.
#[derive(Debug)]
pub struct Sets {
    pub training: PictureSet,
    pub validation: PictureSet,
    /// Images left out: they have no label, or a defect without a mask.
    pub left_out: usize,
}

impl Sets {
    /// Cuts `listing`: `share` of the images, chosen by the hash of their ids so that the choice
    /// stays when images are added, is for validation. `side` is that of the network's input.
    ///
    /// # Errors
    /// If nothing is left to learn from.
    pub fn new(
        listing: Listing,
        uri: &str,
        share: f64,
        side: usize,
        mosaic: Mosaic,
        descriptions: &Descriptions,
    ) -> Result<Self, TrainError> {
        let input = listing.input;
        let entries = listing.shards.into_iter().flat_map(|shard| shard.entries);
        let (mut training, mut validation, mut left_out) = (Vec::new(), Vec::new(), 0);
        for entry in entries {
            match entry {
                Entry::Sample(sample) if is_usable(&sample) => {
                    match hashed(&sample.image_id) < share {
                        true => validation.push(sample),
                        false => training.push(sample),
                    }
                }
                _ => left_out += 1,
            }
        }
        if training.is_empty() {
            let why = format!(
                "{left_out} without label or mask, {} kept for validation",
                validation.len()
            );
            return Err(TrainError::NoPictures { uri: uri.to_string(), why });
        }
        let set = |samples, mosaic| PictureSet {
            input: input.clone(),
            samples,
            side,
            mosaic,
            descriptions: descriptions.clone(),
        };
        Ok(Sets {
            training: set(training, mosaic),
            validation: set(validation, Mosaic(0.0)),
            left_out,
        })
    }
}

fn is_usable(sample: &Sample) -> bool {
    match sample.label {
        Some(Label::Normal) => true,
        Some(Label::Anomalous) => matches!(sample.mask, MaskSource::Files(_)),
        None => false,
    }
}

/// A number in 0..1 from a name.
fn hashed(name: &str) -> f64 {
    let digest = blake3::hash(name.as_bytes());
    let first = digest.as_bytes().iter().take(8).fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    (mixed(first, 0) >> 11) as f64 / (1u64 << 53) as f64
}

impl TrainingData for PictureSet {
    fn pictures(&self) -> u64 {
        self.samples.len() as u64
    }

    fn picture(&self, index: u64, rng: &mut Rng) -> Result<TrainingPicture, Failure> {
        let sample = &self.samples[index as usize];
        let mosaic = self.mosaic.0 > 0.0 && rng.f64() < self.mosaic.0;
        let (pixels, mask) = match mosaic {
            true => self.mosaic_for(sample, rng)?,
            false => {
                let (picture, mask) = open(&self.input, sample)?;
                (picture.clip_pixels(self.side), mask)
            }
        };
        let mask = mask.map_or_else(
            || vec![0.0; self.side * self.side],
            |mask| {
                mask.resize(Size::square(self.side))
                    .values()
                    .iter()
                    .map(|&value| f32::from(value))
                    .collect()
            },
        );
        let details = self.prompts(sample.category.as_str()).details;
        Ok(TrainingPicture {
            planes: normalize(&pixels, &ChannelStats::CLIP),
            mask,
            anomalous: match sample.label {
                Some(Label::Anomalous) => Anomalous::Yes,
                _ => Anomalous::No,
            },
            category: sample.category.as_str().to_string(),
            detail: sample
                .kind
                .as_deref()
                .filter(|_| !mosaic)
                .and_then(|kind| named(kind, &details)),
        })
    }

    fn categories(&self) -> Vec<String> {
        let names = self.samples.iter().map(|sample| sample.category.as_str().to_string());
        let mut names = names.collect::<Vec<_>>();
        names.sort();
        names.dedup();
        names
    }

    fn digest(&self) -> String {
        let mut digest = blake3::Hasher::new();
        for sample in &self.samples {
            // A name has no line end in it that is not escaped, a label is a word.
            digest.update(format!("{:?} {:?}\n", sample.image_id, sample.label).as_bytes());
        }
        digest.finalize().to_hex().to_string()
    }

    fn prompts(&self, category: &str) -> CategoryPrompts {
        self.descriptions.prompts(category)
    }
}

/// The one detail that is, or holds, the data set's word for a defect: `broken_large` is "broken
/// large".
fn named(kind: &str, details: &[String]) -> Option<String> {
    let kind = kind.replace('_', " ").to_lowercase();
    let fits = |detail: &&String| detail.to_lowercase().contains(&kind);
    let mut found = details.iter().filter(fits);
    let first = found.next()?;
    match details.iter().find(|detail| detail.trim().to_lowercase() == kind) {
        Some(exact) => Some(exact.clone()),
        None => found.next().is_none().then(|| first.clone()),
    }
}

impl PictureSet {
    /// The same images, each as it is.
    pub fn without_mosaic(self) -> Self {
        PictureSet { mosaic: Mosaic(0.0), ..self }
    }

    /// Four images of `sample`'s category on a canvas of twice the size of the first, each at the
    /// corner of its quarter, unscaled; what sticks out is cut or painted over, as published.
    fn mosaic_for(&self, sample: &Sample, rng: &mut Rng) -> Result<(Rgb8, Option<Mask>), Failure> {
        let same = self.samples.iter().filter(|other| other.category == sample.category);
        let same = same.collect::<Vec<_>>();
        let mut canvas: Option<Canvas> = None;
        for quarter in 0..4 {
            let (picture, mask) = open(&self.input, same[rng.usize(..same.len())])?;
            let canvas = canvas.get_or_insert_with(|| Canvas::twice(picture.size()));
            canvas.paste(quarter, &picture.rgb_pixels(), mask.as_ref());
        }
        let canvas = canvas.expect("four images were pasted");
        let (from, to) = (canvas.size, Size::square(self.side));
        let bytes = resize::<3>(&canvas.pixels, from, to, Filter::Bicubic);
        let pixels = Rgb8::new(to, bytes).expect("a resized image fills its size");
        Ok((pixels, Mask::new(from, canvas.mask)))
    }
}

struct Canvas {
    size: Size,
    pixels: Vec<u8>,
    mask: Vec<u8>,
}

impl Canvas {
    fn twice(size: Size) -> Self {
        let size = Size { width: 2 * size.width, height: 2 * size.height };
        Canvas { size, pixels: vec![0; 3 * size.area()], mask: vec![0; size.area()] }
    }

    fn paste(&mut self, quarter: usize, picture: &Rgb8, mask: Option<&Mask>) {
        let (left, top) = (quarter % 2 * self.size.width / 2, quarter / 2 * self.size.height / 2);
        let from = picture.size();
        let width = from.width.min(self.size.width - left);
        for y in 0..from.height.min(self.size.height - top) {
            let (source, target) = (y * from.width, (top + y) * self.size.width + left);
            self.pixels[3 * target..3 * (target + width)]
                .copy_from_slice(&picture.as_bytes()[3 * source..3 * (source + width)]);
            let line = &mut self.mask[target..target + width];
            match mask {
                Some(mask) => line.copy_from_slice(&mask.values()[source..source + width]),
                None => line.fill(0),
            }
        }
    }
}

/// The image and, if it has a defect, its mask, in the published order of transforms.
fn open(input: &Input, sample: &Sample) -> Result<(Picture, Option<Mask>), Failure> {
    let (mode, limits) = (Preprocess::Published, DecodeLimits::default());
    let picture =
        Picture::decode(&input.read(&sample.image_id, None, limits.max_bytes)?, mode, limits)?;
    let MaskSource::Files(ids) = &sample.mask else { return Ok((picture, None)) };
    let files = ids.iter().map(|id| input.read(id, None, limits.max_bytes));
    let files = files.collect::<Result<Vec<_>, Failure>>()?;
    let mask = Mask::of_files(&files, &picture, mode, limits)?;
    Ok((picture, Some(mask)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_data_set_names_the_detail_that_holds_it() {
        let details = ["crack", "large crack", "poke hole", "Missing part"].map(String::from);
        assert_eq!(named("crack", &details).as_deref(), Some("crack"));
        assert_eq!(named("missing_part", &details).as_deref(), Some("Missing part"));
        assert_eq!(named("hole", &details).as_deref(), Some("poke hole"));
        assert_eq!(named("part of", &details), None);
        assert_eq!(named("a", &details), None);
    }

    #[test]
    fn four_quarters_stand_unscaled_on_a_canvas_of_twice_the_size() {
        let mut canvas = Canvas::twice(Size { width: 2, height: 1 });
        let small = Rgb8::new(Size { width: 1, height: 1 }, vec![7; 3]).unwrap();
        let large = Rgb8::new(Size { width: 3, height: 2 }, vec![9; 18]).unwrap();
        let mask = Mask::new(Size { width: 1, height: 1 }, vec![1]);
        canvas.paste(0, &small, mask.as_ref());
        canvas.paste(3, &large, None);
        let red = canvas.pixels.iter().step_by(3).copied().collect::<Vec<_>>();
        assert_eq!(red, [7, 0, 0, 0, 0, 0, 9, 9]);
        assert_eq!(canvas.mask, [1, 0, 0, 0, 0, 0, 0, 0]);
    }
}
