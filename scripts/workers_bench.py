#!/usr/bin/env python3
"""What it costs that several workers share a run: the same pictures by one, two and four workers at
once, in turns, with a network that takes next to no time.

    workers_bench.py PROGRAM [--pictures N] [--repeat N]

Prints wall and processor time per picture and their ratio to one worker. What a worker needs before
its first picture, measured by one whose shards are all done, is taken off the processor time: it does
not grow with the pictures. Needs Pillow and numpy.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

WEIGHTS = Path(__file__).resolve().parent.parent / "tests/golden/clip_tiny/filo_tiny.safetensors"
WORKERS = [1, 2, 4]


def make_pictures(folder: Path, count: int) -> None:
    """Pictures of noise, 256 × 256, a quarter of a megabyte each."""
    rng = np.random.default_rng(7)
    folder.mkdir()
    for n in range(count):
        Image.fromarray(rng.integers(0, 256, (256, 256, 3), np.uint8)).save(folder / f"{n:06}.png")


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def score(program: str, pictures: Path, out: Path, workers: int) -> tuple[float, float]:
    """Wall and processor seconds of a run."""
    started, used = time.perf_counter(), processor_seconds()
    command = [program, "score", "--input", pictures, "--output", out, "--weights", WEIGHTS]
    processes = [
        subprocess.Popen([*command, "--partition", f"{n}/{workers}"], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        for n in range(workers)
    ]
    for process in processes:
        _, log = process.communicate()
        if process.returncode != 0:
            sys.exit(log.decode())
    return time.perf_counter() - started, processor_seconds() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="filo-workers-") as place:
        root = Path(place)
        make_pictures(root / "in", arguments.pictures)
        runs: dict[int, list[tuple[float, float]]] = {workers: [] for workers in WORKERS}
        starts = []
        for repeat in range(arguments.repeat):
            for workers in WORKERS:
                out = root / f"out-{workers}-{repeat}"
                runs[workers].append(score(arguments.program, root / "in", out, workers))
            starts.append(score(arguments.program, root / "in", out, 1)[1])
        start = min(starts)
        print(f"start of a worker: {start:.2f} s of a processor")
        print("workers  wall ms/picture  processor ms/picture  ratio of processor time to one worker")
        base = None
        for workers, times in runs.items():
            wall = min(wall for wall, _ in times) * 1e3 / arguments.pictures
            used = (min(used for _, used in times) - workers * start) * 1e3 / arguments.pictures
            base = base or used
            print(f"{workers:7}  {wall:15.3f}  {used:20.3f}  {used / base:.3f}")


if __name__ == "__main__":
    main()
