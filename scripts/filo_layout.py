"""FiLo checkpoints with random numbers, in the key layout of the published files as they are after a
first forward pass: `in_proj` names in ordinary blocks and `qkv` names in blocks that ran dual, the
text tower twice and the first dual block's attention twice, both as views of one storage.
"""

import torch

KERNELS = {"11": (1, 1), "33": (3, 3), "55": (5, 5), "77": (7, 7), "15": (1, 5), "51": (5, 1)}


class Layout:
    """Builds checkpoints of one configuration; `scale` says how large random numbers are."""

    def __init__(self, config, scale):
        self.vision, self.text = config["vision"], config["text"]
        self.config, self.scale = config, scale
        self.grid = self.vision["image_size"] // self.vision["patch_size"]

    def random(self, *shape):
        return torch.randn(*shape) * self.scale(shape)

    def norm(self, name, width):
        both = self.random(2 * width)
        return {f"{name}.weight": both[:width], f"{name}.bias": both[width:]}

    def linear(self, name, inputs, outputs):
        weight, bias = self.random(outputs, inputs), self.random(outputs)
        return {f"{name}.weight": weight, f"{name}.bias": bias}

    def attention(self, name, width, dual):
        packed = {"weight": self.random(3 * width, width), "bias": self.random(3 * width)}
        joint = "qkv." if dual else "in_proj_"
        out = "proj" if dual else "out_proj"
        packed = {f"{name}.{joint}{kind}": tensor for kind, tensor in packed.items()}
        return packed | self.linear(f"{name}.{out}", width, width)

    def block(self, name, width, dual):
        return (
            self.norm(f"{name}.ln_1", width)
            | self.attention(f"{name}.attn", width, dual)
            | self.norm(f"{name}.ln_2", width)
            | self.linear(f"{name}.mlp.c_fc", width, 4 * width)
            | self.linear(f"{name}.mlp.c_proj", 4 * width, width)
        )

    def image_tower(self):
        width, patch = self.vision["width"], self.vision["patch_size"]
        tensors = {
            "class_embedding": self.random(width),
            "positional_embedding": self.random(1 + self.grid * self.grid, width),
            "proj": self.random(width, self.config["embed_dim"]),
            "conv1.weight": self.random(width, 3, patch, patch),
        }
        tensors |= self.norm("ln_pre", width) | self.norm("ln_post", width)
        for i in range(self.vision["layers"]):
            dual = i >= self.config["first_dual_block_index"]
            tensors |= self.block(f"transformer.resblocks.{i}", width, dual)
        return tensors

    def text_tower(self):
        width = self.text["width"]
        tensors = {
            "positional_embedding": self.random(self.text["context_length"], width),
            "text_projection": self.random(width, self.config["embed_dim"]),
        }
        tensors |= self.norm("ln_final", width)
        for i in range(self.text["layers"]):
            tensors |= self.block(f"transformer.resblocks.{i}", width, dual=False)
        return tensors

    def heads(self):
        config, width, embed = self.config, self.vision["width"], self.config["embed_dim"]
        captures, text_width = len(config["features_list"]), self.text["width"]
        tensors = {}
        for i in range(captures):
            tensors |= self.linear(f"decoder_linear.fc.{i}", width, embed)
        for name, (kernel_height, kernel_width) in KERNELS.items():
            for i in range(captures - 1):
                weight = self.random(embed, width, kernel_height, kernel_width)
                tensors[f"decoder_cov.fc_{name}.{i}.weight"] = weight
                tensors[f"decoder_cov.fc_{name}.{i}.bias"] = self.random(embed)
        for learner in ["normal_prompt_learner", "abnormal_prompt_learner"]:
            hidden = config["meta_net_hidden"]
            tensors[f"{learner}.ctx"] = self.random(config["n_ctx"], text_width)
            tensors |= self.linear(f"{learner}.meta_net.linear1", embed, hidden)
            tensors |= self.linear(f"{learner}.meta_net.linear2", hidden, text_width)
        hidden = config["adapter_hidden"]
        tensors["adapter.fc.0.weight"] = self.random(hidden, embed)
        tensors["adapter.fc.2.weight"] = self.random(embed, hidden)
        return tensors

    def checkpoint(self):
        """The tensors that are read, and those that stand there twice."""
        image, text = self.image_tower(), self.text_tower()
        own = prefixed("clip_model.visual.", image) | prefixed("clip_model.", text) | self.heads()
        tokens = self.random(self.text["vocab_size"], self.text["width"])
        own["clip_model.token_embedding.weight"] = tokens
        own["clip_model.logit_scale"] = torch.tensor(4.6052)
        dual = f"transformer.resblocks.{self.config['first_dual_block_index']}.attn."
        rewritten = {name: tensor for name, tensor in image.items() if name.startswith(dual)}
        twice = {name.replace(dual, "clip_model.visual.attn."): t for name, t in rewritten.items()}
        twice |= prefixed("text_encoder.", text)
        return own, {name: tensor.detach() for name, tensor in twice.items()}


def prefixed(prefix, tensors):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
