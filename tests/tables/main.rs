//! What an output folder promises to those who write and read it.
//!
//! Here: the rows of a small made-up shard, which all tests share.

mod commit;
mod damage;
mod round_trip;

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use chrono::NaiveDate;
use filo::error::{Failure, FailureCode, Stage, TableError};
use filo::store::{Location, Store};
use filo::tables::{
    ALL_CATEGORIES, BoxRow, CategoryMetrics, CategoryRows, Committed, ExpectedShard, FailureRow,
    LabelledScore, MEAN_OF_CATEGORIES, MapsFormat, MaskRow, MetricsRow, PartialRow, RunIdentity,
    RunReader, RunWriter, ScoreRow, ShardRows, Table, map_npy,
};
use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::json;

const SHARD: &str = "5a17";

fn store(folder: &Path) -> Store {
    Store::create(&Location::local(folder)).unwrap()
}

fn identity() -> RunIdentity {
    RunIdentity {
        run_id: "c0ffee".to_string(),
        run_date: NaiveDate::from_ymd_opt(2026, 11, 24).unwrap(),
        spec: json!({"layout": "mvtec", "mask": {"threshold": 0.5}, "weights": "nano"}),
        shards: vec![SHARD.to_string()],
        plan: None,
    }
}

fn writer(folder: &Path) -> RunWriter {
    RunWriter::open(store(folder), identity()).unwrap()
}

fn reader(folder: &Path) -> RunReader {
    RunReader::open(store(folder)).unwrap()
}

fn score_row(image_id: &str, score: f32, label: Option<bool>) -> ScoreRow {
    ScoreRow {
        image_id: image_id.to_string(),
        uri: format!("/in/{image_id}"),
        width: 640,
        height: 480,
        score,
        text_score: Some(0.5 * score),
        reference_score: label.map(|_| 0.75),
        p_value: label.map(|_| 0.125),
        reference_id: label.map(|_| "good/1.png".to_string()),
        global_score: 0.25,
        map_max: 0.75,
        map_mean: 0.125,
        label,
        kind: label.map(|_| "crack".to_string()),
        is_anomalous: label.map(|_| score > 0.5),
        threshold: label.map(|_| 0.5),
        position: None,
        n_boxes: 1,
        top_description: Some("abnormal tile with crack".to_string()),
        top_similarity: Some(0.5),
        map_path: Some("maps/5a17/0.npy".to_string()),
        true_mask: Some("03".into()),
        pixel_summary: label.map(|_| vec![1, 2, 3]),
        digest: Some("00112233445566778899aabbccddeeff".into()),
        ms_fetch: None,
        ms_decode: Some(3.5),
        ms_infer: 12.5,
        n_tiles: None,
        tile_grid: None,
        model_id: "nano".to_string(),
        kept: Vec::new(),
    }
}

fn mask_row(image_id: &str) -> MaskRow {
    MaskRow {
        image_id: image_id.to_string(),
        height: 4,
        width: 4,
        counts: "52203".to_string(),
        area: 4,
        bbox_x: 1,
        bbox_y: 1,
        bbox_width: 2,
        bbox_height: 2,
        threshold: 0.5,
        regions: 1,
    }
}

fn box_row(image_id: &str) -> BoxRow {
    let (x0, y0, x1, y1) = (-0.5, 10.0, 100.25, 479.0);
    let (image_id, phrase) = (image_id.to_string(), "crack. 裂".to_string());
    BoxRow { image_id, x0, y0, x1, y1, logit: 0.31, phrase }
}

fn failure_row(image_id: &str) -> FailureRow {
    let failure = Failure::new(Stage::Decode, FailureCode::CorruptImage, "cut off: copy it again");
    FailureRow::new(image_id.to_string(), format!("/in/{image_id}"), failure)
}

fn partials() -> Vec<PartialRow> {
    let row = |kind: Option<&str>| PartialRow {
        kind: kind.map(str::to_string),
        of_anomalous: Some(kind.is_some()),
        n_images: 2,
        n_normal: u64::from(u32::MAX) + 7,
        n_anomalous: 12,
        n_regions: 3,
        score_min: -0.25,
        score_max: 0.9,
        sketch: vec![1, 0, 255],
        image_sketch: kind.map(|_| vec![0, 7]),
    };
    vec![row(None), row(Some("crack"))]
}

fn category_rows() -> CategoryRows {
    CategoryRows {
        scores: vec![
            score_row("b.png", 0.75, Some(true)),
            score_row("a.png", 0.125, Some(false)),
            score_row("c.png", 0.5, None),
        ],
        masks: vec![mask_row("b.png")],
        boxes: vec![box_row("b.png"), box_row("a.png"), box_row("c.png")],
        failures: vec![failure_row("d.png")],
        partials: partials(),
    }
}

fn shard(shard_id: &str, category: &str) -> ShardRows {
    let categories = BTreeMap::from([(category.to_string(), category_rows())]);
    ShardRows { shard_id: shard_id.to_string(), categories }
}

fn expected(shard_id: &str, entries: u64) -> ExpectedShard {
    ExpectedShard { shard_id: shard_id.to_string(), entries: Some(entries) }
}

/// Every file of an output with its content.
fn snapshot(folder: &Path) -> BTreeMap<String, Bytes> {
    let store = store(folder);
    let files = store.list("").unwrap();
    files.into_iter().map(|file| (file.path.clone(), store.get(&file.path).unwrap())).collect()
}

fn metrics_row(image_auroc: Option<f64>) -> MetricsRow {
    MetricsRow {
        n_images: 3,
        n_anomalous: 1,
        image_auroc,
        aupro: Some(0.875),
        protocol: "exact".to_string(),
        ..MetricsRow::default()
    }
}
