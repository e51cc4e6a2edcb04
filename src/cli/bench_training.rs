//! `filo bench --stage training`: what a step of the embedded network's own recipe costs, and how far
//! its products are from the machine's limit. In: weights. Out: rows of a table.

use std::path::Path;
use std::sync::Arc;

use super::bench_network::{Measured, NetworkBench};
use super::train::load_textures;
use crate::error::Error;
use crate::model::cost::{Batch, Operators};
use crate::train::spec::{RawTrainSpec, Unfreeze};
use crate::train::{Generated, Init, Setup, StepSeconds};
use crate::weights::Weights;

/// The recipe of the embedded network's longest sitting on a CPU.
const RECIPE: &str = include_str!("../../assets/nano/train-128.toml");

/// Products of a step for each of its forward pass: itself, and the gradient of each operand.
const PASSES: f64 = 3.0;

/// Measures steps from the weights of `bench`, or from the embedded ones.
///
/// # Errors
/// If weights or textures cannot be read, or the system gives no more threads.
pub fn run(bench: &NetworkBench, textures: Option<&Path>) -> Result<Vec<Measured>, Error> {
    let weights = bench.weights.clone().unwrap_or_default();
    let config = Weights::open(&weights)?.config()?;
    let side = config.vision.image_size;
    let spec = toml::from_str::<RawTrainSpec>(RECIPE).expect("the recipe is part of the program");
    let spec = spec.validate(Unfreeze::Backbone)?;
    let data = Generated::training(spec.seed, side, load_textures(textures)?)?;
    let setup = Setup::new(&Init::From(weights), None, &spec, &[&data], &bench.device)?;
    let StepSeconds { pictures, pictures_drawn, gradients, update } =
        setup.time_step(Arc::new(data), &spec, bench.repeat)?;
    let batch = Batch { pictures, product_bytes: 4, operators: Operators::Fused };
    let products = PASSES * (batch.image_tower(&config).flops + batch.map_heads(&config).flops);
    let peak = bench.training_peak_flops();
    let tokens = 1 + config.vision.grid().pow(2);
    let row = |name, seconds| Measured { name, tokens, pictures, seconds };
    Ok(vec![
        row("images drawn", pictures_drawn),
        row("loss and gradients", gradients),
        row("optimiser", update),
        row("all, one after the other", pictures_drawn + gradients + update),
        row("products of the image side, at the machine's limit", products / peak),
    ])
}
