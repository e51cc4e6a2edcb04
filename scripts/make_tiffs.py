"""Writes small TIFFs of all kinds that are read, and the digest of the pixels that Pillow shows of each.

Usage: make_tiffs.py FOLDER

FOLDER/NAME.tif and FOLDER/digests.json: NAME -> SHA-256 of convert("RGB"), row by row. What Pillow
does not write is put together here: BigTIFF, both byte orders, planes, palettes of few bits, 16-bit
colours, samples that no colour needs. Made `tests/golden/tiff` with Pillow 13.0.
"""

import hashlib
import io
import json
import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 19, 13
ROWS_PER_STRIP = 5
SHORT, LONG, LONG8 = 3, 4, 16
RNG = np.random.default_rng(11)


def noise(*shape, top=256, dtype=np.uint8):
    return RNG.integers(0, top, shape).astype(dtype)


def tiff(planes, bits, photometric, order="<", big=False, planar=False, tags=(), strip=ROWS_PER_STRIP):
    """`planes`: lists of the bytes of each row, several for a planar file."""
    strips = []
    for rows in planes:
        strips += [b"".join(rows[y : y + strip]) for y in range(0, HEIGHT, strip)]
    start = 16 if big else 8
    offsets = [start + sum(map(len, strips[:i])) for i in range(len(strips))]
    entries = {
        256: (SHORT, [WIDTH]),
        257: (SHORT, [HEIGHT]),
        258: (SHORT, bits),
        259: (SHORT, [1]),
        262: (SHORT, [photometric]),
        273: (LONG8 if big else LONG, offsets),
        277: (SHORT, [len(bits)]),
        278: (SHORT, [strip]),
        279: (LONG, list(map(len, strips))),
        284: (SHORT, [2 if planar else 1]),
        **dict(tags),
    }
    data = b"".join(strips) + b"\0" * (-sum(map(len, strips)) % 8)
    room = 8 if big else 4
    directory_at = start + len(data)
    overflow_at = directory_at + (8 + 20 * len(entries) + 8 if big else 2 + 12 * len(entries) + 4)
    directory, overflow = struct.pack(order + ("Q" if big else "H"), len(entries)), b""
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(order + str(len(values)) + {SHORT: "H", LONG: "I", LONG8: "Q"}[kind], *values)
        directory += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, len(values))
        if len(packed) <= room:
            directory += packed.ljust(room, b"\0")
        else:
            directory += struct.pack(order + ("Q" if big else "I"), overflow_at + len(overflow))
            overflow += packed
    directory += b"\0" * room
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(order + "HHHQ", 43, 8, 0, directory_at)
    else:
        head = mark + struct.pack(order + "HI", 42, directory_at)
    return head + data + directory + overflow


def rows_of(values, order="<"):
    values = values.astype(values.dtype.newbyteorder(order)) if values.dtype.itemsize > 1 else values
    return [row.tobytes() for row in values]


def packed(indices, bits):
    """Rows of samples of few bits, each row in whole bytes."""
    digits = np.unpackbits(indices[..., None], axis=-1)[..., -bits:].reshape(HEIGHT, -1)
    return [row.tobytes() for row in np.packbits(digits, axis=1)]


def turned_round(rows):
    """The bits of each byte in the other order."""
    return [np.packbits(np.unpackbits(np.frombuffer(row, np.uint8)), bitorder="little").tobytes() for row in rows]


def by_pillow(image, **options):
    out = io.BytesIO()
    image.save(out, "TIFF", **options)
    return out.getvalue()


def kinds(order):
    """The same pixels at every call: arguments of `tiff`, whose numbers are in this byte order."""
    rng = np.random.default_rng(3)
    rgb = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    deep = rng.integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
    made = {
        "rgb": (([rows_of(rgb)], [8] * 3, 2), {}),
        "planes": (([rows_of(rgb[..., i]) for i in range(3)], [8] * 3, 2), {"planar": True}),
        "rgb16": (([rows_of(deep, order)], [16] * 3, 2), {}),
    }
    for bits in [1, 2, 4, 8]:
        colours = (320, (SHORT, rng.integers(0, 65536, 3 * 2**bits).tolist()))
        indices = rng.integers(0, 2**bits, (HEIGHT, WIDTH)).astype(np.uint8)
        made[f"palette{bits}"] = (([packed(indices, bits)], [bits], 3), {"tags": [colours]})
    return made


def files():
    rgb, grey = noise(HEIGHT, WIDTH, 3), noise(HEIGHT, WIDTH)
    colour = Image.fromarray(rgb).resize((WIDTH * 3, HEIGHT * 3), Image.Resampling.BICUBIC)
    for method in ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"]:
        yield f"rgb_{method}", by_pillow(colour, compression=method)
        yield f"grey_{method}", by_pillow(colour.convert("L"), compression=method)
    bilevel = colour.convert("1")
    yield "bilevel", by_pillow(bilevel)
    yield "bilevel_group4", by_pillow(bilevel, compression="group4")
    yield "bilevel_white_is_zero", by_pillow(bilevel, tiffinfo={262: 0})
    yield "grey_white_is_zero", by_pillow(colour.convert("L"), tiffinfo={262: 0})
    yield "palette_pillow", by_pillow(colour.quantize(200), compression="tiff_lzw")
    yield "cmyk_pillow", by_pillow(colour.convert("CMYK"))
    yield "rgba", by_pillow(Image.fromarray(noise(HEIGHT, WIDTH, 4)))
    for order, name in [("<", "little"), (">", "big")]:
        for big in [False, True]:
            for kind, (arguments, options) in kinds(order).items():
                made = tiff(*arguments, order=order, big=big, **options)
                yield f"{kind}_{name}_{'bigtiff' if big else 'tiff'}", made
    inks = noise(HEIGHT, WIDTH, 4)
    yield "cmyk", tiff([rows_of(inks)], [8] * 4, 5)
    yield "grey4", tiff([packed(noise(HEIGHT, WIDTH, top=16), 4)], [4], 1)
    filled = noise(HEIGHT, WIDTH, 4)
    yield "rgb_and_filling", tiff([rows_of(filled)], [8] * 4, 2, tags=[(338, (SHORT, [0]))])
    premultiplied = filled // 2
    premultiplied[..., 3] = np.maximum(premultiplied.max(-1), 1)
    yield "rgb_premultiplied", tiff([rows_of(premultiplied)], [8] * 4, 2, tags=[(338, (SHORT, [1]))])
    yield "grey_and_alpha", tiff([rows_of(filled[..., :2])], [8] * 2, 1, tags=[(338, (SHORT, [2]))])
    for orientation in [3, 6]:
        turned = [(274, (SHORT, [orientation]))]
        yield f"orientation{orientation}", tiff([rows_of(grey)], [8], 1, tags=turned)
    for method in ["tiff_lzw", "tiff_adobe_deflate"]:
        for name, image in [("rgb", colour), ("grey", colour.convert("L")), ("palette", colour.quantize(99))]:
            yield f"{name}_differences_{method}", by_pillow(image, compression=method, tiffinfo={317: 2})
    for quality in [60, 95]:
        stored = colour.convert("YCbCr")
        yield f"ycbcr_jpeg_q{quality}", by_pillow(stored, compression="jpeg", quality=quality)
        out = io.BytesIO()
        Image.fromarray(rgb).save(out, "JPEG", quality=quality, subsampling="4:2:0")
        halved = [(259, (SHORT, [7])), (530, (SHORT, [2, 2]))]
        yield f"ycbcr_jpeg_420_q{quality}", tiff([[out.getvalue()]], [8] * 3, 6, tags=halved, strip=HEIGHT)
    lowest_first = (266, (SHORT, [2]))
    for method in ["packbits", "tiff_lzw", "tiff_adobe_deflate", "group4"]:
        yield f"bilevel_lowest_bit_first_{method}", by_pillow(bilevel, compression=method, tiffinfo={266: 2})
    for method in ["tiff_lzw", "jpeg"]:
        yield f"rgb_lowest_bit_first_{method}", by_pillow(colour, compression=method, tiffinfo={266: 2})
    bits = (grey > 99).astype(np.uint8)
    for photometric, name in [(0, "white"), (1, "black")]:
        made = tiff([turned_round(packed(bits, 1))], [1], photometric, tags=[lowest_first])
        yield f"bilevel_lowest_bit_first_{name}_is_zero", made
    made = tiff([turned_round(rows_of(grey))], [8], 1, order=">", tags=[lowest_first])
    yield "grey_lowest_bit_first", made
    yield "palette_lowest_bit_first", by_pillow(colour.quantize(99), compression="tiff_lzw", tiffinfo={266: 2})
    yield "grey_jpeg_white_is_zero", by_pillow(colour.convert("L"), compression="jpeg", tiffinfo={262: 0})


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, data in files():
        (folder / f"{name}.tif").write_bytes(data)
        if name.endswith("_big_bigtiff"):
            continue
        shown = Image.open(io.BytesIO(data)).convert("RGB")
        digests[name] = hashlib.sha256(shown.tobytes()).hexdigest()
    for kind in kinds("<"):
        # Pillow does not know BigTIFF in this byte order; the pixels are those of the other.
        digests[f"{kind}_big_bigtiff"] = digests[f"{kind}_little_bigtiff"]
    text = json.dumps(digests, indent=1, sort_keys=True)
    (folder / "digests.json").write_text(text + "\n")


main()
