#!/usr/bin/env python3
"""Writes checkpoints of the published size and key layout with random numbers, to try conversion,
memory and speed where the published files are not at hand. They detect nothing.

    filo_random.pth        FiLo as published, 2.6 GB, below the key `filo`
    grounding_random.pth   Grounding DINO Swin-T "OGC", 0.7 GB, below `model`, names with `module.`

Needs torch, safetensors and transformers: make_full_size.py FOLDER
"""

import sys
from pathlib import Path

import torch
from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

import grounding_transformers
from filo_layout import Layout

FILO = {
    "vision": {"image_size": 518, "patch_size": 14, "width": 1024, "layers": 24, "head_width": 64},
    "text": {"context_length": 77, "vocab_size": 49408, "width": 768, "heads": 12, "layers": 12},
    "embed_dim": 768,
    "features_list": [6, 12, 18, 24],
    "first_dual_block_index": 6,
    "n_ctx": 12,
    "meta_net_hidden": 48,
    "adapter_hidden": 384,
}


def scale(shape):
    """Sums over inputs keep their size."""
    inputs = torch.Size(shape[1:]).numel() if len(shape) > 1 else 100
    return inputs**-0.5


def grounding_model() -> GroundingDinoForObjectDetection:
    swin = SwinConfig(
        embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7, image_size=384,
        out_indices=[2, 3, 4],
    )
    model = GroundingDinoForObjectDetection(GroundingDinoConfig(backbone_config=swin)).eval()
    grounding_transformers.randomise(model, 1)
    return model


def grounding():
    model = grounding_model()
    weights = grounding_transformers.public_weights(model)
    return {f"module.{name}": tensor for name, tensor in weights.items()}


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    own, twice = Layout(FILO, scale).checkpoint()
    torch.save({"filo": own | twice}, folder / "filo_random.pth")
    torch.save({"model": grounding()}, folder / "grounding_random.pth")


if __name__ == "__main__":
    main()
