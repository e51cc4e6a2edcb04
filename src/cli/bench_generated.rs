//! `filo bench --stage generated`: how well a network does on images of the generator, and
//! whether it listens to words. In: weights. Out: one table or JSON document.

use std::path::Path;

use super::say::say;
use super::train::load_textures;
use crate::device::cpu;
use crate::error::Error;
use crate::train::spec::{RawTrainSpec, Unfreeze};
use crate::train::{Assessment, Generated, Init, Setup};
use crate::weights::{Weights, WeightsPlace};

/// Held out: trainings take small seeds.
const SEED: u64 = 0x0f11_0000_0001;

/// Scores `pictures` generated ones with the weights at `weights`, and prints what comes of it.
///
/// # Errors
/// If weights or textures cannot be read, or the network gives NaN.
pub fn run(
    weights: WeightsPlace,
    textures: Option<&Path>,
    pictures: u64,
    json: bool,
) -> Result<(), Error> {
    let side = Weights::open(&weights)?.config()?.vision.image_size;
    let init = Init::From(weights);
    let data = Generated::validation(SEED, side, load_textures(textures)?, pictures)?;
    let spec = RawTrainSpec::default().validate(Unfreeze::Nothing)?;
    let setup = Setup::new(&init, None, &spec, &[&data], &cpu())?;
    let Assessment { right, generic, swapped, words } = setup.assess(&data)?;
    if json {
        let document = serde_json::json!({
            "stage": "generated",
            "pictures": right.pictures,
            "image_auroc": right.image_auroc,
            "pixel_auroc": right.pixel_auroc,
            "generic_image_auroc": generic.image_auroc,
            "generic_pixel_auroc": generic.pixel_auroc,
            "swapped_image_auroc": swapped.image_auroc,
            "swapped_pixel_auroc": swapped.pixel_auroc,
            "word_pictures": words.pictures,
            "word_top_1_patches": words.top_1_patches,
            "word_top_1_image": words.top_1_image,
            "word_chance": words.chance,
        });
        return say(format_args!("{document:#}"));
    }
    let printed = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
    say(format_args!(
        "| generated, {} images of {side} px | image AUROC | pixel AUROC |",
        right.pictures
    ))?;
    say("|---|---|---|")?;
    let rows = [
        ("as described", right),
        ("without descriptions", generic),
        ("normal and abnormal words swapped", swapped),
    ];
    for (name, of) in rows {
        let (image, pixel) = (printed(of.image_auroc), printed(of.pixel_auroc));
        say(format_args!("| {name} | {image} | {pixel} |"))?;
    }
    say(format_args!(
        "the defect's word comes first in {:.1} % of {} images by its patches, {:.1} % by the \
         whole image; guessing: {:.1} %",
        1e2 * words.top_1_patches,
        words.pictures,
        1e2 * words.top_1_image,
        1e2 * words.chance,
    ))
}
