//! `cargo bench --bench archive -- [--pictures N] [--out DIR]`: how long `filo metrics` and `filo report`
//! take over a simulated archive, and how much memory. In: a number of images. Out: a run with that many rows
//! in `scores` and one sketch per shard in `partials`, a second night beside it that scored every 50th
//! shard again and as many new ones, and a table of what was measured, of the run and of both nights.
//!
//! Maps of 518 × 518 with masks are generated for 64 shards of 64 images; those shards are then
//! repeated under other names until there are enough, with scores of their own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use filo::image::{Size, upsample_map};
use filo::metrics::{MapPixels, PixelSummary};
use filo::pipeline::pixel_groups::PixelGroups;
use filo::store::{Location, Store};
use filo::tables::{
    CategoryRows, ExpectedShard, PartialRow, RunIdentity, RunWriter, ScoreRow, ShardRows,
};
use rayon::prelude::*;

const SIDE: usize = 518;
const SHARD: usize = 64;
const DISTINCT: usize = 64;
const CATEGORIES: usize = 40;
/// The second night scores every so many-th shard again.
const AGAIN: usize = 50;
/// Side of the grid that maps are drawn on before they are enlarged, as a network's are.
const GRID: usize = 37;

/// A shard without its name and scores.
#[derive(Clone)]
struct Generated {
    partials: Vec<PartialRow>,
    summaries: Vec<Vec<u8>>,
    /// What sketching took.
    spent: Duration,
}

fn main() {
    let args = std::env::args().skip(1).filter(|arg| arg != "--bench").collect::<Vec<_>>();
    let option = |name: &str| args.iter().skip_while(|arg| *arg != name).nth(1).cloned();
    let pictures = option("--pictures").map_or(1_000_000, |n| n.parse().expect("a number"));
    let out =
        option("--out").map_or_else(|| std::env::temp_dir().join("filo-archive"), PathBuf::from);
    let shards = usize::div_ceil(pictures, SHARD);
    if !out.join("_SUCCESS").exists() {
        write(&out, 0, shards, (0..shards).collect());
    }
    let second = out.with_extension("second");
    let again = (0..shards).step_by(AGAIN).collect::<Vec<_>>();
    let new = shards..shards + again.len();
    let of_second = again.into_iter().chain(new.clone()).collect::<Vec<_>>();
    if !second.join("_SUCCESS").exists() {
        write(&second, 1, shards, of_second);
    }
    let bytes = fs_bytes(&out.join("partials"));
    let metrics = run_filo("metrics", &[], &[&out]);
    let page = std::env::temp_dir().join("filo-archive.html");
    let report = run_filo("report", &["--out".as_ref(), page.as_ref()], &[&out]);
    let nights = run_filo("metrics", &[], &[&out, &second]);
    let page_of_nights = ["--out".as_ref(), page.as_ref()];
    let report_of_nights = run_filo("report", &page_of_nights, &[&out, &second]);
    println!("| images | shards | command | time | peak memory |");
    println!("|---|---|---|---|---|");
    for (command, shards, (seconds, peak_mib)) in [
        ("metrics", shards, metrics),
        ("report", shards, report),
        ("metrics, two nights", new.end, nights),
        ("report, two nights", new.end, report_of_nights),
    ] {
        let pictures = shards * SHARD;
        println!("| {pictures} | {shards} | {command} | {seconds:.1} s | {peak_mib:.0} MiB |");
    }
    println!(
        "{:.0} KB of partials per shard; the page has {:.1} MB",
        bytes as f64 / shards as f64 / 1e3,
        std::fs::metadata(&page).map_or(0.0, |page| page.len() as f64 / 1e6)
    );
}

/// Writes the run of a night with the shards `written`, of an archive that has so many.
fn write(out: &Path, night: u32, shards: usize, written: Vec<usize>) {
    let started = Instant::now();
    let sketches = (0..DISTINCT.min(shards)).into_par_iter().map(|i| {
        let mut rng = Rng::with_seed(i as u64);
        let mut spent = Duration::ZERO;
        let (mut groups, mut summaries) = (PixelGroups::default(), Vec::new());
        for picture in 0..SHARD {
            let (map, mask) = generate(&mut rng, picture % 2 == 1);
            let started = Instant::now();
            let pixels = MapPixels::new(&map, mask.as_deref(), SIDE, SIDE).unwrap();
            groups.add_map(None, &pixels).unwrap();
            summaries.push(PixelSummary::new(&pixels).encode());
            spent += started.elapsed();
        }
        Generated { partials: groups.into_rows(), summaries, spent }
    });
    let sketches = sketches.collect::<Vec<_>>();
    let spent = sketches.iter().map(|shard| shard.spent).sum::<Duration>();
    println!(
        "{} maps in {:.0} s; sketching one takes {:.2} ms of one core",
        SHARD * sketches.len(),
        started.elapsed().as_secs_f64(),
        1e3 * spent.as_secs_f64() / (SHARD * sketches.len()) as f64
    );

    std::fs::create_dir_all(out).unwrap();
    let named = |i: &usize| format!("{night:x}{i:015x}");
    let names = written.iter().map(named).collect::<Vec<_>>();
    let identity = RunIdentity {
        run_id: format!("archive{night}"),
        run_date: chrono::NaiveDate::from_ymd_opt(2026, 11, 26 + night).unwrap(),
        spec: serde_json::json!({}),
        shards: names.clone(),
        plan: None,
    };
    let writer = RunWriter::open(Store::create(&Location::local(out)).unwrap(), identity).unwrap();
    written.par_iter().zip(&names).for_each(|(&i, shard_id)| {
        let mut rng = Rng::with_seed(1 << 32 | i as u64);
        let Generated { partials, summaries, .. } = sketches[i % sketches.len()].clone();
        let scores = summaries.into_iter().enumerate();
        let scores =
            scores.map(|(picture, summary)| score(&mut rng, i, picture, summary)).collect();
        let rows = CategoryRows { scores, partials, ..CategoryRows::default() };
        let category = format!("line-{:02}", (i % shards) * CATEGORIES / shards);
        let categories = BTreeMap::from([(category, rows)]);
        let rows = ShardRows { shard_id: shard_id.clone(), categories };
        writer.commit_shard(rows, || Ok(true)).unwrap();
    });
    let expected = names.into_iter().map(|shard_id| ExpectedShard { shard_id, entries: Some(64) });
    writer.finish(&expected.collect::<Vec<_>>(), |_| Ok(Vec::new())).unwrap();
}

fn score(rng: &mut Rng, shard: usize, picture: usize, summary: Vec<u8>) -> ScoreRow {
    let anomalous = picture % 2 == 1;
    let image_id = format!("2026-11-25/station-a/{shard:06}-{picture:02}.png");
    let score = 0.5 * rng.f32() + if anomalous { 0.2 } else { 0.0 };
    ScoreRow {
        uri: format!("s3://archive/{image_id}"),
        image_id,
        width: 1024,
        height: 1024,
        score,
        is_anomalous: Some(score > 0.35),
        threshold: Some(0.35),
        label: Some(anomalous),
        pixel_summary: Some(summary),
        model_id: "simulated".to_string(),
        ..ScoreRow::default()
    }
}

/// A smooth map with values over several magnitudes and, if asked for, up to three defects that it
/// mostly sees.
fn generate(rng: &mut Rng, defects: bool) -> (Vec<f32>, Option<Vec<u8>>) {
    let level = rng.f32();
    let mut grid = (0..GRID * GRID)
        .map(|_| (-6.0 + 3.0 * level + 1.5 * (rng.f32() + rng.f32())).exp2())
        .collect::<Vec<_>>();
    let mut mask = vec![0u8; if defects { SIDE * SIDE } else { 0 }];
    for _ in 0..if defects { rng.usize(1..4) } else { 0 } {
        let (cx, cy) = (rng.f32() * SIDE as f32, rng.f32() * SIDE as f32);
        let (rx, ry) = (4.0 + 40.0 * rng.f32().powi(2), 4.0 + 40.0 * rng.f32().powi(2));
        let inside = |x: f32, y: f32| ((x - cx) / rx).powi(2) + ((y - cy) / ry).powi(2) < 1.0;
        for (i, value) in mask.iter_mut().enumerate() {
            *value |= u8::from(inside((i % SIDE) as f32, (i / SIDE) as f32));
        }
        let seen = 0.2 + 0.6 * rng.f32();
        let cell = SIDE as f32 / GRID as f32;
        for (i, value) in grid.iter_mut().enumerate() {
            let (x, y) = ((i % GRID) as f32 + 0.5, (i / GRID) as f32 + 0.5);
            let near =
                ((x * cell - cx) / (rx + cell)).powi(2) + ((y * cell - cy) / (ry + cell)).powi(2);
            *value += seen * (-2.0 * near).exp();
        }
    }
    let map = upsample_map(&grid, GRID, Size { width: SIDE, height: SIDE });
    (map, defects.then_some(mask))
}

/// Runs a command of `filo` on runs: how many seconds it took, and the most memory that it had, in
/// MiB.
fn run_filo(subcommand: &str, flags: &[&OsStr], runs: &[&Path]) -> (f64, f64) {
    let started = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_filo"));
    command.arg(subcommand).args(flags).stdout(Stdio::null());
    for run in runs {
        command.arg("--run").arg(run);
    }
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0f64;
    loop {
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "filo {subcommand}: {ended}");
            return (started.elapsed().as_secs_f64(), peak);
        }
        let now = std::fs::read_to_string(&status).unwrap_or_default();
        let line = now.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        peak = peak.max(kib.unwrap_or(0.0) / 1024.0);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn fs_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let bytes = entries.map(|entry| {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() { fs_bytes(&entry.path()) } else { metadata.len() }
    });
    bytes.sum()
}
