#!/usr/bin/env python3
"""Measures whether filo stays as fast as it is: time per picture with many pictures and with many
categories, how busy the cores are, memory, and the time to the first picture.

In: options; pictures are drawn here, noise over a pattern, and linked under many names. Out: a table
in Markdown, or one JSON document. The embedded network scores them. Start it by
`scripts/bench scale`.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import child
from child import count_cores

SIDE, DISTINCT, SEED = 512, 50, 9
SIZES = [100, 1_000, 10_000]
CATEGORIES = [1, 10, 100]
OF_CATEGORIES = 2_000


@dataclass
class Row:
    """One run of the program, start and tables included."""

    pictures: int
    categories: int
    wall_s: float
    cpu_s: float
    peak_mib: float

    def ms_each(self) -> float:
        return 1e3 * self.wall_s / self.pictures

    def busy(self) -> float:
        """Share of the cores' time."""
        return self.cpu_s / self.wall_s / count_cores()


def draw(folder: Path) -> list[Path]:
    """PNGs that take about as long to decode as photographs."""
    random = np.random.default_rng(SEED)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    files = []
    for i in range(DISTINCT):
        pattern = 128 + 60 * np.sin((x + i * y / DISTINCT) / (8 + i))[..., None]
        noise = random.normal(0, 6, (SIDE, SIDE, 1)) + random.normal(0, 2, (SIDE, SIDE, 3))
        files.append(folder / f"{i}.png")
        Image.fromarray(np.clip(pattern + noise, 0, 255).astype(np.uint8)).save(files[-1])
    return files


def link(files: list[Path], folder: Path, pictures: int, categories: int) -> Path:
    """A folder per category, each with its share of the pictures."""
    for i in range(pictures):
        category = folder / f"product_{i % categories:03}"
        category.mkdir(parents=True, exist_ok=True)
        os.link(files[i % len(files)], category / f"{i:05}.png")
    return folder


def score(program: Path, pictures: Path, out: Path) -> tuple[float, float, float]:
    """Wall time and CPU time in seconds, and the peak of memory in MiB."""
    command = [program, "score", "--input", pictures, "--layout", "folder", "--output", out]
    ended = child.run([*map(str, command), "--progress", "never"], FILO_LOG="error")
    return ended.wall_s, ended.cpu_s, ended.peak_mib


def bench(arguments: argparse.Namespace, work: Path) -> None:
    files = draw(work)
    sizes = [(n, 1) for n in SIZES if n <= arguments.limit]
    many = min(OF_CATEGORIES, arguments.limit)
    cases = [(1, 1), *sizes, *((many, n) for n in CATEGORIES)]
    rows = []
    for number, (pictures, categories) in enumerate(cases):
        print(f"{pictures} pictures of {categories} categories", file=sys.stderr)
        folder = link(files, work / f"in-{number}", pictures, categories)
        runs = [
            Row(pictures, categories, *score(arguments.filo, folder, work / f"out-{number}-{turn}"))
            for turn in range(arguments.repeat)
        ]
        rows.append(min(runs, key=lambda row: row.wall_s))
    if arguments.json:
        document = [asdict(r) | {"ms_each": r.ms_each(), "busy": r.busy()} for r in rows]
        print(json.dumps({"cores": count_cores(), "side": SIDE, "rows": document}, indent=2))
        return
    print(
        f"PNG files of {SIDE} × {SIDE} to tables, embedded network, {count_cores()} cores, the "
        f"fastest of {arguments.repeat}:\n"
    )
    print("| pictures | categories | s | ms each | pictures/s | cores busy | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.pictures} | {row.categories} | {row.wall_s:.2f} | {row.ms_each():.2f} "
            f"| {row.pictures / row.wall_s:.1f} | {row.busy():.0%} | {row.peak_mib:.0f} |"
        )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench scale", description=__doc__.split("\n\n")[0].replace("\n", " ")
    )
    parser.add_argument("--filo", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument(
        "--limit", type=int, default=SIZES[-1], metavar="N",
        help="most pictures of a run [default: %(default)s]",
    )
    parser.add_argument(
        "--repeat", type=int, default=2, metavar="N", help="runs of each [default: %(default)s]"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    if arguments.repeat < 1 or arguments.limit < SIZES[0]:
        parser.error(f"--repeat must be at least 1, --limit at least {SIZES[0]}")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="filo-scale-") as work:
        bench(arguments, Path(work))


if __name__ == "__main__":
    main()
