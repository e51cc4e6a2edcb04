//! An overlay for every scored picture of a run. In: a run with its raw maps, and the listing that
//! it scored, which knows the true masks. Out: `<category>/<kind>_<name>.png` below a folder. Files
//! that are there are replaced; all cores draw.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::overlay::{Findings, HeatScale, draw};
use crate::error::{Error, ReportError};
use crate::image::{DecodeLimits, Mask, Picture, Preprocess, Rgb8, Rle, Size};
use crate::source::{Entry, Input, Listing, MaskSource, Sample};
use crate::store::FileVersion;
use crate::tables::{MaskRow, RunReader, ScoreRow, read_map_npy};

/// Writes the overlays of `run` below `folder`; `mode` is how the run read its pictures. All have
/// one scale of colours. Returns how many were written.
///
/// # Errors
/// If the run kept no maps, a picture or its mask is no longer what was scored, or a file cannot be
/// written.
pub fn write_overlays(
    run: &RunReader,
    listing: &Listing,
    mode: Preprocess,
    folder: &Path,
) -> Result<usize, Error> {
    let entries = listing.shards.iter().flat_map(|shard| &shard.entries);
    let samples = entries.filter_map(|entry| match entry {
        Entry::Sample(sample) => Some((sample.image_id.as_ref(), sample)),
        Entry::Rejected(_) | Entry::Archive(_) => None,
    });
    let samples = samples.collect::<BTreeMap<_, _>>();
    let scale = scale_of(run)?;
    let mut written = 0;
    for category in run.categories() {
        let below = folder.join(as_file_name(category));
        std::fs::create_dir_all(&below).map_err(|error| unwritable(&below, error))?;
        let masks = run.rows::<MaskRow>(category)?.into_iter();
        let masks = masks.map(|row| (row.image_id.clone(), row)).collect::<BTreeMap<_, _>>();
        let scores = run.rows::<ScoreRow>(category)?;
        let paths = paths_of(&below, &scores);
        scores.par_iter().zip(&paths).try_for_each(|(score, path)| {
            let id = &score.image_id;
            let sample = samples.get(id.as_str()).ok_or_else(|| gone(id))?;
            let drawn = overlay_of(run, &listing.input, score, masks.get(id), sample, mode, scale)?;
            save(&drawn, path)
        })?;
        written += scores.len();
    }
    Ok(written)
}

/// From the mean of the calmest map of the run to the highest value of any. A network that takes
/// every pixel for a little abnormal would otherwise colour whole pictures.
fn scale_of(run: &RunReader) -> Result<HeatScale, Error> {
    let mut scale = HeatScale { coldest: f32::INFINITY, hottest: f32::NEG_INFINITY };
    for category in run.categories() {
        for score in run.rows::<ScoreRow>(category)? {
            scale.coldest = scale.coldest.min(score.map_mean);
            scale.hottest = scale.hottest.max(score.map_max);
        }
    }
    Ok(scale)
}

fn overlay_of(
    run: &RunReader,
    input: &Input,
    score: &ScoreRow,
    mask: Option<&MaskRow>,
    sample: &Sample,
    mode: Preprocess,
    scale: HeatScale,
) -> Result<Rgb8, Error> {
    let no_map = || ReportError::NoMap { image_id: score.image_id.clone() };
    let map = read_map_npy(run.store(), score.map_path.as_ref().ok_or_else(no_map)?)?;
    let limits = DecodeLimits::default();
    let changed = |id: &str, why| ReportError::Changed { path: input.display(id).into(), why };
    let read = |id: &str, version: Option<&FileVersion>| {
        let read = input.read(id, version, limits.max_bytes);
        read.map_err(|failure| changed(id, failure.message))
    };
    let picture = read(&sample.image_id, sample.version.as_ref())?;
    let picture = Picture::decode(&picture, mode, limits)
        .map_err(|failure| changed(&sample.image_id, failure.message))?;
    let scored = size_of(score.width, score.height);
    if scored != Some(picture.size()) {
        let Size { width, height } = picture.size();
        return Err(changed(&sample.image_id, format!("it has {width}×{height} pixels now")).into());
    }
    let truth = match &sample.mask {
        MaskSource::Unknown | MaskSource::AllNormal => None,
        MaskSource::File(id) => {
            let mask = Mask::decode(&read(id, None)?, mode, limits)
                .map_err(|failure| changed(id, failure.message))?;
            Some(mask)
        }
    };
    let prediction = mask.map(|row| decoded(row, picture.size())).transpose()?;
    let (truth, prediction) = (truth.as_ref(), prediction.as_ref());
    let findings = Findings { map: &map, scale, truth, prediction };
    Ok(draw(&picture.rgb_pixels(), &findings))
}

fn decoded(row: &MaskRow, size: Size) -> Result<Mask, ReportError> {
    let rle = Rle::from_counts(size, row.counts.clone());
    rle.map(|rle| rle.decode())
        .map_err(|source| ReportError::Mask { image_id: row.image_id.clone(), source })
}

fn size_of(width: i32, height: i32) -> Option<Size> {
    Some(Size { width: width.try_into().ok()?, height: height.try_into().ok()? })
}

/// A file for each picture, in their order; no two alike.
fn paths_of(folder: &Path, scores: &[ScoreRow]) -> Vec<PathBuf> {
    let mut taken = BTreeSet::new();
    let path = |score: &ScoreRow| {
        let name = Path::new(&score.image_id).file_stem().unwrap_or_default().to_string_lossy();
        let kind = score.kind.as_ref().map_or(String::new(), |kind| format!("{kind}_"));
        let name = as_file_name(&format!("{kind}{name}"));
        let numbered = (2..).map(|n| format!("{name}_{n}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        let free = names.find(|name| taken.insert(name.clone())).unwrap_or(name);
        folder.join(format!("{free}.png"))
    };
    scores.iter().map(path).collect()
}

/// A name with no character that means anything in a path.
fn as_file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

fn save(drawn: &Rgb8, path: &Path) -> Result<(), Error> {
    let Size { width, height } = drawn.size();
    let (width, height) = (width as u32, height as u32);
    image::save_buffer(path, drawn.as_bytes(), width, height, image::ColorType::Rgb8)
        .map_err(|error| unwritable(path, error))
}

fn gone(image_id: &str) -> ReportError {
    let why = "it is not in the input any more".to_string();
    ReportError::Changed { path: image_id.into(), why }
}

fn unwritable(path: &Path, error: impl ToString) -> Error {
    Error::Unwritable { path: path.into(), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_kind_and_picture_and_stay_in_their_folder() {
        let score = |image_id: &str, kind: Option<&str>| ScoreRow {
            image_id: image_id.to_string(),
            kind: kind.map(str::to_string),
            ..ScoreRow::default()
        };
        let scores = [
            score("tile/test/crack/000.png", Some("crack")),
            score("a.png", None),
            score("b/a.png", None),
            score("c/a.jpg", None),
            score("x", Some("../..")),
        ];
        let paths = paths_of(Path::new("out"), &scores);
        let names = ["crack_000", "a", "a_2", "a_3", "______x"];
        assert_eq!(paths, names.map(|name| PathBuf::from(format!("out/{name}.png"))));
    }
}
