"""The official Spikformer re-stated: its state dict's keys and shapes, and its forward pass with SpikingJelly's LIF.

Written from the official repository's description (github ZK-Zhou/spikformer, cifar10/model.py and
imagenet/model.py), without our modules: functions over a state dict, tokens in the official layouts, the
official order of the attention's two products. `LIFNode` is today's name of its `MultiStepLIFNode`.
"""

import torch
import torch.nn.functional as F

STATISTICS = ("weight", "bias", "running_mean", "running_var")


def shapes(dialect, *, depth, dim, classes, channels=3, mlp_ratio=4):
    """Every key of the official state dict with its shape, in order, the unused LayerNorms included."""
    found = {}

    def norm(name, count):
        found.update({f"{name}.{key}": (count,) for key in STATISTICS})
        found[f"{name}.num_batches_tracked"] = ()

    before = channels
    for name, after in (("proj", dim // 8), ("proj1", dim // 4), ("proj2", dim // 2), ("proj3", dim), ("rpe", dim)):
        kind, number = name.rstrip("0123"), name.lstrip("abcdefghijklmnopqrstuvwxyz")
        found[f"patch_embed.{kind}_conv{number}.weight"] = (after, before, 3, 3)
        norm(f"patch_embed.{kind}_bn{number}", after)
        before = after
    hidden = dim * mlp_ratio
    for b in range(depth):
        for name in ("norm1", "norm2"):
            found |= {f"block.{b}.{name}.{key}": (dim,) for key in ("weight", "bias")}
        for name, out, into, ones, bias in (
            ("attn.q", dim, dim, 1, False),
            ("attn.k", dim, dim, 1, False),
            ("attn.v", dim, dim, 1, False),
            ("attn.proj", dim, dim, 1, True),
            ("mlp.fc1", hidden, dim, 2, True),
            ("mlp.fc2", dim, hidden, 2, True),
        ):
            layer = f"block.{b}.{name}_{'linear' if dialect == 'cifar' else 'conv'}"
            found[f"{layer}.weight"] = (out, into) if dialect == "cifar" else (out, into, *(1,) * ones)
            if bias or dialect == "cifar":
                found[f"{layer}.bias"] = (out,)
            norm(f"block.{b}.{name}_bn", out)
    return found | {"head.weight": (classes, dim), "head.bias": (classes,)}


def random_state(dialect, *, seed=0, **size):
    """A state dict of random parameters; its running statistics are still those of a new model."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes(dialect, **size).items():
        name, _, kind = key.rpartition(".")
        if kind == "num_batches_tracked":
            state[key] = torch.tensor(100)
        elif kind == "running_mean":
            state[key] = torch.zeros(shape)
        elif kind == "running_var":
            state[key] = torch.ones(shape)
        elif "_bn" in name:
            busy = 1.2 * (name[-4:] in ("q_bn", "k_bn", "v_bn"))  # or nothing reaches the attention's threshold
            low, high = (1.0, 2.0) if kind == "weight" else (busy - 0.5, busy + 0.8)
            state[key] = low + (high - low) * torch.rand(shape, generator=generator)
        else:
            state[key] = torch.randn(shape, generator=generator) * max(shape[-1] * len(shape), 16) ** -0.5
    return state


class Restated:
    """The forward pass of a state dict on normalised images (B, C, H, W), in evaluation.

    calibrate: first set each batch norm's running statistics to those of what it sees. `spikes` and
    `potentials` (before the reset) are (T, B, C, positions), by the names of our layers.
    """

    def __init__(self, state, *, dialect, heads, steps=4, pools, calibrate=False):
        from spikingjelly.activation_based.neuron import LIFNode

        self.node = LIFNode
        self.state, self.dialect, self.heads, self.steps, self.pools = state, dialect, heads, steps, pools
        self.calibrate = calibrate
        self.spikes, self.potentials = {}, {}

    def lif(self, name, x, threshold=1.0):
        """Neurons of a layer on (T, B, ...)."""
        node = self.node(tau=2.0, v_threshold=threshold, detach_reset=True, step_mode="m").eval()
        node.store_v_seq = True
        spikes = node(x)
        before = torch.cat([torch.zeros_like(x[:1]), node.v_seq[:-1]])
        self.keep(name, spikes, before + (x - before) / 2)
        return spikes

    def keep(self, name, spikes, potentials):
        tokens = spikes.dim() == 4 and self.dialect == "cifar"  # (T, B, N, C)
        for found, x in ((self.spikes, spikes), (self.potentials, potentials)):
            found[name] = x.transpose(2, 3) if tokens else x.flatten(3)

    def norm(self, name, x):
        """Batch norm of (TB, C, ...)."""
        weight, bias, mean, variance = (self.state[f"{name}.{key}"] for key in STATISTICS)
        if self.calibrate:
            dims = [d for d in range(x.dim()) if d != 1]
            mean.copy_(x.mean(dims))
            variance.copy_(x.var(dims, unbiased=True).clamp(min=1e-3))
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=1e-5)

    def embed(self, x):
        """(TB, C, H, W) to the token map."""
        for i, pool in enumerate(self.pools):
            number = str(i) if i else ""
            x = F.conv2d(x, self.state[f"patch_embed.proj_conv{number}.weight"], padding=1)
            x = self.norm(f"patch_embed.proj_bn{number}", x).unflatten(0, (self.steps, -1))
            x = self.lif(f"sps.{i}", x).flatten(0, 1)
            if pool:
                x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        position = F.conv2d(x, self.state["patch_embed.rpe_conv.weight"], padding=1)
        position = self.norm("patch_embed.rpe_bn", position).unflatten(0, (self.steps, -1))
        return self.lif("rpe", position) + x.unflatten(0, (self.steps, -1))  # (T, B, C, h, w)

    def layer(self, ours, name, x):
        """A linear layer, its norm and its neurons: tokens (T, B, N, C) of CIFAR, maps (T, B, C, N) of ImageNet."""
        if self.dialect == "cifar":
            y = F.linear(x.flatten(0, 1), self.state[f"{name}_linear.weight"], self.state[f"{name}_linear.bias"])
            y = self.norm(f"{name}_bn", y.transpose(-1, -2)).transpose(-1, -2)
        else:
            weight, bias = self.state[f"{name}_conv.weight"], self.state.get(f"{name}_conv.bias")
            flat = x.flatten(0, 1)
            if weight.dim() == 4:
                y = F.conv2d(flat[..., None], weight, bias)
                y = self.norm(f"{name}_bn", y)[..., 0]
            else:
                y = self.norm(f"{name}_bn", F.conv1d(flat, weight, bias))
        return self.lif(ours, y.unflatten(0, x.shape[:2]))

    def attend(self, block, x):
        q, k, v = (self.layer(f"{block}.{part}", f"{block}.attn.{part}", x) for part in "qkv")
        if self.dialect == "imagenet":
            q, k, v = (y.transpose(-1, -2) for y in (q, k, v))  # (T, B, N, C)
        shape = q.shape
        q, k, v = (y.reshape(*shape[:3], self.heads, -1).permute(0, 1, 3, 2, 4) for y in (q, k, v))
        if self.dialect == "cifar":
            mixed = ((q @ k.transpose(-2, -1)) * 0.125) @ v
            mixed = mixed.transpose(2, 3).reshape(shape)
        else:
            mixed = (q @ (k.transpose(-2, -1) @ v)) * 0.125
            mixed = mixed.transpose(3, 4).reshape(shape[0], shape[1], shape[3], shape[2])
        return self.layer(f"{block}.proj", f"{block}.attn.proj", self.lif(f"{block}.attn", mixed, 0.5))

    @torch.no_grad()
    def __call__(self, images):
        x = self.embed(images.unsqueeze(0).repeat(self.steps, 1, 1, 1, 1).flatten(0, 1)).flatten(3)
        x = x.transpose(-1, -2) if self.dialect == "cifar" else x
        for b in range(1 + max(int(key.split(".")[1]) for key in self.state if key.startswith("block."))):
            x = x + self.attend(f"block.{b}", x)
            hidden = self.layer(f"block.{b}.fc1", f"block.{b}.mlp.fc1", x)
            x = x + self.layer(f"block.{b}.fc2", f"block.{b}.mlp.fc2", hidden)
        features = x.mean(2) if self.dialect == "cifar" else x.mean(3)
        return F.linear(features.mean(0), self.state["head.weight"], self.state["head.bias"])


def compare(restated, scores, expected, spikes):
    """Images set aside for a tie, and the neurons that tied; AssertionError for any other difference.

    A tie: a neuron that decides otherwise with a potential within 1e-5 of its threshold, where the two orders
    of the same additions may fall on either side. What follows from it in that image is not compared. Scores
    of the other images agree to 1e-5 of the largest.
    """
    aside, ties = set(), 0
    for name, x in spikes.items():
        theirs, ours = restated.spikes[name], x.flatten(3)
        assert ours.shape == theirs.shape, name
        potentials = restated.potentials[name] - (0.5 if name.endswith(".attn") else 1.0)
        for b in range(len(scores)):
            wrong = ours[:, b] != theirs[:, b]
            if b in aside or not wrong.any():
                continue
            first = wrong.int().argmax(0, keepdim=True)  # the first step that differs, of each neuron
            distance = potentials[:, b].gather(0, first)[0][wrong.any(0)].abs()
            assert distance.max() < 1e-5, f"{name}, image {b}: a potential {distance.max()} away fires otherwise"
            aside.add(b)
            ties += int(wrong.any(0).sum())
    kept = [b for b in range(len(scores)) if b not in aside]
    difference = (scores - expected)[kept].abs()
    assert not len(kept) or difference.max() <= 1e-5 * max(1.0, float(expected.abs().max()))
    return len(aside), ties
