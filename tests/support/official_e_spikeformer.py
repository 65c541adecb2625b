"""The equations of the Spike-driven Transformer V3's Base models, written down again on a state dict.

An independent twin of `golden.e_spikeformer`: functions of tensors, without modules, in the order of the paper.
"""

import torch
import torch.nn.functional as F


class Official:
    """Evaluation of a state dict. levels: D. heads: of the attention. strides: of the five downsamplings."""

    def __init__(self, state, *, levels=4, heads=8, strides=(2, 2, 2, 2, 1)):
        self.state, self.levels, self.heads, self.strides = state, levels, heads, strides

    def spike(self, x, norm=None):
        return torch.round(torch.clamp(x, 0, self.levels)) / (norm or self.levels)

    def norm(self, x, name):
        mean, var, gain, offset = (
            self.state[f"{name}.{key}"].view(-1, *(1,) * (x.dim() - 2))
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * gain + offset

    def conv(self, x, name, **options):
        return F.conv2d(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"), **options)

    def sep(self, x, name):
        x = self.norm(self.conv(self.spike(x), f"{name}.pwconv1.0"), f"{name}.pwconv1.1")
        kernel = self.state[f"{name}.dwconv.0.weight"].shape[-1]
        depth = self.conv(self.spike(x), f"{name}.dwconv.0", padding=kernel // 2, groups=x.shape[1])
        x = self.norm(depth, f"{name}.dwconv.1")
        return self.norm(self.conv(self.spike(x), f"{name}.pwconv2.0"), f"{name}.pwconv2.1")

    def conv_block(self, x, name):
        x = self.sep(x, f"{name}.Conv") + x
        y = self.norm(self.conv(self.spike(x), f"{name}.conv1", padding=1), f"{name}.bn1")
        return x + self.norm(self.conv(self.spike(y), f"{name}.conv2", padding=1), f"{name}.bn2")

    def attention(self, x, name):
        batch, channels, height, width = x.shape
        x = self.spike(x)
        found = []
        for part in "qkv":
            y = self.spike(self.norm(self.conv(x, f"{name}.{part}_conv.0"), f"{name}.{part}_conv.1"))
            found.append(y.reshape(batch, self.heads, -1, height * width).transpose(2, 3))  # (B, heads, N, d)
        q, k, v = found
        y = (q @ k.transpose(2, 3)) @ v * (2 * (channels // self.heads) ** -0.5)
        y = y.transpose(2, 3).reshape(batch, -1, height, width)
        return self.norm(self.conv(self.spike(y), f"{name}.proj_conv.0"), f"{name}.proj_conv.1")

    def mlp(self, x, name):
        y = x.flatten(2)
        for i in (1, 2):
            weight, bias = self.state[f"{name}.fc{i}_conv.weight"], self.state[f"{name}.fc{i}_conv.bias"]
            y = self.norm(F.conv1d(self.spike(y), weight, bias), f"{name}.fc{i}_bn")
        return y.reshape(x.shape)

    def down(self, x, name, stride):
        kernel = self.state[f"{name}.encode_conv.weight"].shape[-1]
        return self.norm(self.conv(x, f"{name}.encode_conv", stride=stride, padding=kernel // 2), f"{name}.encode_bn")

    def blocks(self, name):
        return sorted({int(key.split(".")[1]) for key in self.state if key.startswith(f"{name}.")})

    def __call__(self, x):
        """Class scores of normalised images (B, C, H, W)."""
        stages = {
            "downsample1_1": ["ConvBlock1_1"],
            "downsample1_2": ["ConvBlock1_2"],
            "downsample2": ["ConvBlock2_1", "ConvBlock2_2"],
            "downsample3": ["block3"],
            "downsample4": ["block4"],
        }
        for stride, (name, behind) in zip(self.strides, stages.items(), strict=True):
            x = self.down(x if name == "downsample1_1" else self.spike(x), name, stride)
            for stage in behind:
                for i in self.blocks(stage):
                    block = f"{stage}.{i}"
                    if stage.startswith("Conv"):
                        x = self.conv_block(x, block)
                    else:
                        x = x + self.sep(x, f"{block}.conv")
                        x = x + self.attention(x, f"{block}.attn")
                        x = x + self.mlp(x, f"{block}.mlp")
        x = self.spike(x.flatten(2).mean(2), norm=1)
        return F.linear(x, self.state["head.weight"], self.state["head.bias"])
