#!/usr/bin/env python3
"""Makes the pictures that recipes of the embedded network are compared on, so that the sets of
`bench nano` need not be looked at before a choice is made. Never trained on.

Takes work trees of two public repositories: --steel, SongGuorong/MCITF (SD-saliency-900: 300 strips
of steel of 200 × 200 px with inclusions, patches or scratches each), and --roads,
cuilimeng/CrackForest-dataset (118 roads with cracks). Both have masks and no picture without a
defect. So OUT gets two folders in mvtec layout: `whole`, the pictures as they are; and `parts`,
squares cut out of them, where there is room one with a defect and one without, which give the image
metrics a meaning. OUT/descriptions.json has what they can show. Wants the packages of
requirements-bench.txt. To compare weights:

    filo score --input OUT/parts --output RUN --descriptions OUT/descriptions.json --weights W
    filo metrics --run RUN
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat

STEEL = {"In": "inclusion", "Pa": "patches", "Sc": "scratches"}
STEEL_PART, ROAD_PART = 100, 160
STEP = 8
# Pixels of a defect that a part must show, and the share of the border that they do not count in.
LEAST_DEFECT, BORDER = 20, 8
DESCRIPTIONS = {
    "inclusion": ["inclusion", "dark spot", "dark line", "scratch"],
    "patches": ["patch", "stain", "dark patch", "blotch"],
    "scratches": ["scratch", "bright line", "groove"],
    "road": ["crack", "thin crack", "hole"],
}


def save(root: Path, kind: str, name: str, picture: Image.Image, mask: np.ndarray | None) -> None:
    target = root / "test" / kind / f"{name}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target)
    if mask is not None:
        target = root / "ground_truth" / kind / f"{name}_mask.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(target)


def parts(mask: np.ndarray, side: int) -> dict[str, tuple[int, int]]:
    """Left upper corners of a square without a defect and of one with a defect, if there are."""
    height, width = mask.shape
    rows, columns = range(0, height - side + 1, STEP), range(0, width - side + 1, STEP)
    corners = [(y, x) for y in rows for x in columns]
    np.random.default_rng(int(mask.sum())).shuffle(corners)
    border = side // BORDER
    found: dict[str, tuple[int, int]] = {}
    for y, x in corners:
        square = mask[y : y + side, x : x + side]
        inner = square[border:-border, border:-border].sum()
        if not square.any():
            found.setdefault("good", (y, x))
        elif inner > LEAST_DEFECT and 2 * inner > square.sum():
            found.setdefault("defect", (y, x))
        if len(found) == 2:
            break
    return found


def add(
    out: Path, category: str, name: str, picture: Image.Image, mask: np.ndarray, side: int
) -> None:
    save(out / "whole" / category, "defect", name, picture, mask)
    for kind, (y, x) in parts(mask, side).items():
        part = picture.crop((x, y, x + side, y + side))
        of_part = None if kind == "good" else mask[y : y + side, x : x + side]
        save(out / "parts" / category, kind, name, part, of_part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--steel", type=Path, required=True, help="work tree of SongGuorong/MCITF")
    parser.add_argument("--roads", type=Path, required=True, help="of CrackForest-dataset")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} is there already: name a new folder")
    steel = arguments.steel / "SD-saliency-900"
    pictures = sorted((steel / "Source Images").glob("*.bmp"))
    roads = sorted((arguments.roads / "groundTruth").glob("*.mat"))
    if not pictures or not roads:
        parser.error("no pictures found: check --steel and --roads")
    for path in pictures:
        truth = Image.open(steel / "Ground truth" / f"{path.stem}.png").convert("L")
        category = STEEL[path.stem.split("_")[0]]
        picture = Image.open(path).convert("L")
        add(arguments.out, category, path.stem, picture, np.asarray(truth) > 127, STEEL_PART)
    for path in roads:
        mask = loadmat(path)["groundTruth"][0, 0][0] > 1
        picture = Image.open(arguments.roads / "image" / f"{path.stem}.jpg").convert("RGB")
        add(arguments.out, "road", path.stem, picture, mask, ROAD_PART)
    text = json.dumps(DESCRIPTIONS, indent=2) + "\n"
    (arguments.out / "descriptions.json").write_text(text)
    print(f"{len(pictures)} strips of steel and {len(roads)} roads in {arguments.out}")


if __name__ == "__main__":
    main()
