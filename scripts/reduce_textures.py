#!/usr/bin/env python3
"""Saves pictures of game packages as PNG files of at most 512 pixels.

Usage: reduce_textures.py LIST PACKAGES OUT. A line of LIST is the name of a package, which is a folder
in PACKAGES, and a picture in it: `nexuiz textures/bark.tga`. Needs Pillow.
"""

import sys
from pathlib import Path

from PIL import Image

LARGEST = 512


def main() -> None:
    listed, packages, out = map(Path, sys.argv[1:])
    for line in listed.read_text().splitlines():
        if line.startswith("#"):
            continue
        package, name = line.split(" ", 1)
        source = Path(name)
        folder = "base" if source.parent.name == "textures" else source.parent.name
        picture = Image.open(packages / package / source).convert("RGB")
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
        picture.save(out / f"{package}_{folder}_{source.stem.lower()}.png")


if __name__ == "__main__":
    main()
