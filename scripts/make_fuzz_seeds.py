"""Writes the first inputs of the fuzz targets: small files of every kind that is read.

Usage: make_fuzz_seeds.py FOLDER

FOLDER/images, /tar, /parquet, /visa_csv, /jobs, /weights. Made `fuzz/seeds` with Pillow 13.0 and
pyarrow 26.0; the links in there lead to further ones in `tests/golden`.
"""

import io
import json
import pathlib
import sys
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = pathlib.Path(sys.argv[1])
RNG = np.random.default_rng(5)


def write(name, data):
    path = OUT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def images():
    rgba = Image.fromarray(RNG.integers(0, 256, (11, 17, 4)).astype("u1"))
    rgb, grey = rgba.convert("RGB"), rgba.convert("L")
    wide = Image.fromarray(RNG.integers(0, 65536, (11, 17)).astype("u2"))
    palette = rgb.quantize(7)
    for name, image in [("rgb", rgb), ("rgba", rgba), ("grey", grey), ("wide", wide), ("palette", palette),
                        ("bits", grey.convert("1")), ("grey_alpha", rgba.convert("LA"))]:
        write(f"images/{name}.png", encoded(image, "PNG"))
    write("images/transparent.png", encoded(palette, "PNG", transparency=2))
    exif = Image.Exif()
    exif[0x0112] = 6
    write("images/turned.png", encoded(grey, "PNG", exif=exif))
    for name, image in [("rgb", rgb), ("rgba", rgba), ("grey", grey), ("palette", palette),
                        ("bits", grey.convert("1"))]:
        write(f"images/{name}.bmp", encoded(image, "BMP"))
    write("images/lossy.webp", encoded(rgb, "WEBP", quality=60, exif=exif))
    write("images/lossy_alpha.webp", encoded(rgba, "WEBP", quality=60))
    write("images/lossless.webp", encoded(rgba, "WEBP", lossless=True))
    frames = [Image.fromarray(RNG.integers(0, 256, (8, 8, 3)).astype("u1")) for _ in range(2)]
    write("images/moving.webp", encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]))


def tars():
    dot = encoded(Image.new("L", (2, 2), 9), "PNG")
    files = [("nut/1.cam.png", dot), ("nut/1.cls", b"crack\n"), ("nut/1.mask.png", dot),
             ("2.JPG", b"2"), ("2.JSON", b'{"label": 0.0, "kind": "a", "category": "b", "x": NaN}'),
             ("3.png", dot), ("3_mask.png", dot), ("._3.png", b"x"), ("3.png", b"again"), ("a.txt", b"note"),
             ("../out.png", dot), ("4.cls", "\ufeffgood".encode("utf-16"))]
    for name, kind in [("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)]:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=kind, bufsize=512) as tar:
            long = [(f"{'long' * 30}/5.png", dot), ("sü ß/6.png", dot), ("3.png", dot)]
            for path, data in files if name == "ustar" else long:
                info = tarfile.TarInfo(path)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            for path, target, link in [("7.png", "3.png", tarfile.LNKTYPE), ("nut/8.png", "../2.JPG", tarfile.SYMTYPE),
                                       ("folder", "", tarfile.DIRTYPE), ("pipe.png", "", tarfile.FIFOTYPE)]:
                info = tarfile.TarInfo(path)
                info.type, info.linkname = link, target
                tar.addfile(info)
        # Without the zeros that fill the last block.
        write(f"tar/{name}.tar", out.getvalue().rstrip(b"\0") + bytes(1024))
    write("tar/gzip.tar", b"\x1f\x8b\x08\0")


def parquet():
    file = lambda data, path: {"bytes": data, "path": path}
    labels = {
        "truths": pa.array([True, False, None]),
        "numbers": pa.array([0, 1, -1], pa.int8()),
        "floats": pa.array([0.0, 1.0, 0.7]),
        "words": pa.array(["good", "crack", None]),
        "bytes": pa.array([b"good", b"?", None]),
        "classes": pa.array(["ok", "ko", "ok"]).dictionary_encode(),
        "lists": pa.array([[0], [0, 1], []]),
    }
    codecs = ["none", "snappy", "gzip", "zstd", "lz4", "none", "snappy"]
    for (name, label), codec in zip(labels.items(), codecs):
        columns = {"image": [b"one", b"two", None], "mask": [None, b"m", None], "label": label,
                   "category": ["nut", None, "nut"], "kind": [1, 2, None]}
        out = io.BytesIO()
        pq.write_table(pa.table(columns), out, compression=codec, row_group_size=2,
                       data_page_version="2.0" if name in ("floats", "lists") else "1.0",
                       use_dictionary=name != "numbers", store_schema=False)
        write(f"parquet/{name}.parquet", out.getvalue())
    table = pa.table({"Photo": [file(b"one", "1.png"), file(b"two", "1.png"), None], "label": [0, 1, 2]})
    features = {"label": {"names": ["good", "crack"], "_type": "ClassLabel"}}
    header = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(header), out, compression="none")
    write("parquet/hugging_face.parquet", out.getvalue())


def tables():
    # The first byte says which of the two tables it is.
    write("visa_csv/annotations.csv", "0image,label,mask\n"
          "candle/Data/Images/Normal/0.JPG,normal,\n"
          'candle/Data/Images/Anomaly/0.JPG,"melt,bent wick",candle/Data/Masks/Anomaly/0.png\n')
    write("visa_csv/windows.csv", "0\ufeffImage; Label; Mask\r\nData\\Images\\Normal\\0.JPG; GOOD;\r\n"
          "../x.JPG;0;\r\nC:\\x.JPG;?;\r\n")
    write("visa_csv/split.csv", "1object,split,label,image,mask\n"
          "candle,train,normal,candle/Data/Images/Normal/0.JPG,\n"
          "candle,test,anomaly,candle/Data/Images/Anomaly/0.JPG,candle/Data/Masks/Anomaly/0.png\n")
    write("visa_csv/tabs.csv", "1object\tsplit\tlabel\timage\tmask\n"
          "a\ttest\t-1\ta/Data/Images/Normal/0.JPG\t\na\ttest\tgood\ta/./Data/Images/Normal/0.JPG\t\n")


def jobs():
    for path in sorted((ROOT / "pipelines").glob("*.toml")):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        write(f"jobs/{path.name}", "\n".join(lines) + "\n")
    write("jobs/all.toml", """input = "s3://a/${HOME}"
output = 'gs://u:p@b/c'
grounding_weights = "az://a/b"
layout = "webdataset"
category = "nut"
descriptions = "d.json"
run_date = "2026-11-24"
partition = "1/3"
shard_size = 9
device = "cuda:1"
precision = "f16"
size = 518
batch_size = 4
grounding = "off"
box_threshold = 0.3
reference = "train"
reference_fallback = "none"
flag_top = "5%"
mask_threshold = 0.25
maps = "f32"
retry_failed = true
dry_run = false
""")
    write("jobs/rules.toml", "input = 'a'\noutput = 'b'\nthreshold = 0.5\n"
          "false_alarm_rate = 0.1\nthresholds_from = 'c'\nthreshold_rule = 'fpr-5'\n")


def weights():
    # What a checkpoint says of its tensors; the target puts an archive around it.
    for name in ["strided.pth", "os_system.pth", "detector.pth"]:
        with zipfile.ZipFile(ROOT / "tests/golden/weights_small" / name) as archive:
            inner = next(n for n in archive.namelist() if n.endswith("data.pkl"))
            write(f"weights/{name}.pkl", archive.read(inner))


images()
tars()
parquet()
tables()
jobs()
weights()
