//! `cargo bench --bench jpeg -- FILE…`: how long JPEGs take to decode with libjpeg-turbo's pixels, beside the
//! decoder of the crate `image`, which has other ones. In: files. Out: a table with milliseconds for
//! each and their ratio, medians over pairs that take turns.

use std::path::PathBuf;
use std::time::Instant;

use filo::image::{DecodeLimits, Picture, Preprocess};

/// Turns per file.
const PAIRS: usize = 15;

fn main() {
    let files = std::env::args().skip(1).filter(|arg| arg != "--bench").map(PathBuf::from);
    println!("| file | pixels | filo, ms | image, ms | ratio |\n|---|---|---|---|---|");
    for file in files {
        let bytes = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let ours = || {
            Picture::decode(&bytes, Preprocess::Sensible, DecodeLimits::default())
                .unwrap_or_else(|failure| panic!("{}: {}", file.display(), failure.message))
                .size()
        };
        let theirs = || {
            let image = image::load_from_memory(&bytes).expect("it is an image");
            image.into_rgb8().len()
        };
        let (mut of_ours, mut of_theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let size = ours();
        for _ in 0..PAIRS {
            let (ours, theirs) = (milliseconds(ours), milliseconds(theirs));
            of_ours.push(ours);
            of_theirs.push(theirs);
            ratios.push(ours / theirs);
        }
        println!(
            "| {} | {}×{} | {:.2} | {:.2} | {:.2} |",
            file.file_name().unwrap_or_default().to_string_lossy(),
            size.width,
            size.height,
            median(of_ours),
            median(of_theirs),
            median(ratios)
        );
    }
}

fn milliseconds<T>(work: impl Fn() -> T) -> f64 {
    let started = Instant::now();
    std::hint::black_box(work());
    started.elapsed().as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
