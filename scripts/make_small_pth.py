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
    heads.pth            FiLo without the CLIP that it was trained on
    clip_openai.pt       that CLIP as a TorchScript archive under OpenAI's names, partly in f16
    clip_transformers.safetensors   the same CLIP as `transformers` saves it, from its own class
    os_system.pth        a pickle that would run a shell command if it were executed

Needs torch, safetensors and transformers: make_small_pth.py [FOLDER]
"""

import json
import os
import pickle
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from filo_layout import Layout

CONFIG = {
    "vision": {"image_size": 6, "patch_size": 2, "width": 8, "layers": 3, "head_width": 4},
    "text": {"context_length": 20, "vocab_size": 64, "width": 8, "heads": 2, "layers": 2},
    "embed_dim": 4,
    "features_list": [1, 2, 3],
    "first_dual_block_index": 1,
    "n_ctx": 3,
    "meta_net_hidden": 2,
    "adapter_hidden": 3,
}


def resized(positions, grid):
    patches = positions[1:].reshape(1, 3, 3, 8).permute(0, 3, 1, 2)
    patches = torch.nn.functional.interpolate(
        patches, size=(grid, grid), mode="bicubic", align_corners=False
    )
    return torch.cat([positions[:1], patches.permute(0, 2, 3, 1).reshape(grid * grid, 8)])


def openai_names(own):
    """The CLIP inside a FiLo checkpoint as OpenAI names it: no `qkv` anywhere."""
    clip = {name.removeprefix("clip_model."): tensor for name, tensor in own.items()}
    clip = {name: tensor for name, tensor in clip.items() if f"clip_model.{name}" in own}
    renamed = [(".attn.qkv.", ".attn.in_proj_"), (".attn.proj.", ".attn.out_proj.")]
    for old, new in renamed:
        clip = {name.replace(old, new): tensor for name, tensor in clip.items()}
    return clip


class Node(torch.nn.Module):
    """A module of which only the attributes matter."""

    def forward(self):
        return 0


def torchscript(clip):
    """A tree of modules in OpenAI's precisions: norms and embeddings in f32, the rest in f16."""
    in_f32 = ("ln_", "embedding", "logit_scale")
    root = Node()
    for name, tensor in clip.items():
        *path, leaf = name.split(".")
        node = root
        for part in path:
            if not hasattr(node, part):
                node.add_module(part, Node())
            node = getattr(node, part)
        full = any(part.startswith(in_f32) or part.endswith("embedding") for part in name.split("."))
        number = tensor.float() if full else tensor.half()
        node.register_parameter(leaf, torch.nn.Parameter(number.clone(), requires_grad=False))
    for name, value in {"input_resolution": 6, "context_length": 20, "vocab_size": 64}.items():
        root.register_buffer(name, torch.tensor(value))
    return torch.jit.script(root)


def transformers_clip(clip):
    """`transformers`' own CLIP, filled by hand from OpenAI's names."""
    vision, text = CONFIG["vision"], CONFIG["text"]
    model = CLIPModel(
        CLIPConfig(
            projection_dim=CONFIG["embed_dim"],
            vision_config={
                "hidden_size": vision["width"], "intermediate_size": 4 * vision["width"],
                "num_hidden_layers": vision["layers"], "num_attention_heads": 2,
                "image_size": vision["image_size"], "patch_size": vision["patch_size"],
            },
            text_config={
                "hidden_size": text["width"], "intermediate_size": 4 * text["width"],
                "num_hidden_layers": text["layers"], "num_attention_heads": text["heads"],
                "vocab_size": text["vocab_size"],
                "max_position_embeddings": text["context_length"],
            },
        )
    )

    def copy(module, name):
        module.weight.data.copy_(clip[f"{name}.weight"])
        if module.bias is not None:
            module.bias.data.copy_(clip[f"{name}.bias"])

    def copy_blocks(layers, prefix):
        for i, layer in enumerate(layers):
            name = f"{prefix}transformer.resblocks.{i}"
            attention = layer.self_attn
            for kind in ("weight", "bias"):
                thirds = clip[f"{name}.attn.in_proj_{kind}"].chunk(3)
                projections = (attention.q_proj, attention.k_proj, attention.v_proj)
                for projection, third in zip(projections, thirds):
                    getattr(projection, kind).data.copy_(third)
            copy(attention.out_proj, f"{name}.attn.out_proj")
            copy(layer.layer_norm1, f"{name}.ln_1")
            copy(layer.layer_norm2, f"{name}.ln_2")
            copy(layer.mlp.fc1, f"{name}.mlp.c_fc")
            copy(layer.mlp.fc2, f"{name}.mlp.c_proj")

    image, words = model.vision_model, model.text_model
    image.embeddings.class_embedding.data.copy_(clip["visual.class_embedding"])
    image.embeddings.patch_embedding.weight.data.copy_(clip["visual.conv1.weight"])
    image.embeddings.position_embedding.weight.data.copy_(clip["visual.positional_embedding"])
    copy(image.pre_layrnorm, "visual.ln_pre")
    copy(image.post_layernorm, "visual.ln_post")
    copy_blocks(image.encoder.layers, "visual.")
    model.visual_projection.weight.data.copy_(clip["visual.proj"].T)
    words.embeddings.token_embedding.weight.data.copy_(clip["token_embedding.weight"])
    words.embeddings.position_embedding.weight.data.copy_(clip["positional_embedding"])
    copy(words.final_layer_norm, "ln_final")
    copy_blocks(words.encoder.layers, "")
    model.text_projection.weight.data.copy_(clip["text_projection"].T)
    model.logit_scale.data.copy_(clip["logit_scale"])
    return model


class RunsACommand:
    def __reduce__(self):
        return os.system, ("echo executed > executed_by_a_pickle",)


def main():
    default = Path(__file__).resolve().parent.parent / "tests/golden/weights_small"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(20_240_501)
    own, twice = Layout(CONFIG, scale=lambda _shape: 0.1).checkpoint()
    own["clip_model.token_embedding.weight"] = own["clip_model.token_embedding.weight"].half()
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
    heads = {name: t for name, t in own.items() if not name.startswith("clip_model.")}
    torch.save({"filo": heads}, folder / "heads.pth")
    clip = openai_names(own)
    torch.jit.save(torchscript(clip), folder / "clip_openai.pt")
    with tempfile.TemporaryDirectory() as saved:
        transformers_clip(clip).save_pretrained(saved)
        shutil.copy(Path(saved) / "model.safetensors", folder / "clip_transformers.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    with zipfile.ZipFile(folder / "os_system.pth", "w") as archive:
        evil = pickle.dumps({"filo": {"adapter.fc.0.weight": RunsACommand()}}, protocol=2)
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), evil)


if __name__ == "__main__":
    main()
