"""Shape and neurons of an E-SpikeFormer, and those of the official models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Interval

from spikeloom.golden.bounds import LARGEST_DIM, LARGEST_KERNEL, LARGEST_RATIO, MOST_BLOCKS, MOST_LEVELS
from spikeloom.golden.models.image_config import IMAGENET, ImageConfig

# Channels of the four stages of the official models, of 2.70, 5.11, 10.02 and 18.99 million parameters.
PRESETS = {"t": (24, 48, 96, 128), "s": (32, 64, 128, 192), "m": (48, 96, 192, 240), "l": (64, 128, 256, 360)}
CONV_STAGES = ("ConvBlock1_1", "ConvBlock1_2", "ConvBlock2_1", "ConvBlock2_2")
STAGES = (*CONV_STAGES, "block3", "block4")
DOWNSAMPLES = ("downsample1_1", "downsample1_2", "downsample2", "downsample3", "downsample4")

Channels = Annotated[int, Interval(ge=1, le=LARGEST_DIM)]
Blocks = Annotated[int, Interval(ge=0, le=MOST_BLOCKS)]
Stride = Annotated[int, Interval(ge=1, le=LARGEST_KERNEL)]


@dataclass(frozen=True, kw_only=True)
class ESpikeformerConfig(ImageConfig):
    """Shape and neurons of an E-SpikeFormer."""

    dims: tuple[Channels, Channels, Channels, Channels] = (24, 48, 96, 128)
    """Channels of the four stages, the first even, the last two multiples of heads."""
    depths: tuple[Blocks, Blocks, Blocks, Blocks, Blocks, Blocks] = (1, 1, 1, 1, 6, 2)
    """Blocks of ConvBlock1_1, 1_2, 2_1, 2_2, block3, block4."""
    strides: tuple[Stride, Stride, Stride, Stride, Stride] = (2, 2, 2, 2, 1)
    """Of the five downsampling convolutions, before ConvBlock1_1, ConvBlock1_2, ConvBlock2_1, block3 and block4."""
    stem_kernel: Annotated[int, Interval(ge=1, le=LARGEST_KERNEL)] = 7
    """Of the first of them, odd; the others are 3x3."""
    sep_kernel: Annotated[int, Interval(ge=1, le=LARGEST_KERNEL)] = 7
    """Of the depthwise convolutions of the convolution blocks, odd; those of the others are 3x3."""
    heads: Annotated[int, Interval(ge=1, le=LARGEST_DIM)] = 8
    """Of the attention."""
    mlp_ratio: Annotated[int, Interval(ge=1, le=LARGEST_RATIO)] = 4
    """Inner channels of MLPs and of the convolution blocks, over the stage's."""
    sep_ratio: Annotated[int, Interval(ge=1, le=LARGEST_RATIO)] = 2
    """Inner channels of separable convolutions, over the stage's."""
    value_ratio: Annotated[int, Interval(ge=1, le=LARGEST_RATIO)] = 4
    """Channels of the attention's values, over the stage's."""
    levels: Annotated[int, Interval(ge=1, le=MOST_LEVELS)] = 4
    """D, the largest integer spike; a power of two keeps every scale one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("stem_kernel", "sep_kernel"):
            if getattr(self, key) % 2 == 0:
                raise ValueError(f"{key} must be odd, not {getattr(self, key)!r}")
        if self.dims[0] % 2:
            raise ValueError(f"dims must begin with an even number, not {self.dims[0]!r}")
        for dim in self.dims[2:]:
            if dim % self.heads:
                raise ValueError(f"the last two of dims must be multiples of heads ({self.heads}), not {dim!r}")

    @property
    def steps(self) -> int:
        """Time steps: each neuron fires once."""
        return 1

    @property
    def widths(self) -> tuple[int, int, int, int, int]:
        """Channels that each downsampling makes."""
        return (self.dims[0] // 2, *self.dims)

    @property
    def token_map(self) -> tuple[int, int]:
        """Rows and columns before the head."""
        height, width = self.height, self.width
        for stride in self.strides:
            height, width = -(-height // stride), -(-width // stride)
        return height, width


def official(size: Literal["t", "s", "m", "l"], **options: Any) -> ESpikeformerConfig:
    """The configuration of an official model, on ImageNet at 224x224. options: other fields."""
    if size not in PRESETS:
        raise ValueError(f"size must be {', '.join(PRESETS)}, not {size!r}")
    return ESpikeformerConfig(**{**IMAGENET, "dims": PRESETS[size], **options})
