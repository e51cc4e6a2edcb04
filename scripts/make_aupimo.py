"""Makes tests/golden/metrics/aupimo.json: AUPIMO as anomalib computes it. Usage:
make_aupimo.py ANOMALIB.whl, with torch and numpy installed.

The maps are not kept, since 100 000 normal pixels are the least for a false positive rate of 1e-5: they
follow from whole numbers, which the test makes again. A score is about 128 times the negative logarithm
to the base 2 of a random number, so that rates from 1e-5 to 1e-4 span some 400 whole numbers, and each
whole number is a threshold of the package. The package takes the thresholds closest to both ends of the
range; here seeds are chosen at which the rates reach both ends, so that this is the definition.
"""

import importlib
import json
import math
import pathlib
import sys
import tempfile
import types
import zipfile

import numpy as np
import torch

OUT = pathlib.Path(__file__).parent.parent / "tests/golden/metrics/aupimo.json"
BOUNDS = (1e-5, 1e-4)
# Name, height, width, normal images, defects of the other images as (top, left, height, width, shift),
# scores per doubling.
CASES = [
    ("one_image", 250, 400, 2, [[(10, 20, 30, 40, 1500)]], 128),
    ("three_images", 250, 400, 3, [[(0, 0, 9, 9, 1400)], [(100, 50, 60, 70, 1200)], [(200, 300, 3, 90, 1800)]], 128),
    ("two_regions", 200, 500, 4, [[(5, 5, 20, 20, 1600), (150, 400, 10, 11, 900)], [(60, 60, 1, 1, 2300)]], 128),
    ("all_found", 250, 400, 1, [[(40, 40, 16, 16, 6000)], [(0, 0, 250, 400, 6000)]], 128),
    ("none_found", 250, 400, 2, [[(40, 40, 16, 16, -3000)]], 128),
    ("one_found", 250, 400, 2, [[(40, 40, 16, 16, -3000)], [(1, 1, 7, 5, 7000)]], 128),
    ("ties", 250, 400, 5, [[(40, 40, 64, 64, 180)], [(0, 0, 33, 20, 220)]], 16),
    ("no_shift", 250, 400, 3, [[(0, 0, 250, 400, 0)]], 128),
    ("ten_normal", 250, 400, 10, [[(30, 30, 100, 100, 1300)], [(7, 90, 13, 17, 1700)]], 128),
    ("tall", 1000, 100, 2, [[(900, 0, 100, 100, 1100)], [(0, 0, 50, 1, 2000)]], 128),
    ("odd_areas", 250, 400, 2, [[(i, 10 * i, i + 1, 2 * i + 1, 1000 + 100 * i)] for i in range(7)], 128),
    ("many_small", 500, 200, 2, [[(9 * i, 5, 3, 3, 1000 + 60 * i)] for i in range(20)], 64),
]
MASK = (1 << 64) - 1


def random_numbers(seed, image, n):
    """splitmix64 of consecutive numbers."""
    start = (seed * 0x9E3779B97F4A7C15 + image * 0xD1B54A32D192ED03) & MASK
    z = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(start)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def scores(seed, image, n, per_doubling):
    """Whole numbers: `per_doubling` for each leading zero, less what the bits after the first one say."""
    z = random_numbers(seed, image, n) >> np.uint64(24)
    bits = np.floor(np.log2(np.maximum(z, 1).astype(np.float64))).astype(np.uint64)
    zeros = 39 - bits.astype(np.int64)
    fraction = ((z - (np.uint64(1) << bits)) * np.uint64(per_doubling)) >> bits
    return zeros * per_doubling + (per_doubling - 1) - fraction.astype(np.int64)


def maps_of(case, seed):
    _, height, width, normal, defects, per_doubling = case
    maps, masks = [], []
    for image in range(normal + len(defects)):
        values = scores(seed, image, height * width, per_doubling).reshape(height, width)
        mask = np.zeros((height, width), dtype=np.int64)
        for top, left, high, wide, shift in defects[image - normal] if image >= normal else []:
            values[top : top + high, left : left + wide] += shift
            mask[top : top + high, left : left + wide] = 1
        maps.append(values)
        masks.append(mask)
    return np.stack(maps), np.stack(masks)


def reaches_both_ends(maps, normal):
    pixels = np.sort(maps[:normal].ravel())[::-1]
    counts = [round(bound * pixels.size) for bound in BOUNDS]
    exact = all(abs(count - bound * pixels.size) < 1e-6 for count, bound in zip(counts, BOUNDS))
    return exact and all(pixels[count - 1] > pixels[count] for count in counts)


def package(wheel):
    """The functions alone, without what the rest of the package imports."""
    folder = pathlib.Path(tempfile.mkdtemp())
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("anomalib/metrics/pimo/")]
        archive.extractall(folder, names)
    module = types.ModuleType("pimo")
    module.__path__ = [str(folder / "anomalib/metrics/pimo")]
    sys.modules["pimo"] = module
    return importlib.import_module("pimo.functional")


def main():
    functional = package(sys.argv[1])
    cases = []
    for case in CASES:
        name, height, width, normal, defects, per_doubling = case
        seed = next(seed for seed in range(1, 1000) if reaches_both_ends(maps_of(case, seed)[0], normal))
        maps, masks = maps_of(case, seed)
        lowest, highest = int(maps[:normal].min()), int(maps[:normal].max())
        assert abs(maps).max() < 1 << 24, "whole numbers that an f32 has"
        *_, aupimos, points = functional.aupimo_scores(
            torch.tensor(maps, dtype=torch.float32), torch.tensor(masks), highest - lowest + 1, BOUNDS
        )
        of_images = [float(value) for value in aupimos[normal:]]
        assert not any(map(math.isnan, of_images))
        cases.append(
            {
                "name": name, "height": height, "width": width, "normal": normal, "seed": seed,
                "per_doubling": per_doubling, "defects": defects, "points": points,
                "of_images": of_images, "aupimo": float(np.mean(of_images)),
            }
        )
        print(name, seed, points, cases[-1]["aupimo"], flush=True)
    document = {"made_by": "scripts/make_aupimo.py with anomalib 2.7.0", "cases": cases}
    OUT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
