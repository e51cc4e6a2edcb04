#!/usr/bin/env python3
"""Writes tests/golden/weights_small: a FiLo checkpoint of some kilobytes with random numbers.

It has the key layout of the published files as they are after a first forward pass: everything
below the key `filo`, `in_proj` names in ordinary blocks and `qkv` names in blocks that ran dual,
the text tower twice and block 1's attention twice, both as views of one storage. Norms are views
at an offset, and the token table is in half precision.

    small.pth            as torch.save writes it
    small.safetensors    the same without what stands there twice
    config.json          belongs to both
    expected.safetensors image positions resized to a grid of 5 × 5 by PyTorch
    strided.pth          views whose numbers do not lie one behind the other
    detector.pth         one tensor under the outer names of the detector's public file
    os_system.pth        a pickle that would run a shell command if it were executed

Needs torch and safetensors: make_small_pth.py [FOLDER]
"""

import json
import os
import pickle
import sys
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

GRID, PATCH = 3, 2
WIDTH, LAYERS, FIRST_DUAL = 8, 3, 1
TEXT_WIDTH, TEXT_LAYERS, CONTEXT, VOCAB = 8, 2, 20, 64
EMBED, N_CTX, META_HIDDEN, ADAPTER_HIDDEN = 4, 3, 2, 3
FEATURES = [1, 2, 3]

CONFIG = {
    "vision": {
        "image_size": GRID * PATCH,
        "patch_size": PATCH,
        "width": WIDTH,
        "layers": LAYERS,
        "head_width": 4,
    },
    "text": {
        "context_length": CONTEXT,
        "vocab_size": VOCAB,
        "width": TEXT_WIDTH,
        "heads": 2,
        "layers": TEXT_LAYERS,
    },
    "embed_dim": EMBED,
    "features_list": FEATURES,
    "first_dual_block_index": FIRST_DUAL,
    "n_ctx": N_CTX,
    "meta_net_hidden": META_HIDDEN,
    "adapter_hidden": ADAPTER_HIDDEN,
}


def random(*shape):
    return torch.randn(*shape) * 0.1


def norm(name, width):
    both = random(2 * width)
    return {f"{name}.weight": both[:width], f"{name}.bias": both[width:]}


def linear(name, inputs, outputs):
    return {f"{name}.weight": random(outputs, inputs), f"{name}.bias": random(outputs)}


def attention(name, width, dual):
    packed = {"weight": random(3 * width, width), "bias": random(3 * width)}
    joint = "qkv." if dual else "in_proj_"
    out = "proj" if dual else "out_proj"
    return {f"{name}.{joint}{k}": v for k, v in packed.items()} | linear(
        f"{name}.{out}", width, width
    )


def block(name, width, dual):
    return (
        norm(f"{name}.ln_1", width)
        | attention(f"{name}.attn", width, dual)
        | norm(f"{name}.ln_2", width)
        | linear(f"{name}.mlp.c_fc", width, 4 * width)
        | linear(f"{name}.mlp.c_proj", 4 * width, width)
    )


def image_tower():
    tensors = {
        "class_embedding": random(WIDTH),
        "positional_embedding": random(1 + GRID * GRID, WIDTH),
        "proj": random(WIDTH, EMBED),
        "conv1.weight": random(WIDTH, 3, PATCH, PATCH),
    }
    tensors |= norm("ln_pre", WIDTH) | norm("ln_post", WIDTH)
    for i in range(LAYERS):
        tensors |= block(f"transformer.resblocks.{i}", WIDTH, dual=i >= FIRST_DUAL)
    return tensors


def text_tower():
    tensors = {
        "positional_embedding": random(CONTEXT, TEXT_WIDTH),
        "text_projection": random(TEXT_WIDTH, EMBED),
    }
    tensors |= norm("ln_final", TEXT_WIDTH)
    for i in range(TEXT_LAYERS):
        tensors |= block(f"transformer.resblocks.{i}", TEXT_WIDTH, dual=False)
    return tensors


def heads():
    kernels = {"11": (1, 1), "33": (3, 3), "55": (5, 5), "77": (7, 7), "15": (1, 5), "51": (5, 1)}
    tensors = {}
    for i in range(len(FEATURES)):
        tensors |= linear(f"decoder_linear.fc.{i}", WIDTH, EMBED)
    for name, (height, width) in kernels.items():
        for i in range(len(FEATURES) - 1):
            tensors[f"decoder_cov.fc_{name}.{i}.weight"] = random(EMBED, WIDTH, height, width)
            tensors[f"decoder_cov.fc_{name}.{i}.bias"] = random(EMBED)
    for learner in ["normal_prompt_learner", "abnormal_prompt_learner"]:
        tensors[f"{learner}.ctx"] = random(N_CTX, TEXT_WIDTH)
        tensors |= linear(f"{learner}.meta_net.linear1", EMBED, META_HIDDEN)
        tensors |= linear(f"{learner}.meta_net.linear2", META_HIDDEN, TEXT_WIDTH)
    tensors["adapter.fc.0.weight"] = random(ADAPTER_HIDDEN, EMBED)
    tensors["adapter.fc.2.weight"] = random(EMBED, ADAPTER_HIDDEN)
    return tensors


def prefixed(prefix, tensors):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def checkpoint():
    """The tensors that are read, and those that stand there twice."""
    image, text = image_tower(), text_tower()
    own = prefixed("clip_model.visual.", image) | prefixed("clip_model.", text) | heads()
    own["clip_model.token_embedding.weight"] = random(VOCAB, TEXT_WIDTH).half()
    own["clip_model.logit_scale"] = torch.tensor(4.6052)
    dual = f"transformer.resblocks.{FIRST_DUAL}.attn."
    rewritten = {name: tensor for name, tensor in image.items() if name.startswith(dual)}
    twice = {name.replace(dual, "clip_model.visual.attn."): t for name, t in rewritten.items()}
    twice |= prefixed("text_encoder.", text)
    return own, {name: tensor.detach() for name, tensor in twice.items()}


def resized(positions, grid):
    patches = positions[1:].reshape(1, GRID, GRID, WIDTH).permute(0, 3, 1, 2)
    patches = torch.nn.functional.interpolate(
        patches, size=(grid, grid), mode="bicubic", align_corners=False
    )
    return torch.cat([positions[:1], patches.permute(0, 2, 3, 1).reshape(grid * grid, WIDTH)])


class RunsACommand:
    def __reduce__(self):
        return os.system, ("echo executed > executed_by_a_pickle",)


def main():
    default = Path(__file__).resolve().parent.parent / "tests/golden/weights_small"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(20_240_501)
    own, twice = checkpoint()
    torch.save({"filo": own | twice}, folder / "small.pth")
    save_file({name: t.clone() for name, t in own.items()}, folder / "small.safetensors")
    # A view with steps of its own: the numbers of a transposed and cut matrix, not of its storage.
    strided = torch.arange(20.0).reshape(4, 5).t()[1:4]
    torch.save({"strided": strided, "half": strided.half()}, folder / "strided.pth")
    # The outer names of the detector's public file; one tensor is enough to see them read.
    detector = {"module.feat_map.weight": torch.arange(6.0).reshape(2, 3)}
    torch.save({"model": detector}, folder / "detector.pth")
    positions = resized(own["clip_model.visual.positional_embedding"], 5)
    save_file({"positions_5x5": positions.contiguous()}, folder / "expected.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    with zipfile.ZipFile(folder / "os_system.pth", "w") as archive:
        evil = pickle.dumps({"filo": {"adapter.fc.0.weight": RunsACommand()}}, protocol=2)
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), evil)


if __name__ == "__main__":
    main()
