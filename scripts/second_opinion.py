#!/usr/bin/env python3
"""Checks a finished run with tools that share no code with the program that wrote it.

Opens every table with DuckDB, pyarrow and polars, compares row counts with the manifest, decodes
the masks with pycocotools, and computes the metrics again: scikit-learn for AUROC, AP and F1-max,
and an own AUPRO. Pixel metrics need the raw maps of the run (`filo score --maps f32`) and its
input folder (mvtec layout) for the masks.

    second_opinion.py RUN                            tables, masks, image metrics
    second_opinion.py RUN --maps --input FOLDER      maps and pixel metrics too

Prints one table. Exit code 1 if anything disagrees.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from urllib.parse import unquote

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.compute as pc
from pycocotools import mask as coco

from measure import (
    FPR_LIMIT,
    NO_PIXELS,
    Pixels,
    exact_aupro,
    find_mask,
    load_mask,
    open_with_pyarrow,
    ranking_metrics,
    split_pixels,
)

TABLES = ["scores", "masks", "boxes", "failures", "metrics", "partials"]
TOLERANCE = 1e-9
# How close the certain bounds of pixel metrics are.
BOUNDS_WIDTH = 1e-4
PUBLISHED_AUPRO_TOLERANCE = 1e-4


class Report:
    """Rows of the printed table; remembers whether any disagrees."""

    def __init__(self):
        self.rows = []
        self.failed = False

    def add(self, check, subject, ours, theirs, ok, note=""):
        verdict = "ok" if ok else "DISAGREES"
        self.failed |= not ok
        self.rows.append([check, subject, show(ours), show(theirs), note, verdict])

    def equal(self, check, subject, ours, theirs):
        self.add(check, subject, ours, theirs, ours == theirs)

    def inside(self, check, subject, least, most, theirs):
        rounding = 1e-12
        inside = theirs is not None and least - rounding <= theirs <= most + rounding
        ok = inside and most - least <= BOUNDS_WIDTH
        self.add(check, subject, least, theirs, ok, f"bounds {most - least:.1e} apart")

    def close(self, check, subject, ours, theirs, tolerance=TOLERANCE):
        if ours is None or theirs is None:
            self.add(check, subject, ours, theirs, ours is None and theirs is None)
            return
        difference = abs(ours - theirs)
        self.add(check, subject, ours, theirs, difference <= tolerance, f"{difference:.1e}")

    def skipped(self, check, subject, why):
        self.rows.append([check, subject, "", "", why, "skipped"])

    def print(self):
        rows = [["check", "subject", "run", "second opinion", "difference", "verdict"], *self.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        verdicts = [row[5] for row in self.rows]
        counts = {v: verdicts.count(v) for v in ["ok", "skipped", "DISAGREES"]}
        print(", ".join(f"{n} {verdict}" for verdict, n in counts.items()))


def show(value):
    if value is None:
        return "null"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


# Tables: three readers, the manifest, the ledger.


def count_with_duckdb(folder, what="count(*)"):
    query = f"""select category, {what} from read_parquet(?, hive_partitioning = true,
        hive_types = {{'run_date': 'DATE', 'category': 'VARCHAR'}}) group by category"""
    return dict(duckdb.execute(query, [f"{folder}/**/*.parquet"]).fetchall())


def count_with_pyarrow(folder):
    counts = pc.value_counts(open_with_pyarrow(folder).to_table(columns=["category"])["category"])
    return {pair["values"]: pair["counts"] for pair in counts.to_pylist()}


def count_with_polars(folder):
    names = {"run_date": pl.Date, "category": pl.String}
    table = pl.scan_parquet(folder, hive_partitioning=True, hive_schema=names)
    return dict(table.group_by("category").len().collect().iter_rows())


def check_tables(run, manifest, report):
    for table in TABLES:
        folder = str(run / table)
        counts = {
            "DuckDB": count_with_duckdb(folder),
            "pyarrow": count_with_pyarrow(folder),
            "polars": count_with_polars(folder),
        }
        # Metrics are written after the manifest: there the readers must agree with each other.
        expected = manifest["totals"]["rows"].get(table, {})
        expected = counts["pyarrow"] if table == "metrics" else expected
        for name, found in counts.items():
            total = sum(found.values())
            same = found == expected
            report.add(f"rows of {table}", name, sum(expected.values()), total, same)


def check_ledger(run, manifest, report):
    entries = [json.loads(f.read_text()) for f in sorted((run / "_filo/ledger").glob("*.json"))]
    named = {part["path"]: part["bytes"] for entry in entries for part in entry["parts"]}
    on_disk = {
        str(path.relative_to(run)): path.stat().st_size
        for table in TABLES
        for path in (run / table).rglob("*.parquet")
        if not path.stem.endswith("-all")
    }
    report.equal("shards in the ledger", "manifest", manifest["totals"]["shards"], len(entries))
    only_named, only_on_disk = named.keys() - on_disk.keys(), on_disk.keys() - named.keys()
    report.equal("parts named but missing", "ledger", 0, len(only_named))
    report.equal("parts without an entry", "ledger", 0, len(only_on_disk))
    resized = [path for path, size in named.items() if on_disk.get(path, size) != size]
    report.equal("parts of another size", "ledger", 0, len(resized))
    report.equal("_SUCCESS", "run", True, (run / "_SUCCESS").is_file())


def check_ids(tables, manifest, report):
    scored, failed = tables["scores"]["image_id"], tables["failures"]["image_id"]
    entries = manifest["totals"]["entries"]
    report.equal("scores + failures", "listing", entries, len(scored) + len(failed))
    distinct = len(set(scored) | set(failed))
    report.equal("distinct image ids", "scores, failures", entries, distinct)
    boxes = tables["boxes"].groupby("image_id").size()
    found = scored.map(boxes).fillna(0).astype(int)
    wrong = int((found != tables["scores"]["n_boxes"]).sum())
    report.equal("pictures with wrong n_boxes", "boxes", 0, wrong)
    orphans = sum(len(set(tables[name]["image_id"]) - set(scored)) for name in ["masks", "boxes"])
    report.equal("masks, boxes without a score", "scores", 0, orphans)


def check_masks(masks, report):
    wrong_area = wrong_box = 0
    for row in masks.itertuples():
        rle = {"size": [row.height, row.width], "counts": row.counts.encode()}
        wrong_area += int(coco.decode(rle).sum()) != row.area
        box = [row.bbox_x, row.bbox_y, row.bbox_width, row.bbox_height]
        wrong_box += list(coco.toBbox(rle)) != box
    report.equal("masks with wrong area", f"{len(masks)} masks", 0, wrong_area)
    report.equal("masks with wrong bbox", f"{len(masks)} masks", 0, wrong_box)


# Metrics.


def published_aupro(pixels, limit=FPR_LIMIT):
    """As the published code does it: 200 thresholds, FPR below the limit, stretched to 0..1."""
    if not pixels.regions or not len(pixels.normal):
        return None
    normal, regions = np.sort(pixels.normal), [np.sort(region) for region in pixels.regions]
    low = min(normal[0], *(region[0] for region in regions))
    high = max(normal[-1], *(region[-1] for region in regions))
    if not low < high:
        return None
    thresholds = np.arange(low, high, (high - low) / 200)

    def share_above(values):
        # Compared as float64, as both sides are there.
        return 1 - np.searchsorted(values.astype(np.float64), thresholds, "right") / len(values)

    fpr, pro = share_above(normal), np.mean([share_above(region) for region in regions], axis=0)
    fpr, pro = fpr[fpr < limit], pro[fpr < limit]
    if not len(fpr) or fpr.max() == fpr.min():
        return None
    fpr = (fpr - fpr.min()) / (fpr.max() - fpr.min())
    return float(abs(np.trapezoid(pro, fpr)))


def check_metrics(report, metrics, found, names, protocols):
    """Compares `found` (category → name → value) with the metrics table."""

    def compare(category, name, theirs):
        row = metrics[category]
        if row.get(f"{name}_min") is not None:
            report.inside(name, category, row[f"{name}_min"], row[f"{name}_max"], theirs)
            return
        published = name == "aupro" and protocols[category] == "published"
        tolerance = PUBLISHED_AUPRO_TOLERANCE if published else TOLERANCE
        report.close(name, category, row[name], theirs, tolerance)

    for category in [*categories_of(metrics), "__all__"]:
        for name in names:
            compare(category, name, found[category][name])
    categories = [values for category, values in found.items() if category != "__all__"]
    for name in names:
        defined = [values[name] for values in categories if values[name] is not None]
        mean = math.fsum(defined) / len(defined) if defined else None
        compare("__mean__", name, mean)


def categories_of(metrics):
    return sorted(set(metrics) - {"__all__", "__mean__"})


def check_image_metrics(scores, metrics, protocols, report):
    labelled = scores[scores["label"].notna()]
    unmeasured = set(scores["category"]) - set(metrics)
    report.equal("categories without metrics", "scores", 0, len(unmeasured))
    names = categories_of(metrics)
    groups = {name: labelled[labelled["category"] == name] for name in names}
    found = {}
    for category, rows in (groups | {"__all__": labelled}).items():
        truth = rows["label"].to_numpy(dtype=bool)
        report.equal("n_images", category, metrics[category]["n_images"], len(rows))
        report.equal("n_anomalous", category, metrics[category]["n_anomalous"], int(truth.sum()))
        ranking = ranking_metrics(truth, rows["score"].to_numpy())
        found[category] = {f"image_{name}": value for name, value in ranking.items()}
    check_metrics(report, metrics, found, ["image_auroc", "image_ap", "image_f1max"], protocols)


# Maps and ground truth.


def ground_truth(folder, category, uri, shape):
    """The mask of a picture CATEGORY/test/KIND/NAME at the size of its map."""
    path = Path(unquote(uri) if uri.startswith("file://") else uri)
    kind = path.parent.name
    if kind == "good":
        return np.zeros(shape, dtype=bool)
    mask = find_mask(Path(folder) / category, kind, path.stem)
    if mask is None:
        raise SystemExit(f"{path}: no mask in {folder}: is --input the input of this run?")
    return load_mask(mask, shape)


def check_maps(run, folder, scores, metrics, protocols, report):
    mapped = scores[scores["map_path"].notna()]
    if mapped.empty:
        report.skipped("maps", "scores.map_path", "no map was kept: score with --maps f32")
        return
    wrong_max = wrong_mean = wrong_label = 0
    pixels, half = {}, False
    for category, rows in mapped.groupby("category"):
        maps, masks = [], []  # of the labelled pictures
        for row in rows.itertuples():
            values = np.load(run / row.map_path)
            half |= values.dtype == np.float16
            # The columns are of the map before it was rounded to 16 bits.
            step, mean_step = (1e-3, 1e-3) if values.dtype == np.float16 else (0.0, 1e-6)
            exact = values.astype(np.float64)
            wrong_max += abs(exact.max() - row.map_max) > step * exact.max()
            wrong_mean += abs(exact.mean() - row.map_mean) > mean_step * exact.mean()
            if not pd.isna(row.label):
                maps.append(values)
                masks.append(ground_truth(folder, category, row.uri, values.shape))
                wrong_label += bool(masks[-1].any() and not row.label)
        pixels[category] = split_pixels(maps, masks)
    report.equal("maps with wrong maximum", f"{len(mapped)} maps", 0, int(wrong_max))
    report.equal("maps with wrong mean", f"{len(mapped)} maps", 0, int(wrong_mean))
    report.equal("normal labels with a mask", f"{len(mapped)} maps", 0, wrong_label)
    if half:
        report.skipped("pixel metrics", "maps", "16-bit maps: score with --maps f32")
        return
    counted = count_with_duckdb(str(run / "partials"), "sum(n_normal + n_anomalous)")
    check_pixel_metrics(pixels, counted, metrics, protocols, report)


def check_pixel_metrics(pixels, counted, metrics, protocols, report):
    pixels = {name: pixels.get(name, NO_PIXELS) for name in categories_of(metrics)}
    for category, of_category in pixels.items():
        n = int(counted.get(category, 0))
        report.equal("pixels in partials", category, n, of_category.count())

    normal = np.concatenate([part.normal for part in pixels.values()])
    regions = [region for part in pixels.values() for region in part.regions]
    found = {}
    for category, part in (pixels | {"__all__": Pixels(normal, regions)}).items():
        if category == "__all__" and len(pixels) == 1:
            found[category] = next(iter(found.values()))
            continue
        published = protocols[category] == "published"
        aupro = published_aupro(part) if published else exact_aupro(part)
        found[category] = {f"pixel_{k}": v for k, v in part.ranking().items()} | {"aupro": aupro}
    names = ["pixel_auroc", "pixel_ap", "pixel_f1max", "aupro"]
    check_metrics(report, metrics, found, names, protocols)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="the --output of a finished run")
    parser.add_argument("--input", type=Path, help="its --input, in mvtec layout")
    parser.add_argument("--maps", action="store_true", help="check maps and pixel metrics too")
    args = parser.parse_args()
    if args.maps and args.input is None:
        parser.error("--maps needs --input for the ground truth")
    manifest = json.loads((args.run / "_filo/manifest.json").read_text())
    if manifest["totals"] is None:
        raise SystemExit(f"{args.run}: the run is not finished: run the same command again")

    report = Report()
    check_tables(args.run, manifest, report)
    check_ledger(args.run, manifest, report)
    # All but the partials, which have a row per distinct pixel score.
    opened = {name: open_with_pyarrow(str(args.run / name)) for name in TABLES[:-1]}
    tables = {name: table.to_table().to_pandas() for name, table in opened.items()}
    check_ids(tables, manifest, report)
    check_masks(tables["masks"], report)

    rows = tables["metrics"].replace({np.nan: None}).to_dict("records")
    metrics = {row["category"]: row for row in rows if row["kind"] is None}
    if not metrics:
        report.skipped("metrics", "metrics", "not written yet: run `filo metrics`")
    else:
        protocols = {category: row["protocol"] for category, row in metrics.items()}
        check_image_metrics(tables["scores"], metrics, protocols, report)
        if args.maps:
            check_maps(args.run, args.input, tables["scores"], metrics, protocols, report)
    report.print()
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
