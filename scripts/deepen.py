#!/usr/bin/env python3
"""Makes a trained network deeper without changing what it computes.

usage: deepen.py WEIGHTS OUT BLOCKS

WEIGHTS is a folder that `filo train` wrote. BLOCKS ordinary blocks go into its image tower in front
of the first one with a value-value stream. Their last layers are zero, so each adds nothing to its
input until it is trained; `filo train --init OUT` does that.
"""

import json
import sys
from pathlib import Path

import numpy
from safetensors.numpy import load_file, save_file

PREFIX = "clip_model.visual.transformer.resblocks."
SEED = 7
# What starts at random, within ±1/√inputs.
INNER = ("attn.in_proj_weight", "mlp.c_fc.weight")


def fresh(name, like, random):
    """The parameter `name` of a block that does nothing."""
    if name in INNER:
        bound = like.shape[1] ** -0.5
        return random.uniform(-bound, bound, like.shape).astype(like.dtype)
    if name.startswith("ln_") and name.endswith(".weight"):
        return numpy.ones_like(like)
    return numpy.zeros_like(like)


def deepened(tensors, first, count):
    """`tensors` with `count` new blocks in front of block `first`."""
    random = numpy.random.default_rng(SEED)
    blocks = {name: name[len(PREFIX) :].split(".", 1) for name in tensors if name.startswith(PREFIX)}
    out = {name: tensor for name, tensor in tensors.items() if name not in blocks}
    for name, (block, rest) in blocks.items():
        place = int(block) + (count if int(block) >= first else 0)
        out[f"{PREFIX}{place}.{rest}"] = tensors[name]
    patterns = {rest: tensors[name] for name, (block, rest) in blocks.items() if block == "0"}
    for place in range(first, first + count):
        for rest, like in patterns.items():
            out[f"{PREFIX}{place}.{rest}"] = fresh(rest, like, random)
    return out


def main():
    if len(sys.argv) != 4 or not sys.argv[3].isdigit():
        sys.exit(__doc__.split("\n\n")[1])
    source, out, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    config = json.loads((source / "config.json").read_text())
    tensors = load_file(source / "weights.safetensors")
    first = config["first_dual_block_index"]
    config["vision"]["layers"] += count
    config["first_dual_block_index"] += count
    config["features_list"] = [block + count for block in config["features_list"]]
    out.mkdir(parents=True, exist_ok=True)
    save_file(deepened(tensors, first, count), out / "weights.safetensors")
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
