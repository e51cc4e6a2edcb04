#!/usr/bin/env python3
"""Averages networks that were trained on from the same weights.

usage: average_weights.py OUT WEIGHTS WEIGHTS…

WEIGHTS are folders that `filo train` wrote. Networks that learnt different things from one start
may be averaged parameter by parameter; networks with different starts may not. OUT is of the first
one's configuration; the positions of patches, which have another shape at another side, are the mean
of those networks' that have the first one's side. Needs `requirements.txt`.
"""

import shutil
import sys
from pathlib import Path

import numpy
from safetensors.numpy import load_file, save_file

POSITIONS = "clip_model.visual.positional_embedding"


def averaged(networks):
    """The mean of dictionaries of tensors with the same names, as of the first."""
    first = networks[0]
    for network in networks[1:]:
        if network.keys() != first.keys():
            differing = ", ".join(sorted(network.keys() ^ first.keys()))
            sys.exit(f"average_weights.py: not in all of the networks: {differing}")

    def mean(name, like):
        same = [network[name] for network in networks if network[name].shape == like.shape]
        if len(same) < len(networks) and name != POSITIONS:
            sys.exit(f"average_weights.py: {name} has not the same shape in all of the networks")
        return numpy.mean(same, axis=0, dtype=numpy.float64).astype(like.dtype)

    return {name: mean(name, like) for name, like in first.items()}


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__.split("\n\n")[1])
    out, *sources = map(Path, sys.argv[1:])
    networks = [load_file(source / "weights.safetensors") for source in sources]
    out.mkdir(parents=True, exist_ok=True)
    save_file(averaged(networks), out / "weights.safetensors")
    shutil.copy(sources[0] / "config.json", out / "config.json")


if __name__ == "__main__":
    main()
