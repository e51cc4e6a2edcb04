"""Detection metrics from other libraries, for scripts that judge a run.

Scores or anomaly maps and the truth go in, figures in 0..1 come out, or None where the truth has
one class only. Never here: files of the program beyond its tables' folder layout.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from PIL import Image
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

FPR_LIMIT = 0.3
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=int)


def open_with_pyarrow(folder: str) -> ds.Dataset:
    """A table of a run, by its folder, with the columns that are in folder names."""
    names = pa.schema([("run_date", pa.date32()), ("category", pa.string())])
    return ds.dataset(folder, format="parquet", partitioning=ds.partitioning(names, flavor="hive"))


def ranking_metrics(truth: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    """AUROC, AP and F1-max by scikit-learn; None unless there are items of both classes."""
    if truth.all() or not truth.any():
        return {"auroc": None, "ap": None, "f1max": None}
    precision, recall, _ = precision_recall_curve(truth, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    return {
        "auroc": float(roc_auc_score(truth, scores)),
        "ap": float(average_precision_score(truth, scores)),
        "f1max": float(np.max(f1)),
    }


@dataclass
class Pixels:
    """Maps of some pictures: values of the normal pixels, and one array of values per region."""

    normal: np.ndarray
    regions: list[np.ndarray]

    @cached_property
    def sorted_normal(self) -> np.ndarray:
        return np.sort(self.normal)

    @cached_property
    def defect(self) -> np.ndarray:
        return np.concatenate(self.regions) if self.regions else np.empty(0, np.float32)

    def count(self) -> int:
        return len(self.normal) + len(self.defect)

    def ranking(self) -> dict[str, float | None]:
        truth = np.repeat([False, True], [len(self.normal), len(self.defect)])
        return ranking_metrics(truth, np.concatenate([self.normal, self.defect]))

    def auroc(self) -> float | None:
        """The same as in `ranking`, by counting pairs: much faster, ties count one half."""
        if not len(self.normal) or not len(self.defect):
            return None
        defect = np.sort(self.defect)
        below = np.searchsorted(self.sorted_normal, defect, side="left").mean()
        not_above = np.searchsorted(self.sorted_normal, defect, side="right").mean()
        return float((below + not_above) / 2 / len(self.normal))


NO_PIXELS = Pixels(np.empty(0, np.float32), [])


def split_pixels(maps: list[np.ndarray], masks: list[np.ndarray]) -> Pixels:
    """Maps and boolean masks of the same sizes; regions are 8-connected."""
    normal, regions = [NO_PIXELS.normal], []
    for values, mask in zip(maps, masks):
        normal.append(values[~mask])
        labels, n = ndimage.label(mask, structure=EIGHT_NEIGHBOURS)
        regions += [values[labels == i + 1] for i in range(n)]
    return Pixels(np.concatenate(normal), regions)


def exact_aupro(pixels: Pixels, limit: float = FPR_LIMIT) -> float | None:
    """Mean over regions of the area under (false positives, recall), up to `limit`, over `limit`.

    Every distinct value is a threshold and points are joined by straight lines. So a region pixel
    of value v adds nothing up to a = #(normal > v) false positives, all of itself from
    b = #(normal >= v) on, and a straight ramp between. Its area up to the limit is closed-form.
    """
    if not pixels.regions or not len(pixels.normal):
        return None
    normal = pixels.sorted_normal
    k = limit * len(normal)
    area = 0.0
    for region in pixels.regions:
        a = (len(normal) - np.searchsorted(normal, region, side="right")).astype(float)
        b = (len(normal) - np.searchsorted(normal, region, side="left")).astype(float)
        cut = (k - a) ** 2 / np.where(b > a, 2 * (b - a), 1)
        area += np.where(k <= a, 0.0, np.where(k >= b, k - (a + b) / 2, cut)).mean()
    return float(area / len(pixels.regions) / k)


def find_mask(category: Path, kind: str, stem: str) -> Path | None:
    """The mask file of the picture `test/KIND/STEM.*` of a category in mvtec layout."""
    folder = category / "ground_truth" / kind
    return next((file for file in folder.glob("*") if file.stem in (f"{stem}_mask", stem)), None)


def load_mask(file: Path, shape: tuple[int, int]) -> np.ndarray:
    """A mask file as boolean `[height, width]`, resized as the program does it."""
    height, width = shape
    grey = Image.open(file).convert("L").point(lambda value: 255 if value > 0 else 0)
    # Horizontal pass first, as the reference has it; in one call newer Pillows choose the order.
    wide = grey.resize((width, grey.height), Image.Resampling.BILINEAR)
    return np.asarray(wide.resize((width, height), Image.Resampling.BILINEAR)) >= 128
