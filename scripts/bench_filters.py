"""Filters that need no network: what a detector has to beat.

A picture file goes in, an anomaly map of `SIDE` × `SIDE` comes out. The parameters are usual ones,
chosen before anything was measured; none is tuned.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

SIDE = 256
BLUR_SIGMA = 4.0
GRADIENT_SIGMA = 1.0
WINDOW = 15
SMOOTHING_SIGMA = 2.0
TOP_SHARE = 0.01


def load_grey(file: Path) -> np.ndarray:
    """Grey values in 0..1, `[SIDE, SIDE]`."""
    with Image.open(file) as picture:
        if picture.mode.startswith(("I", "F")):
            raise SystemExit(f"{file}: more than 8 bits ({picture.mode}): the filters need 8")
        grey = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(grey, dtype=np.float64) / 255


def blur_difference(grey: np.ndarray) -> np.ndarray:
    return np.abs(grey - ndimage.gaussian_filter(grey, BLUR_SIGMA))


def gradient_magnitude(grey: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_gradient_magnitude(grey, GRADIENT_SIGMA)


def local_deviation(grey: np.ndarray) -> np.ndarray:
    """Standard deviation in a window, less its median over the picture."""
    mean = ndimage.uniform_filter(grey, WINDOW)
    variance = ndimage.uniform_filter(grey**2, WINDOW) - mean**2
    deviation = np.sqrt(np.maximum(variance, 0))
    return deviation - np.median(deviation)


def top_mean(values: np.ndarray) -> float:
    """Mean of the largest `TOP_SHARE` of a map."""
    n = max(1, round(TOP_SHARE * values.size))
    return float(np.partition(values, values.size - n, axis=None)[-n:].mean())


FILTERS = {
    "blur difference": blur_difference,
    "gradient magnitude": gradient_magnitude,
    "local deviation": local_deviation,
}

IMAGE_SCORES = {"max": np.max, "top 1 %": top_mean}


def filter_maps(file: Path) -> dict[str, np.ndarray]:
    """The smoothed map of every filter, as float32."""
    grey = load_grey(file)
    return {
        name: ndimage.gaussian_filter(of(grey), SMOOTHING_SIGMA).astype(np.float32)
        for name, of in FILTERS.items()
    }
