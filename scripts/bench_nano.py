#!/usr/bin/env python3
"""Measures filo, with the embedded network unless told otherwise, on pictures of real products.

Two sets: a folder in mvtec layout (--data), and the 2624 solar cells of elpv-dataset, where cells
with a defect probability of 2/3 and 1 count as defective ("all"), or those with 1/3 and 2/3 are
left out ("certain"). The program scores them with the descriptions of --descriptions: image by image
(no references), with references that it takes from the set itself, labels unseen (archive), and with 16
normal images of the set as references. Its image and pixel metrics are computed again here and must
agree. Beside it stand three simple filters.
Prints tables in Markdown; start it by `scripts/bench nano`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench_filters import FILTERS, IMAGE_SCORES, filter_maps
from bench_sets import (
    ELPV_FOLDER,
    GOOD,
    ExamSet,
    copy,
    elpv_set,
    mvtec_sets,
    spread,
    write_large_pictures,
)
from measure import exact_aupro, load_mask, open_with_pyarrow, ranking_metrics, split_pixels

HERE = Path(__file__).resolve().parent
DEFAULT_DATA = HERE.parent.parent / "shared" / "data" / "magnetic-tile"
AGREEMENT = 1e-6
SPEED_PICTURES = 200
SPEED_SIDE = 512
NORMAL_REFERENCES = 16
PARTS_LEGEND = f"""
{ELPV_FOLDER}: a defect probability of 2/3 or 1 counts as defective, 0 or 1/3 as normal; "certain"
has the pictures with 0 or 1 only.

Each kind of defect against the normal pictures (of the same type of module: mono, poly):
"""
FIGURES = ["image_auroc", "image_ap", "pixel_auroc", "aupro"]


@dataclass
class Method:
    """What one method says of a set: scores `[picture]`, by how they are made, and maps."""

    name: str
    scores: dict[str, np.ndarray]
    maps: list[np.ndarray] | None
    # Which pictures it flags, where it decides.
    flagged: np.ndarray | None = None


@dataclass
class Row:
    """The figures of one method on one part of a set; None where the truth does not allow one."""

    set: str
    part: str
    method: str
    n_images: int
    n_anomalous: int
    image_auroc: float | None
    image_ap: float | None
    pixel_auroc: float | None
    aupro: float | None
    # Shares of the normal and of the defective pictures that are flagged.
    false_alarms: float | None
    recall: float | None


@dataclass
class Speed:
    """How fast the whole program was, start and tables included."""

    n_images: int
    side: int
    wall_s: float
    images_per_s: float
    cpu_s: float
    cores: int
    load_before: float


class Filo:
    """The program, with the weights and descriptions of this bench."""

    def __init__(self, program: Path, weights: str | None, descriptions: Path):
        self.program = program
        self.weights = [] if weights is None else ["--weights", weights]
        self.options = ["--strict", "--progress", "never", "--descriptions", str(descriptions)]
        self.options += self.weights
        self.version = self.run("--version").strip()

    def run(self, *arguments: str) -> str:
        """Its output; what it says on stderr is passed through."""
        command = [str(self.program), *arguments]
        try:
            ended = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        except OSError as error:
            raise SystemExit(f"{self.program} cannot be started ({error}): build it") from error
        if ended.returncode != 0:
            raise SystemExit(f"`{' '.join(command)}` ended with {ended.returncode}")
        return ended.stdout

    def generated(self) -> dict[str, float]:
        """Its own measurement on generated pictures: AUROC, also without words and with swapped ones, defect words."""
        return json.loads(self.run("bench", "--stage", "generated", *self.weights, "--json"))

    def score(self, pictures: Path, out: Path, *options: str) -> None:
        self.run("score", "--input", str(pictures), "--output", str(out), *self.options, *options)


def reference_options(exam: ExamSet, work: Path) -> dict[str, list[str]]:
    """How the program is asked for references, by the name of the method."""
    normals = work / f"normals-{exam.name}" / exam.name
    good = [picture for picture in exam.pictures if picture.kind == GOOD]
    for i, picture in enumerate(spread(good, NORMAL_REFERENCES)):
        copy(exam.folder / picture.id, normals / f"{i:02}{Path(picture.id).suffix}")
    return {
        "filo, no references": ["--reference", "none"],
        "filo, archive": ["--reference", "archive"],
        f"filo, {NORMAL_REFERENCES} normal references": ["--reference", str(normals.parent)],
    }


def filo_method(
    filo: Filo, exam: ExamSet, out: Path, name: str, options: list[str]
) -> tuple[Method, str]:
    """Scores a set with the program; also gives the name of the weights."""
    keep_maps = "f32" if exam.has_masks else "none"
    filo.score(exam.folder, out, "--layout", "mvtec", "--maps", keep_maps, *options)
    filo.run("metrics", "--run", str(out))
    columns = ["image_id", "label", "score", "map_path", "model_id", "is_anomalous"]
    thresholds = open_with_pyarrow(str(out / "thresholds")).to_table().to_pylist()
    threshold = thresholds[0]["threshold"]
    table = open_with_pyarrow(str(out / "scores")).to_table(columns=columns)
    rows = {row["image_id"]: row for row in table.to_pylist()}
    truth = {picture.id: picture.is_anomalous for picture in exam.pictures}
    if {name: row["label"] for name, row in rows.items()} != truth:
        raise SystemExit(f"{out}: scores has other pictures or labels than {exam.folder}")
    rows = [rows[picture.id] for picture in exam.pictures]
    scores = np.array([row["score"] for row in rows])
    maps = [np.load(out / row["map_path"]) for row in rows] if exam.has_masks else None
    own = [row["is_anomalous"] for row in rows]
    above = np.array([row["score"] > (threshold or np.inf) for row in rows])
    flagged = above if None in own else np.array(own)
    return Method(name, {"": scores}, maps, flagged), rows[0]["model_id"]


def check_metrics(out: Path, row: Row) -> None:
    """Stops unless the program's own metrics are those of `row`, the whole set."""
    table = open_with_pyarrow(str(out / "metrics")).to_table()
    own = [r for r in table.to_pylist() if r["category"] == row.set and r["kind"] is None]
    if len(own) != 1:
        raise SystemExit(f"{out}: metrics has {len(own)} rows of {row.set}, not one")
    for name in ["n_images", "n_anomalous", *FIGURES]:
        ours, theirs = getattr(row, name), own[0][name]
        if ours is None or theirs is None:
            agree = ours is None and theirs is None
        else:
            agree = abs(ours - theirs) <= AGREEMENT
        if not agree:
            raise SystemExit(f"{row.set}: {name}: the program says {theirs}, this bench {ours}")


def filter_methods(exam: ExamSet) -> list[Method]:
    maps = {name: [] for name in FILTERS}
    scores = {name: {how: [] for how in IMAGE_SCORES} for name in FILTERS}
    for picture in exam.pictures:
        for name, values in filter_maps(exam.folder / picture.id).items():
            for how, score in IMAGE_SCORES.items():
                scores[name][how].append(score(values))
            if exam.has_masks:
                maps[name].append(values)
    return [
        Method(name, {how: np.array(of) for how, of in scores[name].items()}, maps[name] or None)
        for name in FILTERS
    ]


def measure(exam: ExamSet, method: Method) -> list[Row]:
    """A row for every part and kind of the set and every image score of the method."""
    truth = exam.truth()
    masks = load_masks(exam, method.maps) if method.maps else None
    rows = []
    for part, picks in (exam.parts | exam.kinds).items():
        pixel_auroc = aupro = None
        if method.maps:
            pixels = split_pixels([method.maps[i] for i in picks], [masks[i] for i in picks])
            pixel_auroc, aupro = pixels.auroc(), exact_aupro(pixels)
        false_alarms = recall = None
        if method.flagged is not None:
            of_truth = [method.flagged[picks][truth[picks] == anomalous] for anomalous in (0, 1)]
            false_alarms, recall = (float(flags.mean()) for flags in of_truth)
        for how, scores in method.scores.items():
            ranking = ranking_metrics(truth[picks], scores[picks])
            rows.append(
                Row(
                    exam.name,
                    part,
                    f"{method.name}, {how}" if how else method.name,
                    len(picks),
                    int(truth[picks].sum()),
                    ranking["auroc"],
                    ranking["ap"],
                    pixel_auroc,
                    aupro,
                    false_alarms,
                    recall,
                )
            )
    return rows


def load_masks(exam: ExamSet, maps: list[np.ndarray]) -> list[np.ndarray]:
    """The true defects of each image at the size of its map."""
    pairs = zip(exam.pictures, maps)
    return [load_mask(p.mask, m.shape) if p.mask else np.zeros(m.shape, bool) for p, m in pairs]


def measure_speed(filo: Filo, n: int, work: Path) -> Speed:
    pictures = work / "large"
    write_large_pictures(pictures, n, SPEED_SIDE)
    load = os.getloadavg()[0]
    before, started = children_cpu_s(), time.perf_counter()
    filo.score(pictures, work / "run-speed", "--layout", "folder", "--category", ELPV_FOLDER)
    wall, cpu = time.perf_counter() - started, children_cpu_s() - before
    return Speed(n, SPEED_SIDE, wall, n / wall, cpu, os.cpu_count() or 1, load)


def children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Markdown with aligned columns."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths))
        print(f"| {' | '.join(cells)} |")


def print_rows(rows: list[Row]) -> None:
    header = ["set", "pictures", "defective", "method", "image AUROC", "image AP", "pixel AUROC"]
    cells = [
        [f"{row.set}, {row.part}", str(row.n_images), str(row.n_anomalous), row.method]
        + [
            "–" if (value := getattr(row, name)) is None else f"{value:.3f}"
            for name in [*FIGURES, "false_alarms", "recall"]
        ]
        for row in rows
    ]
    print_table([*header, "AUPRO", "normal flagged", "defective flagged"], cells)


def print_speed(speed: Speed) -> None:
    print(
        f"Speed: {speed.images_per_s:.1f} pictures/s, {speed.n_images} of {speed.side} × "
        f"{speed.side} in {speed.wall_s:.2f} s with start and tables; {speed.cores} cores, "
        f"{speed.cpu_s:.2f} s of CPU time, load before {speed.load_before:.1f}."
    )


def print_generated(of: dict[str, float]) -> None:
    named = {
        "as described": "",
        "without descriptions": "generic_",
        "normal and abnormal words swapped": "swapped_",
    }
    rows = [
        [name, f"{of[prefix + 'image_auroc']:.3f}", f"{of[prefix + 'pixel_auroc']:.3f}"]
        for name, prefix in named.items()
    ]
    print_table([f"generated, {of['pictures']} pictures", "image AUROC", "pixel AUROC"], rows)
    print(
        f"\nThe defect's word comes first in {of['word_top_1_patches']:.1%} of "
        f"{of['word_pictures']} pictures by its patches, {of['word_top_1_image']:.1%} by the whole "
        f"picture; guessing: {of['word_chance']:.1%}."
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench nano", description=__doc__.split("\n")[0])
    parser.add_argument("--filo", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--weights", help="weights for `filo score` [default: the program's]")
    parser.add_argument("--data", type=Path, help=f"set in mvtec layout [default: {DEFAULT_DATA}]")
    parser.add_argument(
        "--descriptions",
        type=Path,
        default=HERE / "bench_descriptions.json",
        help="category → list of anomaly descriptions [default: %(default)s]",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="N pictures per kind, for a try")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep runs in this new folder")
    arguments = parser.parse_args()
    if arguments.limit is not None and arguments.limit < 1:
        parser.error("--limit must be at least 1")
    if arguments.data is not None and not arguments.data.is_dir():
        parser.error(f"--data: {arguments.data} is no folder")
    if not arguments.descriptions.is_file():
        parser.error(f"--descriptions: {arguments.descriptions} is no file")
    if arguments.json is not None and not arguments.json.resolve().parent.is_dir():
        parser.error(f"--json: {arguments.json.resolve().parent} is no folder")
    if arguments.keep is not None and arguments.keep.exists():
        parser.error(f"--keep: {arguments.keep} is there already: name a new folder")
    return arguments


def bench(arguments: argparse.Namespace, work: Path) -> None:
    filo = Filo(arguments.filo, arguments.weights, arguments.descriptions)
    data = arguments.data or DEFAULT_DATA
    exams = []
    if data.is_dir():
        exams += mvtec_sets(data, arguments.limit, work)
    else:
        print(f"{data} is not there: its set is skipped (--data names another)", file=sys.stderr)
    exams.append(elpv_set(arguments.limit, work))

    rows = []
    for exam in exams:
        print(f"{exam.name}: {len(exam.pictures)} pictures", file=sys.stderr)
        for i, (name, options) in enumerate(reference_options(exam, work).items()):
            out = work / f"run-{exam.name}-{i}"
            method, model_id = filo_method(filo, exam, out, name, options)
            of_filo = measure(exam, method)
            check_metrics(out, of_filo[0])
            rows += of_filo
        for method in filter_methods(exam):
            rows += measure(exam, method)
    n = min(SPEED_PICTURES, arguments.limit or SPEED_PICTURES)
    speed = measure_speed(filo, n, work)

    print(f"{filo.version}, weights {model_id}\n")
    parts = [(exam.name, part) for exam in exams for part in exam.parts]
    print_rows([row for of in parts for row in rows if (row.set, row.part) == of])
    print(PARTS_LEGEND)
    kinds = [row for row in rows if (row.set, row.part) not in parts]
    print_rows([row for row in kinds if row.method.startswith("filo")])
    print()
    print_speed(speed)
    generated = filo.generated()
    print()
    print_generated(generated)
    if arguments.json:
        document = {
            "filo": filo.version,
            "model_id": model_id,
            "limit": arguments.limit,
            "rows": [asdict(row) for row in rows],
            "speed": asdict(speed),
            "generated": generated,
        }
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


def main() -> None:
    arguments = parse_arguments()
    if arguments.keep:
        arguments.keep.mkdir(parents=True)
        bench(arguments, arguments.keep)
        return
    with tempfile.TemporaryDirectory(prefix="filo-bench-") as work:
        bench(arguments, Path(work))


if __name__ == "__main__":
    main()
