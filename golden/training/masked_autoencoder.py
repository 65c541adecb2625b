"""Pre-training without labels: an encoder learns to tell hidden patches of an image from the others.

Half of an image's patches are hidden, in the image and, by spike sparse convolution, behind every convolution of
the encoder. A small transformer, which is dropped afterwards, draws the hidden patches from what the encoder makes of
the others; the loss is the squared error of their pixels, normalised patch by patch.

Source: Yao et al., E-SpikeFormer (arXiv 2411.16061), whose encoder and loss this is; He et al., *Masked Autoencoders*
(CVPR 2022). Departures: a learned token stands at the hidden positions before the decoder, as in the latter and in the
paper's text, where the published code has what the encoder leaves there; sizes of the decoder are ours by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn

from spikeloom.common.schema import Checked
from spikeloom.golden.bounds import LARGEST_DIM, MOST_BLOCKS
from spikeloom.golden.models.e_spikeformer import ESpikeformer
from spikeloom.golden.training.sparse_convolution import enlarged, sparse_convolutions


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(Checked):
    """Pre-training of an encoder."""

    epochs: Annotated[int, Interval(ge=1, le=100_000)] = 10
    """Passes over the training images."""
    learning_rate: Annotated[float, Interval(gt=0, le=100)] = 1e-3
    """Its peak."""
    hidden: Annotated[float, Interval(gt=0, lt=1)] = 0.5
    """Share of the patches that are hidden."""
    dim: Annotated[int, Interval(ge=1, le=LARGEST_DIM)] = 64
    """Channels of a token of the decoder, a multiple of 4 and of heads."""
    depth: Annotated[int, Interval(ge=1, le=MOST_BLOCKS)] = 2
    """Blocks of the decoder."""
    heads: Annotated[int, Interval(ge=1, le=LARGEST_DIM)] = 4
    """Of the decoder's attention."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim % 4 or self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of 4 and of heads ({self.heads}), not {self.dim!r}")


class MaskedAutoencoder(nn.Module):
    """uint8 images (B, C, H, W) to the loss of their hidden patches, a number.

    encoder: its last stream has one position a patch; ValueError where that does not divide the image.
    """

    def __init__(self, encoder: ESpikeformer, config: PretrainConfig) -> None:
        super().__init__()
        rows, columns = encoder.config.token_map
        size = encoder.config.height, encoder.config.width
        if size[0] % rows or size[1] % columns:
            raise ValueError(f"an image of {size[0]}x{size[1]} cannot be cut into {rows}x{columns} patches")
        self.encoder, self.config, self.patches = encoder, config, (rows, columns)
        self.patch = size[0] // rows, size[1] // columns
        self.embed = nn.Linear(encoder.head.in_features, config.dim)
        self.token = nn.Parameter(torch.zeros(config.dim))  # of a hidden patch
        self.register_buffer("positions", positions(rows, columns, config.dim), persistent=False)
        block = nn.TransformerEncoderLayer(
            config.dim, config.heads, 4 * config.dim, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerEncoder(
            block, config.depth, norm=nn.LayerNorm(config.dim), enable_nested_tensor=False
        )
        self.draw = nn.Linear(config.dim, encoder.config.channels * self.patch[0] * self.patch[1])

    def forward(self, images: Tensor) -> Tensor:
        keep = self.random_mask(len(images), images.device)
        drawn = self.drawn(images, keep)
        wanted = self.cut(images.to(drawn.dtype))
        spread = wanted.var(2, keepdim=True).add(1).sqrt()  # of pixels 0..255: flat patches stay flat
        wanted = (wanted - wanted.mean(2, keepdim=True)) / spread
        hidden = 1 - keep.flatten(1)  # (B, N)
        return ((drawn - wanted).square().mean(2) * hidden).sum() / hidden.sum()

    def random_mask(self, count: int, device: torch.device) -> Tensor:
        """(B, 1, rows, columns): 1 where a patch is seen; as many in each image."""
        total = self.patches[0] * self.patches[1]
        seen = min(max(round(total * (1 - self.config.hidden)), 1), total - 1)
        order = torch.rand(count, total, device=device).argsort(1)
        return (order < seen).float().view(count, 1, *self.patches)

    def drawn(self, images: Tensor, keep: Tensor) -> Tensor:
        """What the decoder draws of each patch, normalised pixels (B, N, C h w), from what ``keep`` lets through."""
        x = self.encoder.scaled(images)
        with sparse_convolutions([self.encoder], keep):
            stream = self.encoder.features(x * enlarged(keep, *x.shape[2:]))  # (B, C, rows, columns)
        seen = keep.flatten(2).transpose(1, 2)  # (B, N, 1)
        tokens = self.embed(stream.flatten(2).transpose(1, 2)) * seen + self.token * (1 - seen)
        return self.draw(self.decoder(tokens + self.positions))  # type: ignore[no-any-return, operator]

    def cut(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to patches (B, N, C h w)."""
        x = images.unflatten(3, (self.patches[1], self.patch[1])).unflatten(2, (self.patches[0], self.patch[0]))
        return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # from (B, C, rows, h, columns, w)


def positions(rows: int, columns: int, dim: int) -> Tensor:
    """Sines and cosines of each position's row and column, (rows columns, dim); dim a multiple of 4."""
    rates = 10000 ** -(torch.arange(dim // 4) / (dim // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = torch.cat([row.reshape(-1, 1) * rates, column.reshape(-1, 1) * rates], 1)
    return torch.cat([angles.sin(), angles.cos()], 1)
