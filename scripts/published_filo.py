"""FiLo's network in PyTorch, at any size: the opponent of `scripts/bench picture`.

In: a normalised picture, token ids of prompts, and weights by their names in a checkpoint. Out:
features, similarities, the anomaly map, the score. `Published` computes as the released code does,
`Saved` the same numbers with the exact savings that are easy. Never here: clocks, files, filo.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]

# Height and width of the six kernels of one head, by the names they have in a checkpoint.
KERNELS = {"11": (1, 1), "33": (3, 3), "55": (5, 5), "77": (7, 7), "15": (1, 5), "51": (5, 1)}
MERGED = 7
LINEAR_HEADS, MMCI_HEADS = 4, 3
TEMPERATURE = 100
BLUR_SIGMA = 4.0

POSITIONS = 9
# Index of the end token in the prompts of category bottle, as CLIP's tokenizer cuts them: the
# normal ones, the abnormal ones with a position of one word, and what each position has beyond.
NORMAL_ENDS = (15, 16, 16, 19, 17, 17, 17)
ABNORMAL_ENDS = (21, 21, 21, 21, 20, 22, 21, 21, 22, 21, 18, 18, 19, 19, 19)
POSITION_EXTRA = (1, 0, 1, 0, 0, 0, 1, 0, 1)


@dataclass(frozen=True)
class Size:
    """The published sizes, where not said otherwise."""

    side: int = 518
    patch: int = 14
    width: int = 1024
    heads: int = 16
    blocks: int = 24
    # Tokens are captured after these blocks, counted from 1; from the first of them on, blocks
    # have two streams.
    captures: tuple[int, ...] = (6, 12, 18, 24)
    text_width: int = 768
    text_heads: int = 12
    text_blocks: int = 12
    vocabulary: int = 49408
    text_length: int = 77
    n_ctx: int = 12
    embed: int = 768
    meta_hidden: int = 48
    adapter_hidden: int = 384

    @property
    def grid(self) -> int:
        return self.side // self.patch

    @property
    def first_dual(self) -> int:
        """Counted from 0."""
        return self.captures[0]


TINY = Size(
    side=126,
    width=64,
    heads=4,
    blocks=12,
    captures=(6, 8, 10, 12),
    text_width=32,
    text_heads=4,
    text_blocks=4,
    embed=32,
    meta_hidden=2,
    adapter_hidden=16,
)


@dataclass
class Prompts:
    """Token ids `[prompts, text length]`; abnormal row = positions · state + position."""

    normal: Tensor
    abnormal: Tensor


def bottle_prompts(size: Size, generator: torch.Generator) -> Prompts:
    """As many as category bottle has, of the same lengths; which words they are costs nothing."""
    start, end = size.vocabulary - 2, size.vocabulary - 1

    def rows(ends: list[int]) -> Tensor:
        ids = torch.randint(1, start, (len(ends), size.text_length), generator=generator)
        for row, at in zip(ids, ends):
            row[0], row[at], row[at + 1 :] = start, end, 0
        return ids

    abnormal = [state + extra for state in ABNORMAL_ENDS for extra in POSITION_EXTRA]
    return Prompts(rows(list(NORMAL_ENDS)), rows(abnormal))


def shapes(size: Size) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every weight but those of MMCI."""

    def linear(name: str, n_in: int, n_out: int, joint: str = ".") -> Iterator:
        yield f"{name}{joint}weight", (n_out, n_in)
        yield f"{name}{joint}bias", (n_out,)

    def norm(name: str, width: int) -> Iterator:
        yield f"{name}.weight", (width,)
        yield f"{name}.bias", (width,)

    def block(name: str, width: int, dual: bool) -> Iterator:
        yield from norm(f"{name}.ln_1", width)
        if dual:
            yield from linear(f"{name}.attn.qkv", width, 3 * width)
            yield from linear(f"{name}.attn.proj", width, width)
        else:
            yield from linear(f"{name}.attn.in_proj", width, 3 * width, joint="_")
            yield from linear(f"{name}.attn.out_proj", width, width)
        yield from norm(f"{name}.ln_2", width)
        yield from linear(f"{name}.mlp.c_fc", width, 4 * width)
        yield from linear(f"{name}.mlp.c_proj", 4 * width, width)

    for i in range(LINEAR_HEADS):
        yield from linear(f"decoder_linear.fc.{i}", size.width, size.embed)
    yield "adapter.fc.0.weight", (size.adapter_hidden, size.embed)
    yield "adapter.fc.2.weight", (size.embed, size.adapter_hidden)
    for kind in ("normal", "abnormal"):
        yield f"{kind}_prompt_learner.ctx", (size.n_ctx, size.text_width)
        meta = f"{kind}_prompt_learner.meta_net"
        yield from linear(f"{meta}.linear1", size.embed, size.meta_hidden)
        yield from linear(f"{meta}.linear2", size.meta_hidden, size.text_width)

    visual = "clip_model.visual"
    yield f"{visual}.conv1.weight", (size.width, 3, size.patch, size.patch)
    yield f"{visual}.class_embedding", (size.width,)
    yield f"{visual}.positional_embedding", (1 + size.grid**2, size.width)
    yield f"{visual}.proj", (size.width, size.embed)
    yield from norm(f"{visual}.ln_pre", size.width)
    yield from norm(f"{visual}.ln_post", size.width)
    for i in range(size.blocks):
        yield from block(f"{visual}.transformer.resblocks.{i}", size.width, i >= size.first_dual)

    yield "clip_model.token_embedding.weight", (size.vocabulary, size.text_width)
    yield "clip_model.positional_embedding", (size.text_length, size.text_width)
    yield "clip_model.text_projection", (size.text_width, size.embed)
    yield from norm("clip_model.ln_final", size.text_width)
    for i in range(size.text_blocks):
        yield from block(f"clip_model.transformer.resblocks.{i}", size.text_width, dual=False)


def random_weights(size: Size, seed: int, merged: bool) -> Weights:
    """The same numbers for the same seed; `merged` as `Saved` takes them."""
    generator = torch.Generator().manual_seed(seed)

    def draw(name: str, shape: tuple[int, ...]) -> Tensor:
        if name.endswith(("positional_embedding", "class_embedding", "token_embedding.weight")):
            spread = 0.1
        elif len(shape) == 1:
            spread = 0.02
        else:
            spread = 1 / sqrt(prod(shape[1:]))
        values = torch.empty(shape).normal_(0, spread, generator=generator)
        is_gain = name.endswith(".weight") and len(shape) == 1
        return values.add_(1) if is_gain else values

    weights: Weights = {}
    # These first, and merged one head at a time, so that what is merged and gone does not make
    # the peak of the process.
    for i in range(MMCI_HEADS):
        for kernel, sides in KERNELS.items():
            name = f"decoder_cov.fc_{kernel}.{i}"
            weights[f"{name}.weight"] = draw(f"{name}.weight", (size.embed, size.width, *sides))
            weights[f"{name}.bias"] = draw(f"{name}.bias", (size.embed,))
        if merged:
            merge_kernels(weights, i)
    for name, shape in shapes(size):
        weights[name] = draw(name, shape)
    return weights


def merge_kernels(weights: Weights, i: int) -> None:
    """Replaces the six convolutions of MMCI head i by one: kernels add up when centred."""
    parts = [
        (weights.pop(f"decoder_cov.fc_{kernel}.{i}.weight"), sides)
        for kernel, sides in KERNELS.items()
    ]
    biases = [weights.pop(f"decoder_cov.fc_{kernel}.{i}.bias") for kernel in KERNELS]
    total = torch.zeros(*parts[0][0].shape[:2], MERGED, MERGED)
    for part, (height, width) in parts:
        top, left = (MERGED - height) // 2, (MERGED - width) // 2
        total[:, :, top : top + height, left : left + width] += part
    weights[f"decoder_cov.merged.{i}.weight"] = total
    weights[f"decoder_cov.merged.{i}.bias"] = torch.stack(biases).sum(0)


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


class Published:
    """As the released code does it, one picture at a time."""

    merged = False

    def __init__(self, weights: Weights, size: Size) -> None:
        self.weights, self.size = weights, size
        # A 3 × 3 Gaussian.
        line = torch.tensor([-1.0, 0.0, 1.0]).pow(2).div(-2 * BLUR_SIGMA**2).exp()
        line /= line.sum()
        self.blur_kernel = torch.outer(line, line)[None, None]
        lowest = torch.full((size.text_length, size.text_length), float("-inf"))
        self.causal_mask = lowest.triu_(1)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        gain, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], gain, bias, eps=1e-5)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, shift: bool) -> Tensor:
        """Attention of a dual block, written out; `shift` takes the greatest score off all, which
        changes nothing but the time it takes."""
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        if shift:
            scores = scores - scores.max()
        return scores.softmax(-1) @ v

    def attend_ordinary(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        """CLIP leaves its own blocks to torch's module, which fuses attention."""
        mask = self.causal_mask[: q.shape[-2], : q.shape[-2]] if causal else None
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    @staticmethod
    def split_heads(joint: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """`[n, tokens, 3 · width]` → three times `[n, heads, tokens, width / heads]`."""
        n, tokens, width = joint.shape
        q, k, v = joint.reshape(n, tokens, 3, heads, width // 3 // heads).permute(2, 0, 3, 1, 4)
        return q, k, v

    @staticmethod
    def join_heads(x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)

    def mlp(self, name: str, x: Tensor) -> Tensor:
        hidden = F.gelu(self.linear(f"{name}.mlp.c_fc", self.norm(f"{name}.ln_2", x)))
        return self.linear(f"{name}.mlp.c_proj", hidden)

    def block(self, name: str, x: Tensor, heads: int, causal: bool) -> Tensor:
        weight, bias = (self.weights[f"{name}.attn.in_proj_{kind}"] for kind in ("weight", "bias"))
        joint = F.linear(self.norm(f"{name}.ln_1", x), weight, bias)
        q, k, v = self.split_heads(joint, heads)
        attended = self.join_heads(self.attend_ordinary(q, k, v, causal))
        x = x + self.linear(f"{name}.attn.out_proj", attended)
        return x + self.mlp(name, x)

    def dual_block(self, name: str, u: Tensor, z: Tensor) -> Tensor:
        """Changes both streams in place, also where they were captured before: the released
        weights were trained with that."""
        joint = self.linear(f"{name}.attn.qkv", self.norm(f"{name}.ln_1", u))
        q, k, v = self.split_heads(joint, self.size.heads)
        by_values = self.attend(v, v, v, shift=False)
        ordinary = self.attend(q, k, v, shift=True)
        z += self.linear(f"{name}.attn.proj", self.join_heads(by_values))
        u += self.linear(f"{name}.attn.proj", self.join_heads(ordinary))
        return u + self.mlp(name, u)

    def adapt(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.linear("adapter.fc.0", x))
        return F.silu(self.linear("adapter.fc.2", hidden)) + x

    def project(self, x: Tensor) -> Tensor:
        """All tokens, of which the class token is used."""
        x = self.norm("clip_model.visual.ln_post", x)
        return unit(self.adapt(x @ self.weights["clip_model.visual.proj"]))[:, 0]

    def image(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
        """`[1, 3, side, side]` → the feature `[1, embed]` and seven token sets
        `[1, 1 + patches, width]`."""
        size, visual = self.size, "clip_model.visual"
        x = F.conv2d(picture, self.weights[f"{visual}.conv1.weight"], stride=size.patch)
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.weights[f"{visual}.class_embedding"].expand(len(x), 1, -1), x], 1)
        x = self.norm(f"{visual}.ln_pre", x + self.weights[f"{visual}.positional_embedding"])
        z = x
        captured = []
        for i in range(size.blocks):
            name = f"{visual}.transformer.resblocks.{i}"
            if i < size.first_dual:
                x = self.block(name, x, size.heads, causal=False)
                if i + 1 in size.captures:
                    z, x = x, x.clone()
                    captured.append(z)
            else:
                x = self.dual_block(name, x, z)
                if i + 1 in size.captures:
                    captured += [z, x]
        return self.project(x), captured

    def convolve(self, i: int, grid: Tensor) -> Tensor:
        """MMCI head i."""
        total = torch.zeros(())
        for kernel in KERNELS:
            name = f"decoder_cov.fc_{kernel}.{i}"
            weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
            total = total + F.conv2d(grid, weight, bias, padding="same")
        return total

    def heads(self, tokens: list[Tensor]) -> list[Tensor]:
        """Seven times `[patches, embed]`: the linear heads, then MMCI."""
        patches = [x[0, 1:] for x in tokens]
        linear = [self.linear(f"decoder_linear.fc.{i}", x) for i, x in enumerate(patches[::2])]
        grids = [x.T.reshape(1, -1, self.size.grid, self.size.grid) for x in patches[1::2]]
        return linear + [self.convolve(i, grid)[0].flatten(1).T for i, grid in enumerate(grids)]

    def encode(self, kind: str, feature: Tensor, ids: Tensor) -> Tensor:
        """Text features `[prompts, embed]` of prompts normal or abnormal, for this picture."""
        learner = f"{kind}_prompt_learner"
        hidden = F.relu(self.linear(f"{learner}.meta_net.linear1", feature))
        shift = self.linear(f"{learner}.meta_net.linear2", hidden)
        context = (self.weights[f"{learner}.ctx"] + shift).expand(len(ids), -1, -1)
        words = F.embedding(ids, self.weights["clip_model.token_embedding.weight"])
        x = torch.cat([words[:, :1], context, words[:, 1 + self.size.n_ctx :]], 1)
        x = x + self.weights["clip_model.positional_embedding"][: x.shape[1]]
        for i in range(self.size.text_blocks):
            name = f"clip_model.transformer.resblocks.{i}"
            x = self.block(name, x, self.size.text_heads, causal=True)
        x = self.norm("clip_model.ln_final", x)
        ends = x[torch.arange(len(ids)), ids.argmax(1)]
        return ends @ self.weights["clip_model.text_projection"]

    def encode_all(
        self, feature: Tensor, prompts: Prompts, positions: list[int]
    ) -> tuple[Tensor, Tensor]:
        """Normal and abnormal features, those of `positions` only; without any, of all."""
        normal = self.encode("normal", feature, prompts.normal)
        abnormal = self.encode("abnormal", feature, prompts.abnormal)
        return normal, self.of_positions(abnormal, positions)

    @staticmethod
    def of_positions(rows: Tensor, positions: list[int]) -> Tensor:
        return torch.cat([rows[at::POSITIONS] for at in positions]) if positions else rows

    def text(self, feature: Tensor, prompts: Prompts, positions: list[int]) -> Tensor:
        """`[2, embed]`, normal and abnormal, of norm 1 as a whole."""
        kinds = self.encode_all(feature, prompts, positions)
        both = torch.stack([unit(unit(features).mean(0)) for features in kinds])
        return both / both.norm()

    def similarities(self, heads: list[Tensor], text: Tensor) -> list[Tensor]:
        """Seven times `[1, 2, grid, grid]`."""
        grid = self.size.grid
        return [(TEMPERATURE * unit(y) @ text.T).T.reshape(1, 2, grid, grid) for y in heads]

    def blur(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.blur_kernel)

    def upsample(self, x: Tensor) -> Tensor:
        side = self.size.side
        return F.interpolate(x, (side, side), mode="bilinear", align_corners=True)

    def map(self, similarities: list[Tensor]) -> Tensor:
        """The anomaly map `[side, side]`: every head's own, then their mean."""
        maps = []
        for scores in similarities:
            shares = self.upsample(scores).softmax(1)
            maps.append(self.blur((shares[:, 1:] - shares[:, :1] + 1) / 2))
        return torch.stack(maps).mean(0)[0, 0]

    def score(self, feature: Tensor, text: Tensor, anomaly_map: Tensor) -> float:
        return float(((feature @ text.T)[0, 1] + anomaly_map.max()) / 2)


class Saved(Published):
    """The same numbers for less; `weights` with merged kernels."""

    merged = True

    def attend(self, q: Tensor, k: Tensor, v: Tensor, shift: bool) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    def attend_ordinary(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def project(self, x: Tensor) -> Tensor:
        return super().project(x[:, :1])

    def convolve(self, i: int, grid: Tensor) -> Tensor:
        name = f"decoder_cov.merged.{i}"
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.conv2d(grid, weight, bias, padding=MERGED // 2)

    def encode(self, kind: str, feature: Tensor, ids: Tensor) -> Tensor:
        # Attention looks back only: nothing after the end token matters.
        return super().encode(kind, feature, ids[:, : int(ids.argmax(1).max()) + 1])

    def encode_all(
        self, feature: Tensor, prompts: Prompts, positions: list[int]
    ) -> tuple[Tensor, Tensor]:
        asked = self.of_positions(prompts.abnormal, positions)
        normal = self.encode("normal", feature, prompts.normal)
        return normal, self.encode("abnormal", feature, asked)

    def map(self, similarities: list[Tensor]) -> Tensor:
        # The softmax of two is the sigmoid of their difference; a mean of blurs is one blur.
        scores = torch.cat(similarities)
        shares = self.upsample(scores[:, 1:] - scores[:, :1]).sigmoid_()
        return self.blur(shares.mean(0, keepdim=True))[0, 0]


def tower_flops(tokens: int, width: int, blocks: int, sequences: int = 1) -> float:
    """Of a transformer over `sequences` of so many tokens; a multiply-add is two."""
    of_matrices = 24 * width**2 * tokens
    of_attention = 4 * tokens**2 * width
    return blocks * sequences * (of_matrices + of_attention)


def image_flops(size: Size, all_projected: bool) -> float:
    tokens, width = 1 + size.grid**2, size.width
    dual_blocks = size.blocks - size.first_dual
    second_stream = dual_blocks * (4 * tokens**2 * width + 2 * tokens * width**2)
    patches = 2 * size.grid**2 * 3 * size.patch**2 * width
    after = 2 * width * size.embed + 4 * size.embed * size.adapter_hidden
    projected = after * (tokens if all_projected else 1)
    return tower_flops(tokens, width, size.blocks) + second_stream + patches + projected


def heads_flops(size: Size, merged: bool) -> float:
    taps = MERGED**2 if merged else sum(height * width for height, width in KERNELS.values())
    per_tap = 2 * size.grid**2 * size.width * size.embed
    return per_tap * (LINEAR_HEADS + MMCI_HEADS * taps)


def text_flops(size: Size, prompts: Prompts, positions: list[int], cut: bool) -> float:
    """Of the text tower as `Saved` (`cut`) or `Published` runs it, which never picks positions."""
    abnormal = Published.of_positions(prompts.abnormal, positions if cut else [])
    total = 0.0
    for ids in (prompts.normal, abnormal):
        tokens = int(ids.argmax(1).max()) + 1 if cut else size.text_length
        total += tower_flops(tokens, size.text_width, size.text_blocks, len(ids))
    return total
