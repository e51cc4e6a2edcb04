#!/usr/bin/env python3
"""Measures time and peak memory of AUPRO and pixel AUROC, AP and F1-max: filo and other codes.

In: options; the anomaly maps with masks are made here, the same at every run. Out: one row for
each contender, as a Markdown table or JSON. Each runs in a process of its own, which starts with
both arrays in memory; the time is that of the evaluation only. Start it by `scripts/bench aupro`.
"""

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

# Other packages are imported where they are used: in a child its own ones only, so that they do
# not count in the memory of others, and none in this process: its peak would be that of each child.
import numpy as np

LIMIT = 0.3
THRESHOLDS = 200
# Without --full the costs of so many are measured; the others cost the same.
THRESHOLD_SAMPLE = 10
REGION_SAMPLE = 3
SEED = 518
MAKE_MAPS = "make-maps"
FILO = "filo"


@dataclass
class Aupro:
    """AUPRO by one contender; no value where a part of the work was measured and `seconds` scaled
    as the note says."""

    value: float | None
    seconds: float
    note: str | None = None


@dataclass
class Contender:
    """One way to compute the metrics; `modules` are imported before the clock starts."""

    modules: list[str]
    aupro: Callable[[np.ndarray, np.ndarray, bool], Aupro]
    pixels: Callable[[np.ndarray, np.ndarray], dict[str, float]]
    # The AUPRO by another, quicker way, where it was measured in part.
    unmeasured_aupro: Callable[[np.ndarray, np.ndarray], float] | None = None


@dataclass
class Row:
    """What was measured; the figures of AUPRO alone are those before the pixel metrics began."""

    contender: str
    seconds: float
    peak_mib: float
    aupro: float | None
    pixel_auroc: float
    pixel_ap: float
    pixel_f1max: float
    aupro_seconds: float | None = None
    aupro_peak_mib: float | None = None
    note: str | None = None


def scikit_pixels(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    truth, scores = masks.ravel(), maps.ravel()
    auroc = roc_auc_score(truth, scores)
    ap = average_precision_score(truth, scores)
    precision, recall, _ = precision_recall_curve(truth, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    return {"pixel_auroc": float(auroc), "pixel_ap": float(ap), "pixel_f1max": float(f1.max())}


def torchmetrics_pixels(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    import torch
    from torchmetrics.functional import classification as by

    scores, truth = torch.from_numpy(maps.ravel()), torch.from_numpy(masks.ravel())
    auroc = by.binary_auroc(scores, truth)
    ap = by.binary_average_precision(scores, truth)
    precision, recall, _ = by.binary_precision_recall_curve(scores, truth)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=torch.finfo().tiny)
    return {"pixel_auroc": float(auroc), "pixel_ap": float(ap), "pixel_f1max": float(f1.max())}


def find_regions(mask: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of the pixels of each 8-connected region."""
    from skimage.measure import label, regionprops

    regions = regionprops(label(mask, connectivity=2))
    return [(region.coords[:, 0], region.coords[:, 1]) for region in regions]


def equal_steps(maps: np.ndarray) -> np.ndarray:
    return np.linspace(maps.min(), maps.max(), THRESHOLDS, endpoint=False, dtype=maps.dtype)


def evenly_spread(n: int, sample: int) -> np.ndarray:
    """Indices of at most `sample` of n items."""
    return np.unique(np.linspace(0, n - 1, min(n, sample)).round().astype(int))


def rescaled_aupro(fprs: np.ndarray, recalls: np.ndarray) -> float:
    """Area below the limit, over the span of the FPRs that were met there."""
    from sklearn.metrics import auc

    kept = fprs < LIMIT
    low, high = fprs[kept].min(), fprs[kept].max()
    return float(auc((fprs[kept] - low) / (high - low), recalls[kept]))


def published_aupro(maps: np.ndarray, masks: np.ndarray, full: bool) -> Aupro:
    """As the published evaluation does it: finds the regions anew for every threshold."""
    started = time.perf_counter()
    thresholds = equal_steps(maps)
    normal = masks == 0
    n_normal = normal.sum()
    before_loop = time.perf_counter() - started

    picked = np.arange(THRESHOLDS) if full else evenly_spread(THRESHOLDS, THRESHOLD_SAMPLE)
    started = time.perf_counter()
    recalls, fprs = [], []
    for threshold in thresholds[picked]:
        positive = maps > threshold
        of_regions = [
            found[region].mean()
            for found, mask in zip(positive, masks)
            for region in find_regions(mask)
        ]
        recalls.append(np.mean(of_regions))
        fprs.append((positive & normal).sum() / n_normal)
    loop = time.perf_counter() - started

    if len(picked) == THRESHOLDS:
        value = rescaled_aupro(np.array(fprs), np.array(recalls))
        return Aupro(value, before_loop + loop)
    note = f"{len(picked)} of {THRESHOLDS} thresholds measured on all pictures, AUPRO time scaled"
    return Aupro(None, before_loop + loop * THRESHOLDS / len(picked), note)


def published_aupro_at_once(maps: np.ndarray, masks: np.ndarray) -> float:
    """The value of `published_aupro`, with the regions found once."""
    regions = [maps[i][region] for i, mask in enumerate(masks) for region in find_regions(mask)]
    normal = maps[masks == 0]
    thresholds = equal_steps(maps)
    recalls = [np.mean([(region > at).mean() for region in regions]) for at in thresholds]
    return rescaled_aupro(np.array([(normal > at).mean() for at in thresholds]), np.array(recalls))


def exact_aupro(maps: np.ndarray, masks: np.ndarray, _full: bool) -> Aupro:
    """Every distinct value is a threshold: sorted normal pixels, searched for each region pixel."""
    import measure

    started = time.perf_counter()
    value = measure.exact_aupro(measure.split_pixels(list(maps), list(masks != 0)), LIMIT)
    return Aupro(value, time.perf_counter() - started)


def region_recalls(normal: np.ndarray, region: np.ndarray, fprs: np.ndarray) -> np.ndarray:
    """Recall of one region at each of the FPRs."""
    import torch
    from torchmetrics.functional.classification import binary_roc

    scores = torch.cat([torch.from_numpy(normal), torch.from_numpy(region)])
    truth = torch.zeros(len(scores), dtype=torch.uint8)
    truth[len(normal) :] = 1
    fpr, recall, _ = binary_roc(scores, truth)
    needed = int(torch.searchsorted(fpr, LIMIT, right=True)) + 1
    return np.interp(fprs, fpr[:needed].numpy(), recall[:needed].numpy())


def torchmetrics_aupro(maps: np.ndarray, masks: np.ndarray, full: bool) -> Aupro:
    """The mean over regions of their ROC curves, by torchmetrics, at the FPRs of the whole set."""
    import torch
    from torchmetrics.functional.classification import binary_roc

    started = time.perf_counter()
    regions = [maps[i][region] for i, mask in enumerate(masks) for region in find_regions(mask)]
    normal = maps[masks == 0]
    fprs = binary_roc(torch.from_numpy(maps.ravel()), torch.from_numpy(masks.ravel()))[0]
    fprs = np.append(fprs[fprs < LIMIT].numpy(), LIMIT)
    before_loop = time.perf_counter() - started

    picked = np.arange(len(regions)) if full else evenly_spread(len(regions), REGION_SAMPLE)
    started = time.perf_counter()
    recalls = np.zeros(len(fprs))
    for i in picked:
        recalls += region_recalls(normal, regions[i], fprs)
    value = float(np.trapezoid(recalls / len(picked), fprs) / LIMIT)
    loop = time.perf_counter() - started

    if len(picked) == len(regions):
        return Aupro(value, before_loop + loop)
    note = f"{len(picked)} of {len(regions)} regions measured on all pictures, AUPRO time scaled"
    return Aupro(None, before_loop + loop * len(regions) / len(picked), note)


def mvtec_aupro(maps: np.ndarray, masks: np.ndarray, _full: bool) -> Aupro:
    """As the authors of MVTec AD do it: all pixels sorted, each with what it adds to the curves."""
    from scipy import ndimage

    started = time.perf_counter()
    false_positive = np.zeros(maps.shape, np.uint32)
    recall = np.zeros(maps.shape)
    n_regions = 0
    for i, mask in enumerate(masks):
        labels, n = ndimage.label(mask, structure=np.ones((3, 3), int))
        areas = np.bincount(labels.ravel())
        areas[0] = 1
        false_positive[i] = labels == 0
        recall[i] = np.where(labels == 0, 0, 1 / areas[labels])
        n_regions += n

    scores = maps.ravel()
    order = np.argsort(scores)[::-1]
    scores = scores[order]
    false_positive = false_positive.ravel()[order]
    recall = recall.ravel()[order]
    del order
    np.cumsum(false_positive, out=false_positive)
    np.cumsum(recall, out=recall)
    last_of_ties = np.append(scores[1:] != scores[:-1], True)
    fprs = np.append(0, false_positive[last_of_ties] / false_positive[-1])
    recalls = np.append(0, recall[last_of_ties] / n_regions)

    end = np.searchsorted(fprs, LIMIT, side="right")
    at_limit = np.interp(LIMIT, fprs[end - 1 : end + 1], recalls[end - 1 : end + 1])
    area = np.trapezoid(np.append(recalls[:end], at_limit), np.append(fprs[:end], LIMIT))
    return Aupro(float(area / LIMIT), time.perf_counter() - started)


CONTENDERS = {
    "published": Contender(
        ["skimage.measure", "sklearn.metrics"],
        published_aupro,
        scikit_pixels,
        published_aupro_at_once,
    ),
    "exact": Contender(["measure"], exact_aupro, scikit_pixels),
    "torchmetrics": Contender(
        ["skimage.measure", "torchmetrics.functional.classification"],
        torchmetrics_aupro,
        torchmetrics_pixels,
    ),
    "mvtec": Contender(["scipy.ndimage", "sklearn.metrics"], mvtec_aupro, scikit_pixels),
}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_contender(name: str, data: Path, full: bool) -> Row:
    """Runs one contender in this process."""
    contender = CONTENDERS[name]
    for module in contender.modules:
        importlib.import_module(module)
    maps, masks = np.load(data / "maps.npy"), np.load(data / "masks.npy")
    aupro = contender.aupro(maps, masks, full)
    aupro_peak = peak_mib()
    started = time.perf_counter()
    pixels = contender.pixels(maps, masks)
    seconds = aupro.seconds + time.perf_counter() - started
    peak = peak_mib()
    if aupro.value is None and contender.unmeasured_aupro:
        aupro.value = contender.unmeasured_aupro(maps, masks)
    return Row(
        name,
        seconds,
        peak,
        aupro.value,
        **pixels,
        aupro_seconds=aupro.seconds,
        aupro_peak_mib=aupro_peak,
        note=aupro.note,
    )


def measure_filo(program: Path, data: Path) -> Row:
    """What the program says of itself."""
    command = [str(program), "bench", "--stage", "metrics", "--maps", str(data), "--json"]
    said = json.loads(run(command))
    metrics = said["metrics"]
    names = ["aupro", "pixel_auroc", "pixel_ap", "pixel_f1max"]
    values = {name: metrics[name]["value"] for name in names}
    return Row(FILO, said["seconds"], said["peak_mib"], **values)


def make_maps(data: Path, n: int, side: int) -> None:
    """Writes maps in 0..1 and masks; the even pictures have defects that the maps half see."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(SEED)
    open_array = np.lib.format.open_memmap
    maps = open_array(data / "maps.npy", mode="w+", dtype=np.float32, shape=(n, side, side))
    masks = open_array(data / "masks.npy", mode="w+", dtype=np.uint8, shape=(n, side, side))
    rows, columns = np.mgrid[:side, :side] / side

    def distance(y: float, x: float, high: float, wide: float, turn: float) -> np.ndarray:
        """1 on the edge of the ellipse, less inside."""
        dy, dx = rows - y, columns - x
        along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        return np.hypot(along / wide, across / high)

    for i in range(n):
        noise = gaussian_filter(rng.standard_normal((side, side)), side / 40, mode="wrap")
        values = noise / noise.std() + 0.1 * rng.standard_normal((side, side))
        for _ in range(rng.integers(1, 4) if i % 2 == 0 else 0):
            y, x = rng.uniform(0.15, 0.85, 2)
            high, wide = rng.uniform(0.02, 0.1, 2)
            turn = rng.uniform(0, np.pi)
            masks[i] |= distance(y, x, high, wide, turn) <= 1
            # The bright blob is a little beside the defect, and not always bright.
            y, x = (y, x) + rng.normal(0, 0.015, 2)
            blob = np.exp(-(distance(y, x, high * 1.2, wide * 1.2, turn) ** 2))
            values += rng.uniform(2, 8) * blob
        maps[i] = 1 / (1 + np.exp(3 - values))


def run(command: list[str]) -> str:
    """Its output; what it says on stderr is passed through."""
    try:
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise SystemExit(f"{command[0]} cannot be started ({error})") from error
    if ended.returncode != 0:
        raise SystemExit(f"`{' '.join(command)}` ended with {ended.returncode}")
    return ended.stdout


def print_table(rows: list[Row]) -> None:
    filo = next((row for row in rows if row.contender == FILO), None)
    cells = [
        ["contender", "seconds", "ratio", "peak MiB", "ratio", "AUPRO", "pixel AUROC"]
        + ["AUPRO alone: seconds", "peak MiB"]
    ]
    for row in rows:
        mark = "*" if row.note else ""
        cells.append(
            [
                row.contender,
                f"{row.seconds:.2f}{mark}",
                f"{row.seconds / filo.seconds:.1f}{mark}" if filo else "–",
                f"{row.peak_mib:.0f}",
                f"{row.peak_mib / filo.peak_mib:.1f}" if filo else "–",
                "–" if row.aupro is None else f"{row.aupro:.7f}",
                f"{row.pixel_auroc:.7f}",
                "–" if row.aupro_seconds is None else f"{row.aupro_seconds:.2f}{mark}",
                "–" if row.aupro_peak_mib is None else f"{row.aupro_peak_mib:.0f}",
            ]
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    cells.insert(1, ["-" * width for width in widths])
    for line in cells:
        print(f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths))} |")
    for row in rows:
        if row.note:
            print(f"\n\\* {row.contender}: {row.note}")


def bench(arguments: argparse.Namespace, data: Path) -> None:
    this = [sys.executable, __file__, "--data", str(data)]
    size = ["--pictures", str(arguments.pictures), "--side", str(arguments.side)]
    run([*this, *size, "--child", MAKE_MAPS])
    load = os.getloadavg()[0]
    rows = []
    for name in arguments.contenders:
        print(f"{name}: {arguments.pictures} pictures", file=sys.stderr)
        if name == FILO:
            rows.append(measure_filo(arguments.filo, data))
        else:
            full = ["--full"] if arguments.full else []
            rows.append(Row(**json.loads(run([*this, *full, "--child", name]))))

    if arguments.json:
        document = {
            "pictures": arguments.pictures,
            "side": arguments.side,
            "fpr_limit": LIMIT,
            "cores": os.cpu_count(),
            "load_before": load,
            "contenders": [asdict(row) for row in rows],
        }
        print(json.dumps(document, indent=2))
        return
    print(
        f"{arguments.pictures} maps of {arguments.side} × {arguments.side}, AUPRO up to an FPR of "
        f"{LIMIT}; {os.cpu_count()} cores, load before {load:.1f}\n"
    )
    print_table(rows)


def parse_arguments() -> argparse.Namespace:
    everyone = [FILO, *CONTENDERS]
    parser = argparse.ArgumentParser(prog="scripts/bench aupro", description=__doc__.split("\n")[0])
    parser.add_argument("--filo", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=[MAKE_MAPS, *CONTENDERS], help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--pictures", type=int, default=500, help="[default: %(default)s]")
    parser.add_argument("--side", type=int, default=518, help="of a map [default: %(default)s]")
    parser.add_argument(
        "--contenders",
        type=lambda value: value.split(","),
        default=everyone,
        metavar="A,B",
        help=f"which, in which order [default: {','.join(everyone)}]",
    )
    parser.add_argument("--without-filo", action="store_true", help="measure the others only")
    parser.add_argument("--full", action="store_true", help="measure all, scale nothing: hours")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the maps in this new folder")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.contenders) - set(everyone)):
        parser.error(f"--contenders: there is no {', '.join(unknown)}")
    if arguments.pictures < 2:
        parser.error("--pictures must be at least 2")
    if arguments.side < 32:
        parser.error("--side must be at least 32")
    if arguments.keep is not None and arguments.keep.exists():
        parser.error(f"--keep: {arguments.keep} is there already: name a new folder")
    if arguments.without_filo and FILO in arguments.contenders:
        arguments.contenders = [name for name in arguments.contenders if name != FILO]
        if not arguments.child:
            print("filo is skipped (--without-filo): there are no ratios", file=sys.stderr)
    if not arguments.contenders:
        parser.error("--contenders: nobody is left")
    if FILO in arguments.contenders and not arguments.filo and not arguments.child:
        parser.error("--filo PROGRAM or --without-filo is needed")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.child == MAKE_MAPS:
        make_maps(arguments.data, arguments.pictures, arguments.side)
    elif arguments.child:
        row = measure_contender(arguments.child, arguments.data, arguments.full)
        print(json.dumps(asdict(row)))
    elif arguments.keep:
        arguments.keep.mkdir(parents=True)
        bench(arguments, arguments.keep)
    else:
        with tempfile.TemporaryDirectory(prefix="filo-bench-") as work:
            bench(arguments, Path(work))


if __name__ == "__main__":
    main()
