#!/usr/bin/env python3
"""Image AUROC of runs over labelled pictures, among pictures of like contrast.

usage: like_contrast.py RUN…

RUN is a folder that `filo score` wrote over pictures on disk. Where defective pictures have more
contrast than faultless ones, a score that rises with contrast ranks them well and has found
nothing. So only pairs of pictures count whose contrast is alike: by four figures, of two filters
of `bench_filters.py` and of the grey values, none further apart than `CALIPER` deviations. Prints
for each run and category the share of such pairs in which the defective picture has the higher
score, and the share of defective pictures that have a partner. Needs `requirements-bench.txt`.
"""

import functools
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy
import pyarrow.dataset
from bench_filters import filter_maps, load_grey, top_mean

CALIPER = 0.4


@functools.cache
def contrast(uri: str) -> tuple[float, ...]:
    """Logarithms of a picture's contrast by four measures."""
    file = Path(unquote(urlsplit(uri).path))
    maps = filter_maps(file)
    difference, gradient = maps["blur difference"], maps["gradient magnitude"]
    measures = (difference.max(), top_mean(difference), top_mean(gradient), load_grey(file).std())
    return tuple(float(numpy.log(measure + 1e-4)) for measure in measures)


def ranked(scores, labels, contrasts):
    """Share of like pairs in the right order, ties half; share of defective pictures in a pair."""
    standard = (contrasts - contrasts.mean(axis=0)) / (contrasts.std(axis=0) + 1e-12)
    apart = numpy.abs(standard[labels][:, None] - standard[~labels][None]).max(axis=2)
    like = apart < CALIPER
    bad, good = scores[labels][:, None], scores[~labels][None]
    right = (bad > good) + 0.5 * (bad == good)
    paired = like.any(axis=1)
    if not paired.any():
        return float("nan"), 0.0
    return ((right * like).sum(axis=1)[paired] / like.sum(axis=1)[paired]).mean(), paired.mean()


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__.split("\n\n")[1])
    for run in sys.argv[1:]:
        table = pyarrow.dataset.dataset(f"{run}/scores", partitioning="hive").to_table(
            columns=["uri", "score", "label", "category"]
        )
        rows = [row for row in table.to_pylist() if row["label"] is not None]
        shares = []
        for category in sorted({row["category"] for row in rows}):
            of = [row for row in rows if row["category"] == category]
            labels = numpy.array([row["label"] for row in of], dtype=bool)
            if labels.all() or not labels.any():
                continue
            scores = numpy.array([row["score"] for row in of])
            share, paired = ranked(scores, labels, numpy.array([contrast(row["uri"]) for row in of]))
            shares.append(share)
            print(f"{run} {category}: {share:.3f}, {paired:.0%} of the defective have a partner")
        if shares:
            print(f"{run} mean: {numpy.nanmean(shares):.3f}")


if __name__ == "__main__":
    main()
