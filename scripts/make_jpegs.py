"""Writes JPEGs of all kinds that libjpeg reads, and the digest of the pixels that Pillow shows of each.

Usage: make_jpegs.py FOLDER [--few]

FOLDER/NAME.jpg and FOLDER/digests.json: NAME -> SHA-256 of convert("RGB"), row by row. With --few
the small set of tests/golden/jpeg. Encoders: Pillow's libjpeg-turbo, simplejpeg for samplings that
Pillow does not write, mozjpeg for its own choice of progressive scans.
"""

import hashlib
import io
import json
import sys
from pathlib import Path

import mozjpeg_lossless_optimization
import numpy as np
import simplejpeg
from PIL import Image

SIZES = [(1, 1), (7, 5), (16, 16), (17, 33), (35, 21), (97, 61), (130, 3), (3, 130), (200, 150)]
PILLOW_SAMPLINGS = ["4:4:4", "4:2:2", "4:2:0"]


def scene(width, height, channels, rng):
    """Waves, edges and noise: values at both ends, so that clamping counts."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [
        128 + 110 * np.sin(x / (5 + c) + y / (9 - c) * (1 + c)) + rng.normal(0, 25, (height, width))
        for c in range(channels)
    ]
    values = np.stack(planes, -1)
    values[(x // 7 + y // 11) % 5 == 0] = rng.integers(0, 256, channels)
    return values.clip(0, 255).astype(np.uint8)


def by_pillow(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def as_ycck(data):
    """A CMYK file whose marker of Adobe says that its inks are stored as YCCK."""
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\2" + data[at + 1 :]


def files(sizes):
    rng = np.random.default_rng(7)
    for number, (width, height) in enumerate(sizes):
        size = f"{width}x{height}"
        rgb = scene(width, height, 3, rng)
        colour = Image.fromarray(rgb)
        grey = Image.fromarray(rgb[..., 0])
        cmyk = Image.fromarray(scene(width, height, 4, rng), "CMYK")
        quality = [30, 75, 95][number % 3]
        for sampling in PILLOW_SAMPLINGS:
            name = f"{sampling.replace(':', '')}_{size}"
            options = {"quality": quality, "subsampling": sampling}
            plain = by_pillow(colour, **options)
            yield name, plain
            yield f"{name}_optimised_q92", by_pillow(colour, **options | {"quality": 92}, optimize=True)
            yield f"{name}_restarts", by_pillow(colour, **options, restart_marker_blocks=3)
            yield f"{name}_progressive", by_pillow(colour, **options, progressive=True)
            yield (
                f"{name}_progressive_restarts",
                by_pillow(colour, **options, progressive=True, restart_marker_blocks=2),
            )
            yield f"{name}_mozjpeg", mozjpeg_lossless_optimization.optimize(plain)
        for sampling in ["440", "411"]:
            plain = simplejpeg.encode_jpeg(rgb, quality, "RGB", sampling)
            yield f"{sampling}_{size}", plain
            yield f"{sampling}_{size}_mozjpeg", mozjpeg_lossless_optimization.optimize(plain)
        yield f"grey_{size}", by_pillow(grey, quality=quality)
        yield f"grey_{size}_progressive", by_pillow(grey, quality=quality, progressive=True)
        yield f"rgb_{size}", by_pillow(colour, quality=quality, keep_rgb=True)
        inks = by_pillow(cmyk, quality=quality)
        yield f"cmyk_{size}", inks
        yield f"cmyk_{size}_progressive", by_pillow(cmyk, quality=quality, progressive=True)
        yield f"ycck_{size}", as_ycck(inks)
        for sampling in ["4:2:2", "4:2:0"]:
            name = f"{sampling.replace(':', '')}_{size}"
            options = {"quality": quality, "subsampling": sampling}
            halved = by_pillow(cmyk, **options)
            yield f"cmyk_{name}", halved
            yield f"ycck_{name}", as_ycck(halved)
            yield f"cmyk_{name}_progressive", by_pillow(cmyk, **options, progressive=True)


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, data in files([(19, 13)] if "--few" in sys.argv else SIZES):
        (folder / f"{name}.jpg").write_bytes(data)
        shown = Image.open(io.BytesIO(data)).convert("RGB")
        digests[name] = hashlib.sha256(shown.tobytes()).hexdigest()
    text = json.dumps(digests, indent=1, sort_keys=True)
    (folder / "digests.json").write_text(text + "\n")


main()
