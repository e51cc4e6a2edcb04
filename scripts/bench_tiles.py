#!/usr/bin/env python3
"""What tiles find in large images that the whole does not show: both ways, on the same images.

    bench_tiles.py --filo PROGRAM --surfaces FOLDER [--crops FOLDER] [--images N] [--megapixels 1,4,16,64]

Three parts, each left out where its option is missing:

surfaces   FOLDER has large faultless images by category (`cargo bench --bench surfaces`). Half of each
           category get one to three defects of 8 to 24 pixels: spots and scratches.
crops      FOLDER is a labelled set in mvtec layout. Each image is put into a large canvas that is filled
           with its category's normal images; the mask goes with it.
megapixels seconds per megapixel and peak memory of images of so many megapixels, which are made here.

Prints image AUROC, pixel AUROC and AUPRO without and with tiles, by category and as a mean. Defects of a
few pixels vanish at the size of a map of the whole image, so both maps are compared at the size of the one
of the tiles.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
from PIL import Image, ImageFilter

from measure import (
    exact_aupro,
    find_mask,
    load_mask,
    open_with_pyarrow,
    ranking_metrics,
    split_pixels,
)

Image.MAX_IMAGE_PIXELS = None
MARGIN = 40
WAYS = {"whole": ["--tile", "off"], "tiles": ["--tile", "auto"]}


def stamp(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> None:
    """Draws a spot or a scratch of 8 to 24 pixels, of a tone that its surroundings do not have."""
    size, half = int(rng.integers(8, 25)), 20
    y, x = (int(rng.integers(MARGIN, side - MARGIN)) for side in mask.shape)
    dy, dx = np.mgrid[-half:half, -half:half]
    if rng.random() < 0.5:
        cover = np.hypot(dy, dx) < size / 2
    else:
        turn = rng.uniform(0, np.pi)
        along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        cover = (abs(along) < size / 2) & (abs(across) < rng.uniform(1, 2.5))
    soft = Image.fromarray((cover * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.8))
    soft = np.asarray(soft, np.float32)[..., None] / 255
    part = image[y - half : y + half, x - half : x + half].astype(np.float32)
    tone = part.mean() + rng.choice([-1, 1]) * rng.uniform(2, 4) * max(part.std(), 12)
    image[y - half : y + half, x - half : x + half] = (part * (1 - soft) + tone * soft).clip(0, 255)
    mask[y - half : y + half, x - half : x + half] |= cover


def save(root: Path, category: str, kind: str, number: int, image: np.ndarray, mask: np.ndarray) -> None:
    path = root / category / "test" / kind / f"{number:03}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, compress_level=1)
    if mask.any():
        path = root / category / "ground_truth" / kind / f"{number:03}_mask.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def make_surfaces(source: Path, root: Path, count: int) -> None:
    rng = np.random.default_rng(11)
    for category in sorted(folder for folder in source.iterdir() if folder.is_dir()):
        for number, file in enumerate(sorted(category.glob("*.png"))[:count]):
            image = np.array(Image.open(file).convert("RGB"))
            mask = np.zeros(image.shape[:2], bool)
            for _ in range(rng.integers(1, 4) if number % 2 else 0):
                stamp(image, mask, rng)
            save(root, category.name, "small" if number % 2 else "good", number, image, mask)


def make_crops(source: Path, root: Path, count: int) -> None:
    """Every image into a canvas of 2 048 × 2 048 of mirrored normal images of its category."""
    rng, side = np.random.default_rng(12), 2048
    for category in sorted(folder for folder in source.iterdir() if (folder / "test").is_dir()):
        good = sorted((category / "test/good").glob("*.png"))
        bad = sorted(file for file in (category / "test").glob("*/*.png") if file.parent.name != "good")
        rng.shuffle(bad)
        good_images = [np.asarray(Image.open(file).convert("RGB")) for file in good]

        def canvas() -> np.ndarray:
            out = np.zeros((side, side, 3), np.uint8)
            y = 0
            while y < side:
                x, high = 0, 0
                while x < side:
                    part = good_images[rng.integers(len(good_images))]
                    part = part[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])][: side - y, : side - x]
                    high = max(high, part.shape[0]) if high == 0 else min(high, part.shape[0])
                    out[y : y + part.shape[0], x : x + part.shape[1]] = part
                    x += part.shape[1]
                y += max(high, 1)
            return out

        for number in range(min(count, 2 * len(bad))):
            image, mask = canvas(), np.zeros((side, side), bool)
            kind = "good"
            if number % 2:
                file = bad[number // 2]
                kind, part = file.parent.name, np.asarray(Image.open(file).convert("RGB"))
                truth = category / "ground_truth" / kind / f"{file.stem}_mask.png"
                if not truth.exists():
                    continue
                high, wide = (min(length, side) for length in part.shape[:2])
                y, x = int(rng.integers(side - high + 1)), int(rng.integers(side - wide + 1))
                image[y : y + high, x : x + wide] = part[:high, :wide]
                mask[y : y + high, x : x + wide] = np.asarray(Image.open(truth).convert("L"))[:high, :wide] > 127
            save(root, category.name, kind, number, image, mask)


def run(program: str, *arguments) -> subprocess.CompletedProcess:
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return done


def compare(name: str, program: str, images: Path, work: Path, flags: list[str]) -> None:
    rows, seconds = {}, {}
    for way, tile in WAYS.items():
        out = work / f"{name}-{way}"
        command = ["score", "--input", images, "--output", out, "--layout", "mvtec", "--maps", "f32"]
        started = time.perf_counter()
        run(program, *command, "--progress", "never", *tile, *flags)
        seconds[way] = time.perf_counter() - started
        table = open_with_pyarrow(str(out / "scores")).to_table().to_pylist()
        rows[way] = {row["image_id"]: row | {"out": out} for row in table}
    n_tiles = sorted({row["n_tiles"] or 0 for row in rows["tiles"].values()})
    print(f"\n{name}: {len(rows['tiles'])} images, tiles {n_tiles}; seconds without and with tiles "
          f"{seconds['whole']:.0f} / {seconds['tiles']:.0f}")
    print(f"{'category':<24}{'image AUROC':>16}{'pixel AUROC':>16}{'AUPRO 30 %':>16}   without / with tiles")
    figures = []
    for category in sorted({row["category"] for row in rows["tiles"].values()}):
        names = [name for name, row in rows["tiles"].items() if row["category"] == category]
        figures.append([of_category(rows[way], rows["tiles"], names, images) for way in WAYS])
        print_figures(category, figures[-1])
    print_figures("mean", np.mean(figures, axis=0))


def of_category(rows: dict, sizes: dict, names: list[str], images: Path) -> list[float]:
    """Image AUROC, pixel AUROC and AUPRO, the last two on maps of the size that those of tiles have."""
    truth = np.array([rows[name]["label"] for name in names])
    scores = np.array([rows[name]["score"] for name in names])
    maps, masks = [], []
    for name in names:
        shape = np.load(sizes[name]["out"] / sizes[name]["map_path"], mmap_mode="r").shape
        values = Image.fromarray(np.load(rows[name]["out"] / rows[name]["map_path"]))
        maps.append(np.asarray(values.resize(shape[::-1], Image.Resampling.BILINEAR)))
        path = images / name
        mask = find_mask(path.parents[2], path.parent.name, path.stem)
        masks.append(load_mask(mask, shape) if mask else np.zeros(shape, bool))
    pixels = split_pixels(maps, masks)
    return [ranking_metrics(truth, scores)["auroc"], pixels.auroc(), exact_aupro(pixels)]


def print_figures(category: str, figures) -> None:
    cells = [f"{whole:.3f} / {tiles:.3f}" for whole, tiles in zip(*figures)]
    print(f"{category:<24}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def measure_sizes(program: str, megapixels: list[float], work: Path) -> None:
    rng = np.random.default_rng(13)
    print(f"\n{'megapixels':>10}{'side':>8}{'tiles':>8}{'s':>8}{'s/megapixel':>13}{'peak MB':>9}")
    for size in megapixels:
        side = round((size * 1e6) ** 0.5)
        folder = work / f"of-{size:g}"
        folder.mkdir()
        grain = rng.integers(90, 160, (side // 2 + 1, side // 2 + 1), dtype=np.uint8)
        image = Image.fromarray(grain).resize((side, side), Image.Resampling.BILINEAR)
        image.convert("RGB").save(folder / "0.jpg", quality=90)
        out = work / f"of-{size:g}-out"
        command = [program, "score", "--input", folder, "--output", out, "--reference", "none"]
        command += ["--tile", "auto", "--max-pixels", str(2 * side * side), "--progress", "never"]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        log = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            sys.exit(log.decode())
        row = ds.dataset(out / "scores").to_table(columns=["n_tiles"]).to_pylist()[0]
        print(f"{size:>10g}{side:>8}{row['n_tiles'] or 1:>8}{seconds:>8.1f}{seconds / size:>13.3f}"
              f"{usage.ru_maxrss / 1024:>9.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--filo", required=True)
    parser.add_argument("--surfaces", type=Path)
    parser.add_argument("--crops", type=Path)
    parser.add_argument("--images", type=int, default=24, help="of a category")
    parser.add_argument("--megapixels", default="")
    parser.add_argument("--flags", default="", help="of filo score, in one text")
    arguments = parser.parse_args()
    flags = arguments.flags.split()
    with tempfile.TemporaryDirectory(prefix="filo-tiles-") as name:
        work = Path(name)
        for part, make in [("surfaces", make_surfaces), ("crops", make_crops)]:
            source = getattr(arguments, part)
            if source:
                make(source, work / part, arguments.images)
                compare(part, arguments.filo, work / part, work, flags)
        if arguments.megapixels:
            sizes = [float(size) for size in arguments.megapixels.split(",")]
            measure_sizes(arguments.filo, sizes, work)


if __name__ == "__main__":
    main()
