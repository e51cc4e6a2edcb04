#!/usr/bin/env python3
"""Three nights of runs over an archive that grows, and what the dashboard must show of them.

    dashboards_nights.py PROGRAM FOLDER

Makes FOLDER/images and FOLDER/runs, and prints figures of DuckDB's as JSON. Two images of the second
night are broken; one is repaired on the third, on which one image of the first night is replaced and
the nuts look different. Counts of the views are held against what the program itself counts. Needs
duckdb, numpy and Pillow.
"""

import io
import json
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
from PIL import Image

NIGHTS = ["2026-11-23", "2026-11-24", "2026-11-25"]
CATEGORIES = {"bottle": (60, 110, 90), "nut": (150, 140, 120)}
PER_NIGHT = 50
SIZE = (96, 96)
VIEWS = Path(__file__).resolve().parent.parent / "pipelines/dashboards/views.sql"


def image(seed: int, colour: tuple[int, int, int], noise: float, defect: bool) -> bytes:
    """A PNG of a ring on a plain ground, with a bright scratch if it has a defect."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    radius = np.hypot(x - SIZE[0] / 2 + random.normal(0, 1), y - SIZE[1] / 2 + random.normal(0, 1))
    pixels = np.where(((radius > 14) & (radius < 36))[..., None], colour, 215.0)
    pixels = pixels + random.normal(0, noise, pixels.shape)
    if defect:
        row, column = random.integers(20, 60, 2)
        pixels[row : row + 5, column : column + 26] = (250, 40, 40)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def add_night(images: Path, night: int):
    """The files that are new when a night begins."""
    for number, (category, colour) in enumerate(CATEGORIES.items()):
        folder = images / category
        folder.mkdir(parents=True, exist_ok=True)
        shifted = category == "nut" and night == 2
        for at in range(PER_NIGHT):
            made = image(
                1000 * night + 100 * number + at, colour, 5 if shifted else 4, defect=at < 1 + night
            )
            (folder / f"{NIGHTS[night]}_{at:03}.png").write_bytes(made)
    if night == 1:
        (images / "bottle/broken.png").write_text("not an image")
        (images / "nut/empty.png").write_bytes(b"")
    if night == 2:
        (images / "bottle/broken.png").write_bytes(image(7, CATEGORIES["bottle"], 4, defect=False))
        (images / f"bottle/{NIGHTS[0]}_020.png").write_bytes(image(8, CATEGORIES["bottle"], 4, defect=True))
        whole = image(9, CATEGORIES["nut"], 4, defect=False)
        (images / "nut/cut.png").write_bytes(whole[: len(whole) // 2])


def main() -> int:
    program, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    images, runs = folder / "images", folder / "runs"
    runs.mkdir(parents=True)
    told = {}

    def filo(*words):
        ended = subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            raise SystemExit(f"filo {words} ended with {ended.returncode}\n{ended.stderr}")
        return ended.stdout

    for night, date in enumerate(NIGHTS):
        add_night(images, night)
        filo("score", "--input", images, "--output", runs / date, "--run-date", date, "--skip-scored", runs)
        told[date] = json.loads((runs / date / "_filo/manifest.json").read_text())["totals"]

    connection = duckdb.connect()
    connection.execute("SET VARIABLE runs = '" + str(runs).replace("'", "''") + "/*'")
    connection.execute(VIEWS.read_text())
    one = lambda query: connection.execute(query).fetchone()
    rows = lambda query: connection.execute(query).fetchall()
    nights = rows("SELECT run_date, category, images, scored, failed, flagged FROM nights ORDER BY ALL")
    for date, totals in told.items():
        of = [row[2:] for row in nights if str(row[0]) == date]
        shown = [sum(column) for column in zip(*of)]
        scored = sum(totals["rows"].get("scores", {}).values())
        if shown != [totals["entries"], scored, totals["entries"] - scored, totals["flagged"]]:
            raise SystemExit(f"night {date}: the view says {shown}, the run {totals}")
    exported = [
        json.loads(line)
        for line in filo("export", "--run", runs, "--json-lines", "-").splitlines()
    ]
    flags = {row["uri"]: row["is_anomalous"] for row in exported}
    if dict(rows("SELECT uri, is_anomalous FROM scores")) != flags or len(flags) != len(exported):
        raise SystemExit("the view scores has other images or flags than filo export")
    print(json.dumps({
        "runs": f"{runs}/*",
        "scored": one("SELECT count(*) FROM scores")[0],
        "flagged": one("SELECT count(*) FROM scores WHERE is_anomalous")[0],
        "failed": one("SELECT count(*) FROM failures")[0],
        "of_nuts": list(one("SELECT count(*), count(*) FILTER (is_anomalous) FROM scores WHERE category = 'nut'")),
        "nights": [[str(row[0]), *row[1:]] for row in nights],
        "worst": [Path(uri).name for uri, in rows("SELECT uri FROM scores ORDER BY score DESC LIMIT 5")],
    }))
    return 0


if __name__ == "__main__":
    sys.exit(main())
