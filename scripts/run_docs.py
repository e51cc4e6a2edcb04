#!/usr/bin/env python3
"""Runs what README and docs tell people to type: every block of sh, Python and SQL, page by page.

    s3_server.py PYTHON run_docs.py PROGRAM [PAGE…]

A page's blocks run in its order, in one folder that has images as a reader would have them (see
`fill`), with `filo` on the path and a local server for s3://archive and s3://scores. A block that needs
what is not here says so behind its language, with a word of MARKERS. Out comes a line per page, and exit
code 1 with the block that failed. Needs boto3, duckdb, numpy, Pillow, polars and pyarrow.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import boto3
import duckdb
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PATTERNS = ["README.md", "CONTRIBUTING.md", "docs/*.md", "pipelines/**/README.md", "assets/*/README.md"]
PAGES = [str(path.relative_to(ROOT)) for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))]
LANGUAGES = {"sh", "python", "sql", "crontab", "text", "toml", "json"}
# What a block needs that is not here: a build, a cluster, a GPU, the internet, minutes, Spark, another
# program. Lines for crontab are run by tests/written_examples.rs.
MARKERS = {"build", "cluster", "gpu", "network", "long", "spark", "tool"}
GOLDEN = ROOT / "tests/golden"
TIMEOUT_S = 300
SIZE = (64, 48)


@dataclass
class Block:
    """A fenced block: where it is, what it is written in, its marker, and its text."""

    page: str
    line: int
    language: str
    marker: str | None
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page; ends the script at one that this runner does not understand."""
    blocks, opened = [], None
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        fence = re.match(r"```(.*)$", line)
        if not fence:
            if opened:
                opened[2].append(line)
            continue
        if opened is None:
            opened = (number, fence[1].split(), [])
            continue
        start, info, lines = opened
        opened = None
        text = "\n".join(lines) + "\n"
        language, marker = (info + ["text", None])[0] if info else "text", (info[1:] or [None])[0]
        place = f"{page}:{start}"
        if language not in LANGUAGES or len(info) > 2 or marker not in MARKERS | {None}:
            raise SystemExit(f"{place}: `{' '.join(info)}` is no language with a marker of {sorted(MARKERS)}")
        if language == "text" and re.match(r"\$ |(filo|cargo) [a-z-]+ -|\./scripts/", text):
            raise SystemExit(f"{place}: commands belong in a block of sh")
        blocks.append(Block(page, start, language, marker, text))
    if opened:
        raise SystemExit(f"{page}:{opened[0]}: a block that does not end")
    return blocks


def image(seed: int, defect: bool = False) -> Image.Image:
    """A surface with some noise, and a dark spot if it has a defect."""
    random = np.random.default_rng(seed)
    pixels = random.normal(150, 6, (SIZE[1], SIZE[0], 3)) + np.linspace(0, 30, SIZE[0])[:, None]
    if defect:
        pixels[12:24, 20:34] = 20
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def save(picture: Image.Image, path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def fill(folder: Path):
    """Images, tables and checkpoints under the names that the pages use."""
    for at in range(12):
        save(image(at, defect=at == 3), folder / f"line4/{at:04}.png")
    for category in ["bottle", "nut"]:
        for at in range(10):
            save(image(100 + at, defect=at == 0), folder / f"images/{category}/{at}.png")
            save(image(200 + at), folder / f"normals/{category}/{at}.png")
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    mask[12:24, 20:34] = 255
    mask = Image.fromarray(mask)
    mvtec, visa = folder / "mvtec/bottle", folder / "visa/candle/Data"
    for at in range(10):
        save(image(300 + at), mvtec / f"train/good/{at}.png")
    rows = ["object,split,label,image,mask"]
    for at in range(8):
        bad = at < 3
        save(image(400 + at, bad), mvtec / f"test/{'crack' if bad else 'good'}/{at}.png")
        kind = "Anomaly" if bad else "Normal"
        save(image(500 + at, bad), visa / f"Images/{kind}/{at}.png")
        if bad:
            save(mask, mvtec / f"ground_truth/crack/{at}_mask.png")
            save(mask, visa / f"Masks/Anomaly/{at}.png")
        label, with_mask = ("anomaly", f"candle/Data/Masks/Anomaly/{at}.png") if bad else ("normal", "")
        rows.append(f"candle,test,{label},candle/Data/Images/{kind}/{at}.png,{with_mask}")
    (folder / "visa/split_csv").mkdir()
    (folder / "visa/split_csv/1cls.csv").write_text("\n".join(rows) + "\n")
    rows = [
        f"images/{category}/{at}.png,{category},{'crack' if at == 0 else 'good'},{at % 2 + 3}"
        for category in ["bottle", "nut"] for at in range(10)
    ]
    (folder / "parts.csv").write_text("\n".join(["image,category,label,line", *rows]) + "\n")
    shutil.copy(GOLDEN / "clip_tiny/filo_tiny.safetensors", folder / "filo_train_on_visa.pth")
    shutil.copy(GOLDEN / "gdino_tiny/gdino_tiny.safetensors", folder / "grounding_train_on_visa.pth")
    config = json.loads((GOLDEN / "clip_tiny/config.json").read_text())
    detector = json.loads((GOLDEN / "gdino_tiny/config.json").read_text())
    (folder / "config.json").write_text(json.dumps(detector | config))


def fill_buckets(client, folder: Path):
    """Empty buckets but for the images of line 4."""
    for bucket in ["archive", "scores"]:
        known = {entry["Name"] for entry in client.list_buckets()["Buckets"]}
        if bucket in known:
            for listed in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for entry in listed.get("Contents", []):
                    client.delete_object(Bucket=bucket, Key=entry["Key"])
        else:
            client.create_bucket(Bucket=bucket)
    for path in sorted((folder / "line4").iterdir()):
        client.upload_file(str(path), "archive", f"line-4/{path.name}")


def run(block: Block, folder: Path, environment: dict[str, str]) -> str | None:
    """Runs a block; what went wrong, if anything did."""
    if block.language == "sql":
        previous = Path.cwd()
        os.chdir(folder)
        try:
            for statement in filter(str.strip, block.text.split(";")):
                duckdb.sql(statement)
        except duckdb.Error as error:
            return str(error)
        finally:
            os.chdir(previous)
        return None
    command = ["bash", "-euo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
    try:
        ended = subprocess.run(
            [*command, block.text], cwd=folder, env=environment, capture_output=True, text=True,
            timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {TIMEOUT_S} s"
    if ended.returncode != 0:
        return f"ended with {ended.returncode}\n{ended.stdout}{ended.stderr}"
    return None


def main() -> int:
    program, *pages = sys.argv[1:]
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    for page in pages or PAGES:
        folder = Path(tempfile.mkdtemp())
        blocks = blocks_of(page)
        runs = [
            block for block in blocks
            if block.language in {"sh", "python", "sql"} and block.marker is None
        ]
        if runs:
            (folder / "bin").mkdir()
            (folder / "bin/filo").symlink_to(Path(program).resolve())
            work = folder / "work"
            fill(work)
            fill_buckets(client, work)
        environment = {key: value for key, value in os.environ.items() if key.startswith("AWS_")} | {
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(folder),
            "FILO_CACHE": str(folder / "cache"),
        }
        for block in runs:
            problem = run(block, work, environment)
            if problem:
                raise SystemExit(f"{block.place}: {problem}\n{block.text}")
        marked = [block for block in blocks if block.marker]
        print(f"{page}: {len(runs)} blocks run, {len(marked)} marked", flush=True)
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
