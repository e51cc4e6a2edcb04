//! `filo bench --stage metrics`: the pixel metrics of maps that lie in two files of numpy, map by
//! map. In: `maps.npy` and `masks.npy` of one folder. Out: metrics with bounds, time and memory.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::say::say;
use crate::error::Error;
use crate::metrics::{Bounded, PixelSketch, pixel_metrics};

/// Measures the maps in `folder`.
///
/// # Errors
/// If a file cannot be read, is no array of the expected kind, or holds scores that are not finite.
pub fn run(folder: &Path, as_json: bool) -> Result<(), Error> {
    let mut maps = Array::open(folder.join("maps.npy"), "<f4")?;
    let mut masks = Array::open(folder.join("masks.npy"), "|u1")?;
    let [pictures, height, width] = maps.shape;
    if masks.shape != maps.shape {
        return Err(masks.unfit(&format!("has shape {:?}, the maps {:?}", masks.shape, maps.shape)));
    }
    let mut sketch = PixelSketch::new();
    let (mut bytes, mut map, mut mask) = (Vec::new(), Vec::new(), Vec::new());
    let mut spent = Duration::ZERO;
    for _ in 0..pictures {
        maps.read(&mut bytes)?;
        masks.read(&mut mask)?;
        map.clear();
        map.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        let started = Instant::now();
        sketch.add_map(&map, Some(&mask), width, height)?;
        spent += started.elapsed();
    }
    let of_maps = spent;
    let started = Instant::now();
    let metrics = pixel_metrics(&sketch);
    let seconds = (spent + started.elapsed()).as_secs_f64();
    let rows = [
        ("pixel_auroc", metrics.auroc),
        ("pixel_ap", metrics.ap),
        ("pixel_f1max", metrics.f1max),
        ("aupro", metrics.aupro),
        ("aupro_05", metrics.aupro_05),
    ];
    let per_map_ms = 1e3 * of_maps.as_secs_f64() / pictures.max(1) as f64;
    let sketch_bytes = sketch.encode().len();
    if as_json {
        let value = |of: Option<Bounded>| {
            of.map(|Bounded { value, lower, upper }| {
                json!({ "value": value, "lower": lower, "upper": upper })
            })
        };
        let metrics = rows.map(|(name, of)| (name.to_string(), json!(value(of))));
        return say(format_args!(
            "{:#}",
            json!({
                "stage": "metrics", "pictures": pictures, "seconds": seconds,
                "ms_per_map": per_map_ms, "sketch_bytes": sketch_bytes, "peak_mib": peak_mib(),
                "metrics": serde_json::Map::from_iter(metrics),
            })
        ));
    }
    say("| metric | value | bounds |")?;
    say("|---|---|---|")?;
    for (name, of) in rows {
        let Some(Bounded { value, lower, upper }) = of else {
            say(format_args!("| {name} | – | – |"))?;
            continue;
        };
        say(format_args!("| {name} | {value:.6} | {lower:.6} to {upper:.6} |"))?;
    }
    say(format_args!(
        "{pictures} maps of {width}×{height} in {seconds:.2} s, {per_map_ms:.2} ms each on one core; \
         the sketch has {sketch_bytes} bytes before compression{}",
        peak_mib().map_or(String::new(), |peak| format!(", the program took {peak:.0} MiB"))
    ))
}

/// Most memory that this process has had, where the system tells.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}

/// An array of three axes in a file, read plane by plane.
struct Array {
    path: PathBuf,
    shape: [usize; 3],
    plane_bytes: usize,
    file: BufReader<File>,
}

impl Array {
    /// Opens version 1 of numpy's format, C order, elements as `descr` has them.
    fn open(path: PathBuf, descr: &str) -> Result<Self, Error> {
        let unfit = |why: &str| unfit(&path, why);
        let file = File::open(&path).map_err(|error| unfit(&error.to_string()))?;
        let mut file = BufReader::new(file);
        let mut prefix = [0; 10];
        file.read_exact(&mut prefix).map_err(|error| unfit(&error.to_string()))?;
        let [magic @ .., low, high] = prefix;
        if &magic != b"\x93NUMPY\x01\x00" {
            return Err(unfit("is no array of numpy"));
        }
        let mut header = vec![0; usize::from(u16::from_le_bytes([low, high]))];
        file.read_exact(&mut header).map_err(|error| unfit(&error.to_string()))?;
        let header = String::from_utf8_lossy(&header);
        let expected = format!("'descr': '{descr}', 'fortran_order': False");
        let shape = header.contains(&expected).then(|| shape_in(&header)).flatten();
        let shape = shape
            .ok_or_else(|| unfit(&format!("is no array [n, height, width] with {expected}")))?;
        let element = if descr == "<f4" { 4 } else { 1 };
        let plane_bytes = shape[1].checked_mul(shape[2]).and_then(|n| n.checked_mul(element));
        let plane_bytes = plane_bytes.ok_or_else(|| unfit("says it is larger than memory"))?;
        Ok(Array { path, shape, plane_bytes, file })
    }

    /// The next plane.
    fn read(&mut self, plane: &mut Vec<u8>) -> Result<(), Error> {
        plane.clear();
        let mut file = self.file.by_ref().take(self.plane_bytes as u64);
        match file.read_to_end(plane) {
            Ok(read) if read == self.plane_bytes => Ok(()),
            Ok(_) => Err(self.unfit("ends early")),
            Err(error) => Err(self.unfit(&error.to_string())),
        }
    }

    fn unfit(&self, why: &str) -> Error {
        unfit(&self.path, why)
    }
}

fn unfit(path: &Path, why: &str) -> Error {
    Error::UnfitArray { path: path.to_owned(), why: why.to_string() }
}

fn shape_in(header: &str) -> Option<[usize; 3]> {
    let (shape, _) = header.split_once("'shape': (")?.1.split_once(')')?;
    let sizes = shape.split(',').map(|size| size.trim().parse().ok());
    sizes.collect::<Option<Vec<_>>>()?.try_into().ok()
}
