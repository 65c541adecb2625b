"""Shape and neurons of a Spikformer, and those of the official models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Interval

from spikeloom.golden.bounds import LARGEST_DIM, LARGEST_RATIO, LARGEST_SIDE, MOST_BLOCKS, MOST_STEPS
from spikeloom.golden.models.image_config import CIFAR, IMAGENET, ImageConfig

STAGES = 4  # convolutions of the embedding, before the position embedding

Dialect = Literal["cifar", "imagenet"]
GAIN = {"spikingjelly": 0.5, "dts": 1.0}  # of the neurons' own


@dataclass(frozen=True, kw_only=True)
class SpikformerConfig(ImageConfig):
    """Shape and neurons of a Spikformer."""

    height: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)] = 8
    """Rows of the image."""
    width: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)] = 8
    """Columns of the image."""
    dim: Annotated[int, Interval(ge=1, le=LARGEST_DIM)] = 64
    """Channels of a token, a multiple of 8 and of heads."""
    depth: Annotated[int, Interval(ge=0, le=MOST_BLOCKS)] = 1
    """Blocks."""
    heads: Annotated[int, Interval(ge=1, le=LARGEST_DIM)] = 4
    """Of the attention."""
    mlp_ratio: Annotated[int, Interval(ge=1, le=LARGEST_RATIO)] = 4
    """Hidden channels of the MLP over dim."""
    steps: Annotated[int, Interval(ge=1, le=MOST_STEPS)] = 4
    """``T_max``."""
    pools: tuple[bool, bool, bool, bool] = (False, False, False, True)
    """Which of the four embedding stages max-pool their spikes (3x3, stride 2)."""
    pool_first: bool = False
    """They pool the currents before their neurons instead, of which there are then a quarter (SpikingJelly 2.x)."""
    neuron: Literal["spikingjelly", "dts"] = "spikingjelly"
    """"spikingjelly" (input decay, hard reset, >=) or "dts" (no input decay, soft reset, >)."""
    leak: Annotated[float, Interval(ge=0.5, le=1)] = 0.5
    """Share of a potential that is there at the next step: 0.5 (tau 2) or 1.0 (IF), which is what the hardware has."""
    gain: Annotated[float, Interval(gt=0, le=1e6)] | None = None
    """Share of a current that reaches the potential; the neuron's own when None: 0.5 of "spikingjelly", 1 of "dts"."""
    threshold: Annotated[float, Interval(gt=0, le=1e6)] = 1.0
    """Of all neurons but those behind the attention."""
    attention_threshold: Annotated[float, Interval(gt=0, le=1e6)] = 0.5
    """Of those behind the attention."""
    residual: Literal["sew", "ms"] = "sew"
    """"sew" adds spikes to spikes, small integers; "ms" currents to currents, see the module."""
    dialect: Dialect = "cifar"
    """How the linear layers are stored: "cifar", nn.Linear called ``*_linear``; "imagenet", convolutions of size 1
    called ``*_conv``."""
    bias: bool = False
    """Linear layers have biases, as in the official code (of "imagenet", all but q, k and v)."""
    dynamic: bool = False
    """Trained time masks."""
    initial_steps: int | None = None
    """Ones of the masks at the start, half of steps when None."""
    floor: bool = True
    """No layer falls below one step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim % 8:
            raise ValueError(f"dim must be a multiple of 8, not {self.dim!r}")
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads ({self.heads}), not {self.dim!r}")
        if self.leak not in (0.5, 1.0):
            raise ValueError(f"leak must be 0.5 or 1.0, not {self.leak!r}")
        if self.initial_steps is None:
            object.__setattr__(self, "initial_steps", (self.steps + 1) // 2)
        if not 0 <= self.initial <= self.steps:
            raise ValueError(f"initial_steps must be in 0..{self.steps}, not {self.initial_steps!r}")

    @property
    def initial(self) -> int:
        """Ones of each time mask at the start."""
        assert self.initial_steps is not None
        return self.initial_steps

    @property
    def input_gain(self) -> float:
        """`gain`, where it is None the neuron's own."""
        return GAIN[self.neuron] if self.gain is None else self.gain

    @property
    def stem(self) -> tuple[int, int, int, int]:
        """Channels of the four embedding stages."""
        return (self.dim // 8, self.dim // 4, self.dim // 2, self.dim)

    @property
    def token_map(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        height, width = self.height, self.width
        for pool in self.pools:
            if pool:
                height, width = (height + 1) // 2, (width + 1) // 2
        return height, width

    @property
    def hidden(self) -> int:
        """Channels between fc1 and fc2."""
        return self.dim * self.mlp_ratio


POOLS: dict[Dialect, tuple[bool, bool, bool, bool]] = {
    "cifar": (False, False, True, True),
    "imagenet": (True, True, True, True),
}  # of the official models


def official(dialect: Dialect, *, depth: int, dim: int, **options: Any) -> SpikformerConfig:
    """The configuration of an official model: "cifar" (32x32, as in 4-384) or "imagenet" (224x224, 8-512).

    options: other fields, above all heads and, for CIFAR-100, classes, mean and std. Defaults: CIFAR-10's.
    """
    known = (CIFAR if dialect == "cifar" else IMAGENET) | {"pools": POOLS[dialect], "bias": True}
    return SpikformerConfig(**{**known, "dialect": dialect, "depth": depth, "dim": dim, **options})
