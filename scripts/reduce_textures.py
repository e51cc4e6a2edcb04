#!/usr/bin/env python3
"""Saves the images of a list as PNG files of at most 1024 pixels.

Usage: reduce_textures.py LIST PACKAGES OUT. A line of LIST is the name of the file to write, the name
of a package, which is a folder in PACKAGES, the licence, and a path in the package, which may have
spaces. An image whose name ends in `_relief` is a normal map: it is lit from the upper left and saved
in grey. OUT also gets LICENSES.md. Needs numpy and Pillow.
"""

import sys
from pathlib import Path

import numpy
from PIL import Image

LARGEST = 1024
# Where the light of a normal map comes from: left, up, towards the viewer.
LIGHT = numpy.array([-0.5, 0.5, 0.7])
HEADER = """# Where the textures come from

They are read for training only; none is in the repository of filo, and none is passed on.

| file | package | licence | path in the package |
|---|---|---|---|
"""


def lit(normals: Image.Image) -> Image.Image:
    """A grey surface with the slopes of a normal map."""
    slopes = numpy.asarray(normals, dtype=numpy.float32) / 127.5 - 1.0
    length = numpy.linalg.norm(slopes, axis=2).clip(min=1e-6)
    light = (slopes @ (LIGHT / numpy.linalg.norm(LIGHT)) / length).clip(0.0, 1.0)
    return Image.fromarray((25 + 205 * light).astype(numpy.uint8)).convert("RGB")


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__.split("\n\n")[1])
    listed, packages, out = map(Path, sys.argv[1:])
    rows = [line.split(" ", 3) for line in listed.read_text().splitlines() if line[:1] != "#"]
    for name, package, _, path in rows:
        image = Image.open(packages / package / path).convert("RGB")
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
        (lit(image) if name.endswith("_relief") else image).save(out / f"{name}.png")
    table = [f"| {name}.png | {package} | {licence} | {path} |" for name, package, licence, path in rows]
    (out / "LICENSES.md").write_text(HEADER + "\n".join(table) + "\n")
    print(f"{len(rows)} images in {out}")


if __name__ == "__main__":
    main()
