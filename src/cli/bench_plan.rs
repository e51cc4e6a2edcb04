//! `filo bench --plan`: what a machine of given limits should make of the published network, from
//! counted operations and bytes. In: limits, or a device on which to measure them. Out: a table per
//! batch size, and the hours that a million images take.

use super::bench_network::{NetworkBench, PEAK_SIDE};
use super::say::say;
use crate::device::products_in;
use crate::error::Error;
use crate::job::Precision;
use crate::model::clip::tokenizer::ClipTokenizer;
use crate::model::config::FiloConfig;
use crate::model::cost::{Batch, Cost, Operators};
use crate::model::filo::descriptions::Descriptions;
use crate::model::filo::position::Position;
use crate::model::grounding::GroundingConfig;
use crate::model::grounding::caption::CaptionTokenizer;
use crate::pipeline::localise::DETECTOR_SIDE;

/// Batch sizes of the table.
const BATCHES: [usize; 5] = [1, 4, 16, 64, 256];

/// Machines of the second table.
const MACHINES: [usize; 4] = [1, 4, 16, 64];

/// What a machine can do at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Operations of products per second, in the precision of the network.
    pub flops: f64,
    /// The same in f32: the detector's.
    pub flops_f32: f64,
    /// Bytes per second through memory.
    pub bytes: f64,
}

impl Limits {
    /// Measured on the device of `bench`.
    pub fn measured(bench: &NetworkBench) -> Limits {
        let flops = bench.peak_flops(bench.precision);
        let flops_f32 = match bench.precision {
            Precision::F32 => flops,
            _ => bench.peak_flops(Precision::F32),
        };
        let copied = 2.0 * 4.0 * (PEAK_SIDE as f64).powi(2);
        Limits { flops, flops_f32, bytes: copied / bench.copy_seconds() }
    }

    /// A share of them.
    fn times(self, share: f64) -> Limits {
        let Limits { flops, flops_f32, bytes } = self;
        let [flops, flops_f32, bytes] = [flops, flops_f32, bytes].map(|limit| share * limit);
        Limits { flops, flops_f32, bytes }
    }
}

/// The stages of a batch with the seconds that they should take.
pub fn expected(
    category: &str,
    batch: Batch,
    limits: Limits,
) -> Result<Vec<(&'static str, Cost, f64)>, Error> {
    let config = FiloConfig::published();
    let descriptions = Descriptions::built_in()?;
    let texts = descriptions.prompts(category);
    let trees = texts.trees(&ClipTokenizer::embedded()?, config.n_ctx, &[Position::Center]);
    let text = trees.iter().map(|tree| batch.text_tower(&config, tree.len(), tree.ends().count()));
    let grounding = GroundingConfig::swin_t_ogc();
    let caption = descriptions.caption_words(category).caption();
    let tokens = CaptionTokenizer::embedded()?.encode(&caption, grounding.max_text_len).len();
    let in_f32 = Batch { product_bytes: 4, ..batch };
    let side = DETECTOR_SIDE.shorter;
    let stages = [
        ("image tower", batch.image_tower(&config), limits.flops),
        ("map heads", batch.map_heads(&config), limits.flops),
        ("text tower, one position", text.sum(), limits.flops),
        ("detector", in_f32.detector(&grounding, side, side, tokens), limits.flops_f32),
    ];
    let timed = stages.map(|(name, cost, flops)| (name, cost, cost.seconds(flops, limits.bytes)));
    Ok(timed.to_vec())
}

/// Prints the plan for a machine of which `share` of the `limits` is reached.
pub fn run(
    category: &str,
    precision: Precision,
    limits: Limits,
    share: f64,
    json: bool,
) -> Result<(), Error> {
    let limits = limits.times(share);
    let product_bytes = products_in(precision).size();
    let mut rows = Vec::new();
    for pictures in BATCHES {
        let batch = Batch { pictures, product_bytes, operators: Operators::Fused };
        rows.push((pictures, expected(category, batch, limits)?));
    }
    if json {
        let rows = rows.iter().map(|(pictures, stages)| {
            let stages = stages.iter().map(|(name, cost, seconds)| {
                serde_json::json!({
                    "name": name, "flops": cost.flops, "bytes": cost.bytes + cost.passes,
                    "seconds": seconds,
                })
            });
            serde_json::json!({ "pictures": pictures, "stages": stages.collect::<Vec<_>>() })
        });
        let document = serde_json::json!({
            "flops_per_second": limits.flops,
            "flops_per_second_f32": limits.flops_f32,
            "bytes_per_second": limits.bytes,
            "efficiency": share,
            "batches": rows.collect::<Vec<_>>(),
        });
        return say(format_args!("{document:#}"));
    }
    say(format_args!(
        "reckoned with {share:.2} of the limits: {:.2} TFLOP/s in {}, {:.2} in f32, {:.0} GB/s",
        limits.flops / 1e12,
        precision,
        limits.flops_f32 / 1e12,
        limits.bytes / 1e9
    ))?;
    let names = rows[0].1.iter().map(|(name, ..)| format!(" {name}, ms each |"));
    say(format_args!("| pictures per batch |{} pictures/s |", names.collect::<String>()))?;
    say(format_args!("|---{}|---|", "|---".repeat(rows[0].1.len())))?;
    let mut best = 0f64;
    for (pictures, stages) in rows {
        let each = |seconds: f64| seconds / pictures as f64;
        let cells = stages.iter().map(|(.., seconds)| format!(" {:.2} |", each(*seconds) * 1e3));
        let rate = 1.0 / each(stages.iter().map(|(.., seconds)| seconds).sum());
        best = best.max(rate);
        say(format_args!("| {pictures} |{} {rate:.2} |", cells.collect::<String>()))?;
    }
    for machines in MACHINES {
        let hours = 1e6 / (best * machines as f64) / 3600.0;
        say(format_args!("a million images on {machines}: {hours:.2} h"))?;
    }
    Ok(())
}
