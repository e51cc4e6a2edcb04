//! `filo bench --stage backbone`: what the features of an image cost, on one core and on all of them,
//! and how far that is from the machine's limit. In: a device, a batch size. Out: a table, or one JSON
//! document.

use rayon::ThreadPoolBuilder;

use super::bench_network::{NetworkBench, fastest, finish};
use super::say::say;
use crate::device::{Backend, cpu};
use crate::error::Error;
use crate::job::Precision;
use crate::weights::backbone::{LoadedBackbone, embedded_backbone};

/// Edge length of the images, pixels.
const SIZE: usize = 256;

struct Row {
    cores: String,
    ms_per_image: f64,
    gflops_per_second: f64,
    /// Of a matmul of large squares on the same cores.
    share_of_peak: f64,
}

/// Measures the backbone inside the program on the device of `bench`.
///
/// # Errors
/// If the table cannot be written.
pub fn run(bench: &NetworkBench, json: bool) -> Result<(), Error> {
    let LoadedBackbone { network, id } = embedded_backbone::<Backend>(&bench.device)?;
    let images = bench.noise([bench.pictures, 3, SIZE, SIZE]);
    let gflop = network.config().flops(SIZE) / 1e9;
    let measured = |cores: String| {
        let seconds = fastest(bench.repeat, || {
            network.features(images.clone()).into_iter().for_each(finish);
        });
        let seconds = seconds / bench.pictures as f64;
        let gflops_per_second = gflop / seconds;
        let share_of_peak = gflops_per_second * 1e9 / bench.peak_flops(Precision::F32);
        Row { cores, ms_per_image: seconds * 1e3, gflops_per_second, share_of_peak }
    };
    let mut rows = Vec::new();
    if bench.device == cpu() {
        // A system that gives no thread more gets no such row.
        let one_thread = ThreadPoolBuilder::new().num_threads(1).build().ok();
        rows.extend(one_thread.map(|pool| pool.install(|| measured("1".into()))));
        rows.push(measured(rayon::current_num_threads().to_string()));
    } else {
        rows.push(measured("GPU".into()));
    }
    if json {
        let rows = rows.iter().map(|row| {
            serde_json::json!({
                "cores": row.cores, "ms_per_image": row.ms_per_image,
                "gflops_per_second": row.gflops_per_second, "share_of_peak": row.share_of_peak,
            })
        });
        let document = serde_json::json!({
            "stage": "backbone", "backbone": id, "size": SIZE, "images": bench.pictures,
            "gflop_per_image": gflop, "rows": rows.collect::<Vec<_>>(),
        });
        return say(format_args!("{document:#}"));
    }
    let of = format_args!("{id}, {SIZE} px, batches of {}", bench.pictures);
    say(format_args!("| {of} | ms per image | GFLOP per image | GFLOP/s | share of peak |"))?;
    say("|---|---|---|---|---|")?;
    for Row { cores, ms_per_image, gflops_per_second, share_of_peak } in rows {
        say(format_args!(
            "| cores: {cores} | {ms_per_image:.2} | {gflop:.3} | {gflops_per_second:.1} | {share_of_peak:.2} |"
        ))?;
    }
    Ok(())
}
